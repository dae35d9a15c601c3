"""The fast lane for plain texts: byte-pair encoding in C++, read from tokenizer.json in a sixth of the time.

It takes one kind of tokenizer, that of the JinaBERT rerankers: lower-cased NFC, words and runs of other
characters apart, byte-pair encoding over characters, RoBERTa's template. And it takes the texts whose every
character it is sure of (ASCII, Latin letters with accents, common punctuation) and that name no special
token. For everything else it says so, and the ``tokenizers`` library is asked, which is loaded on first need
only. Both give the same tokens and the same places; a test holds them together.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NORMALIZERS = (
    {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]},
    {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "NFC"}]},
    {"type": "Lowercase"},
)
#: Settings of the byte-pair encoding that change what it does, and the values that the lane stands for.
_MODEL = {
    "type": "BPE",
    "dropout": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "fuse_unk": False,
    "byte_fallback": False,
    "ignore_merges": False,
    "vocab": None,
    "merges": None,
}
_OPTIONAL = {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"}


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one text, with the part of the library's ``Encoding`` that we use.

    Attributes:
        ids: token ids, shape (tokens,).
        starts: first character of each token.
        ends: one past its last character.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """First and one-past-last characters of every token."""
        return list(zip(self.starts.tolist(), self.ends.tolist(), strict=True))

    def token_to_chars(self, token: int) -> tuple[int, int] | None:
        """Characters of one token; None where there is no such token."""
        if not 0 <= token < len(self.ids):
            return None
        return int(self.starts[token]), int(self.ends[token])


class PlainBpe:
    """The lane for one tokenizer.json; see the module.

    Attributes:
        vocab_size: number of ids.
        before: special ids before the query.
        between: special ids between query and document.
        after: special ids after the document.
    """

    def __init__(self, bpe: Any, cls_id: int, sep_id: int) -> None:  # noqa: ANN401 - the compiled class
        self._bpe = bpe
        self.vocab_size: int = bpe.vocab_size
        self.before, self.between, self.after = (cls_id,), (sep_id, sep_id), (sep_id,)

    @classmethod
    def from_file(cls, path: Path) -> PlainBpe | None:
        """The lane, or None where it is not built, or the file describes another kind of tokenizer.

        A file that cannot be read is None, too: the library says what is wrong with it.
        """
        try:
            from tinyrerank.text._bpe import Bpe

            bpe = Bpe(path.read_bytes())
            return cls._checked(bpe, json.loads(bpe.rest))
        except (ImportError, OSError, ValueError, KeyError, TypeError):
            return None

    @classmethod
    def _checked(cls, bpe: Any, rest: dict[str, Any]) -> PlainBpe | None:  # noqa: ANN401 - the compiled class
        model, post = rest["model"], rest["post_processor"]
        unknown = model.pop("unk_token")
        if {**dict.fromkeys(_OPTIONAL), "byte_fallback": False, "ignore_merges": False, **model} != _MODEL:
            return None
        if rest["normalizer"] not in _NORMALIZERS or rest["pre_tokenizer"] != {"type": "Whitespace"}:
            return None
        if post["type"] != "RobertaProcessing":
            return None
        for token in rest["added_tokens"]:
            if token["normalized"] or bpe.find(token["content"]) != token["id"]:
                return None
        bpe.configure(bpe.find(unknown), [token["content"] for token in rest["added_tokens"]])
        return cls(bpe, int(post["cls"][1]), int(post["sep"][1]))

    def encode(self, texts: list[str]) -> list[Tokens | None]:
        """Tokens of each text, None where the library must be asked."""
        return [None if found is None else Tokens(*found) for found in self._bpe.encode(texts)]
