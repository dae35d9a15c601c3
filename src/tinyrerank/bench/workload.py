"""Seeded workloads: the texts of one request, and the token ids they make.

``mix`` is 100 documents of lognormal length (median about 150 tokens, 16,200 in all); ``NxL`` is N documents
that make pairs of exactly L tokens. Words come from the model's own vocabulary, those that are one token,
as often as words do (Zipf), so that lengths are exact and token ids repeat as in text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyrerank.errors import InputError

MIX_DOCUMENTS = 100
MIX_TOKENS = 16_200
QUERY_WORDS = 6
_WORDS = 12_000
_SPECIALS = 4
_SHAPE = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,4})")


@dataclass(frozen=True, slots=True)
class Workload:
    """One request.

    Attributes:
        name: ``mix`` or ``NxL``.
        query: the query.
        documents: its documents.
        ids: (tokens,) int32, the pairs one after the other, as engines take them.
        cu_seqlens: (documents + 1,) int32, cumulative lengths.
    """

    name: str
    query: str
    documents: list[str]
    ids: NDArray[np.int32]
    cu_seqlens: NDArray[np.int32]

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each pair."""
        return np.diff(self.cu_seqlens)

    def save(self, path: Path) -> None:
        """Write it where a worker process finds it: no code in it, arrays and text only."""
        texts = np.frombuffer(json.dumps([self.name, self.query, self.documents]).encode(), np.uint8)
        np.savez(path, ids=self.ids, cu_seqlens=self.cu_seqlens, texts=texts)

    @classmethod
    def load(cls, path: Path) -> Workload:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            name, query, documents = json.loads(arrays["texts"].tobytes())
            return cls(name, query, documents, arrays["ids"], arrays["cu_seqlens"])


def lengths(name: str, rng: np.random.Generator) -> NDArray[np.int64]:
    """Tokens in each pair of a workload.

    Raises:
        InputError: there is no workload of this name.
    """
    if name == "mix":
        sizes = np.exp(rng.normal(np.log(148), 0.6, MIX_DOCUMENTS)).clip(24, 1024)
        scaled: NDArray[np.int64] = (sizes * MIX_TOKENS / sizes.sum()).astype(np.int64).clip(16)
        return scaled
    shape = _SHAPE.fullmatch(name)
    if shape is None or int(shape[2]) <= QUERY_WORDS + _SPECIALS:
        raise InputError(
            f"no workload {name!r}; give mix, or NxL: N documents in pairs of L tokens, L above"
            f" {QUERY_WORDS + _SPECIALS}"
        )
    return np.full(int(shape[1]), int(shape[2]), dtype=np.int64)


def make(name: str, folder: Path, *, seed: int = 0) -> Workload:
    """Make a workload for a model folder.

    Raises:
        InputError: there is no workload of this name, or its pairs are longer than the model reads.
        ModelError: the folder has no usable tokenizer.
    """
    from tinyrerank.model.config import ModelConfig
    from tinyrerank.text.pairs import PairEncoder
    from tinyrerank.text.tokenizer import TextTokenizer

    max_length = ModelConfig.from_folder(folder).max_length
    rng = np.random.default_rng([seed, *name.encode()])
    sizes = lengths(name, rng)
    if sizes.max() > max_length:
        raise InputError(f"workload {name}: pairs of {sizes.max()} tokens, but the model reads {max_length}")
    words = _words(folder, rng)
    ranks = rng.zipf(1.1, 4 * int(sizes.sum()) + 100)
    picked = iter(words[ranks[ranks <= len(words)] - 1].tolist())
    query = " ".join(next(picked) for _ in range(QUERY_WORDS))
    documents = [" ".join(next(picked) for _ in range(n - QUERY_WORDS - _SPECIALS)) for n in sizes.tolist()]
    encoder = PairEncoder(TextTokenizer.from_folder(folder), max_length=max_length)
    pairs = encoder.encode([(query, document) for document in documents])
    (packed,) = encoder.pack(pairs, max_tokens=int(sizes.sum()) + 1)
    return Workload(name, query, documents, packed.ids, packed.cu_seqlens)


def _words(folder: Path, rng: np.random.Generator) -> NDArray[np.str_]:
    """Words that this model reads as one token each, in random order."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    known = sorted(word for word in tokenizer.get_vocab() if re.fullmatch(r"[a-z]{2,12}", word))
    chosen = rng.permutation(np.array(known))[:_WORDS]
    encoded = tokenizer.encode_batch([str(word) for word in chosen], add_special_tokens=False)
    single = chosen[[len(e) == 1 for e in encoded]]
    if not len(single):
        raise InputError(f"{folder}: its tokenizer has no lower-case words to make workloads of")
    return single
