"""The road from text to a ranking: the one place that joins the text side and an engine.

Documents travel in chunks. While the engine computes one chunk, a helper thread tokenizes the next; the
caller's iterable is read in the caller's thread only. Logits come back in the caller's order and are sorted
once, at the end.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tinyrerank.engine.base import Engine
from tinyrerank.errors import EngineError, InputError, ModelError
from tinyrerank.model.config import ModelConfig
from tinyrerank.model.hub import resolve_model
from tinyrerank.model.weights import load_weights
from tinyrerank.text.ahead import map_ahead
from tinyrerank.text.pairs import EncodedPair, PairEncoder, best_pieces, document_text, mean_of_parts
from tinyrerank.text.tokenizer import TextTokenizer
from tinyrerank.types import Document, Hit, Policy, Ranking, Receipt, Timings

_CHUNK_CHARS = 1_000_000
_PACK_TOKENS = 65_536


class Reranker:
    """Scores documents against a query with a cross-encoder and ranks them.

    Any number of threads may use one reranker at the same time.

    Args:
        model: None or "tiny-en" for the model that the package carries, the path of a model folder, or
            ``owner/name`` on the Hugging Face hub (extra ``hub``).
        engine: ``auto`` for the best engine here, the name of one, or a ready engine, which stays the
            caller's to close.
        max_length: tokens allowed in a model input (query, document and specials); None for the model's own
            limit, and for the windows that its config names under ``window``. Lower is faster and cuts more.
        policy: what happens to a longer pair: ``truncate`` the document, score it in overlapping windows and
            take the best (``window``), or ``refuse`` it with an error. A hit's receipt says what was read.
        overlap_tokens: tokens that neighbouring windows share; at most half a window is used.
        query_window: a query of more tokens than this is read in even parts, each beside the document, and
            the mean of their logits counts; 0 reads every query whole, None does as the model's config says.
        threads: threads of the engine; None lets it choose.
        device: ``cpu``, ``cuda`` or ``cuda:N`` for engines that know devices (torch); None for the CPU.
        revision: branch, tag or commit of a hub model.
        chunk_documents: documents tokenized, then scored, at a time. More lets the engine sort lengths
            better; fewer needs less memory.

    Raises:
        ModelError: the model is not usable; says which file, field or tensor.
        MissingExtraError: the engine or the hub needs an extra that is not installed.
        InputError: a setting is out of range.

    Example:
        >>> with Reranker(folder) as reranker:  # doctest: +SKIP
        ...     ranking = reranker.rank("how do tides work?", documents, top_n=3)
        >>> [(hit.index, hit.score, hit.text) for hit in ranking]  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        engine: str | Engine = "auto",
        max_length: int | None = None,
        policy: Policy = "truncate",
        overlap_tokens: int = 80,
        query_window: int | None = None,
        threads: int | None = None,
        device: str | None = None,
        revision: str | None = None,
        chunk_documents: int = 256,
    ) -> None:
        self.folder = resolve_model(model, revision=revision)
        self._chunk_documents = _positive("chunk_documents", chunk_documents)
        self._tokenizer = TextTokenizer.from_folder(self.folder)
        config = _fitting_config(self.folder, self._tokenizer)
        self.engine = _open_engine(self.folder, engine, threads, device)
        self.max_length = self.engine.max_length
        self.policy = policy
        self.overlap_tokens = overlap_tokens
        self.query_window = config.query_window if query_window is None else query_window
        self._document_window = config.document_window if max_length is None else 0
        self._owns_engine = isinstance(engine, str)
        self._closed = False
        try:
            self.max_length = self._checked_length(max_length)
            self.encoder(None, None)  # checks policy and overlap_tokens now, not at the first request
        except InputError:
            self.close()
            raise

    def rank(
        self,
        query: str,
        documents: Iterable[Document],
        top_n: int | None = None,
        *,
        max_length: int | None = None,
        policy: Policy | None = None,
    ) -> Ranking:
        """Rank documents by falling logit; equal logits keep the caller's order.

        Args:
            query: the query; may be empty.
            documents: strings, or mappings with ``text`` and perhaps ``title``; empty ones are scored, too.
            top_n: hits to return, from 1; None for all.
            max_length: for this request, instead of the reranker's.
            policy: for this request, instead of the reranker's.

        Raises:
            InputError: an argument cannot be used; names the document.
            TooLongError: the query leaves no room, or a pair does not fit under ``refuse``.
            EngineError: the computation failed.
        """
        if top_n is not None:
            top_n = _positive("top_n", top_n)
        encoder = self.encoder(max_length, policy)
        encoder.head(_checked_query(query))
        kept = list(_checked_documents(documents))
        texts = [document_text(document, i) for i, document in enumerate(kept)]
        clock = _Clock()
        logits: list[float] = []
        receipts: list[Receipt] = []
        for scored in self._score_chunks(((query, text) for text in texts), encoder, clock):
            logits += scored.logits.tolist()
            receipts += scored.receipts
        best = sorted(range(len(kept)), key=lambda i: -logits[i])[:top_n]  # a stable sort
        hits = tuple(Hit(i, logits[i], kept[i], texts[i], receipts[i]) for i in best)
        return Ranking(query, hits, len(kept), clock.timings())

    def score(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        max_length: int | None = None,
        policy: Policy | None = None,
    ) -> NDArray[np.float32]:
        """Raw logits in the caller's order, shape (n_documents,); arguments and errors as in :meth:`rank`."""
        encoder = self.encoder(max_length, policy)
        encoder.head(_checked_query(query))
        texts = (document_text(document, i) for i, document in enumerate(_checked_documents(documents)))
        return self._logits(((query, text) for text in texts), encoder)

    def score_pairs(
        self,
        pairs: Iterable[tuple[str, Document]],
        *,
        max_length: int | None = None,
        policy: Policy | None = None,
    ) -> NDArray[np.float32]:
        """Raw logits of (query, document) pairs in the caller's order, shape (n_pairs,).

        A query that comes again is tokenized once. Arguments and errors as in :meth:`rank`.
        """
        return self._logits(_checked_pairs(pairs), self.encoder(max_length, policy))

    def encoder(
        self,
        max_length: int | None = None,
        policy: Policy | None = None,
        *,
        overlap_tokens: int | None = None,
        **limits: Any,  # noqa: ANN401 - each has its own type there
    ) -> PairEncoder:
        """The text side of one request, for callers that batch the pairs of several requests themselves.

        What it encodes and packs goes to ``engine.score``; :func:`~tinyrerank.text.pairs.mean_of_parts` joins
        the parts of a long query, :func:`~tinyrerank.text.pairs.best_pieces` the windows.

        Args:
            max_length: instead of the reranker's.
            policy: instead of the reranker's.
            overlap_tokens: instead of the reranker's.
            **limits: further settings of :class:`~tinyrerank.text.pairs.PairEncoder`.

        Raises:
            InputError: a setting is out of range, or the reranker is closed.
        """
        if self._closed:
            raise InputError("this reranker is closed; make a new one")
        # A number of windows asks for long ones, too: clients count in chunks larger than ours.
        own = max_length is None and limits.get("max_windows") is None
        return PairEncoder(
            self._tokenizer,
            max_length=self.limit(policy) if own else self._checked_length(max_length),
            policy=self.policy if policy is None else policy,
            overlap_tokens=self.overlap_tokens if overlap_tokens is None else overlap_tokens,
            query_window=self.query_window,
            **limits,
        )

    def limit(self, policy: Policy | None = None) -> int:
        """Tokens of a model input under a policy (default: the reranker's), when nobody asks for a length.

        That is ``max_length``, but for ``window``: there a model may name shorter windows, in which it finds
        more (``document_window`` in its config; 192 tokens for the model of the package). They serve where
        long queries are read in parts that leave half of a window to the document.
        """
        wanted = self._document_window if (policy or self.policy) == "window" else 0
        if wanted and 0 < self.query_window <= wanted // 2:
            return min(wanted, self.max_length)
        return self.max_length

    def close(self) -> None:
        """Free the engine's threads and memory; the reranker cannot be used afterwards."""
        if self._owns_engine and not self._closed:
            self.engine.close()
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"Reranker({str(self.folder)!r}, engine={self.engine.name!r}, max_length={self.max_length},"
            f" policy={self.policy!r})"
        )

    def _checked_length(self, max_length: int | None) -> int:
        if max_length is None:
            return self.max_length
        length = _positive("max_length", max_length)
        if length > self.engine.max_length:
            raise InputError(
                f"max_length is {length}, but this model reads at most {self.engine.max_length} tokens;"
                " give less, or choose the policy window"
            )
        return length

    def _logits(self, pairs: Iterable[tuple[str, str]], encoder: PairEncoder) -> NDArray[np.float32]:
        chunks = [scored.logits for scored in self._score_chunks(pairs, encoder, _Clock())]
        return np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.float32)

    def _score_chunks(
        self, pairs: Iterable[tuple[str, str]], encoder: PairEncoder, clock: _Clock
    ) -> Iterator[_Scored]:
        """Score (query, text) pairs chunk after chunk; the next chunk is tokenized while the engine works."""

        def encode(chunk: _Chunk) -> tuple[int, list[EncodedPair]]:
            start = time.perf_counter()
            encoded = encoder.encode(chunk.pairs, chunk.first_index)
            clock.tokenize_s += time.perf_counter() - start
            return chunk.first_index, encoded

        for first_index, encoded in map_ahead(encode, _chunks(pairs, self._chunk_documents)):
            start = time.perf_counter()
            found = []
            for pack in encoder.pack(encoded, max_tokens=_PACK_TOKENS):
                found.append(self.engine.score(pack.ids, pack.cu_seqlens))
                clock.tokens += len(pack.ids)
            logits, winners = best_pieces(encoded, mean_of_parts(encoded, np.concatenate(found)))
            clock.score_s += time.perf_counter() - start
            if not np.isfinite(logits).all():
                at = int(np.argmin(np.isfinite(logits)))
                raise EngineError(
                    f"the engine {self.engine.name} gave document {first_index + at} the logit {logits[at]};"
                    " are the weights sound? `tinyrerank doctor` compares the engines"
                )
            receipts = [pair.receipt(winner) for pair, winner in zip(encoded, winners, strict=True)]
            yield _Scored(logits, receipts)


@dataclass(slots=True)
class _Clock:
    """What one request has cost so far."""

    tokenize_s: float = 0.0
    score_s: float = 0.0
    tokens: int = 0

    def timings(self) -> Timings:
        return Timings(self.tokenize_s * 1000.0, self.score_s * 1000.0, self.tokens)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Consecutive (query, text) pairs of a request."""

    first_index: int
    pairs: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Scored:
    """Logits (n,) and receipts of one chunk, in the caller's order."""

    logits: NDArray[np.float32]
    receipts: list[Receipt]


def _chunks(pairs: Iterable[tuple[str, str]], max_documents: int) -> Iterator[_Chunk]:
    """Cut a request into chunks of bounded memory: so many documents, or characters."""
    chunk: list[tuple[str, str]] = []
    first_index = chars = 0
    for index, (query, text) in enumerate(pairs):
        chunk.append((query, text))
        chars += len(query) + len(text)
        if len(chunk) == max_documents or chars >= _CHUNK_CHARS:
            yield _Chunk(first_index, chunk)
            chunk, first_index, chars = [], index + 1, 0
    if chunk:
        yield _Chunk(first_index, chunk)


def _open_engine(folder: Path, engine: str | Engine, threads: int | None, device: str | None) -> Engine:
    if isinstance(engine, str):
        from tinyrerank.engine import load_engine

        options = {} if device is None else {"device": device}
        return load_engine(folder, engine, threads=threads, **options)
    for name, value in (("threads", threads), ("device", device)):
        if value is not None:
            raise InputError(
                f"{name}={value} is for engines that are opened here; set it on the engine you give"
            )
    return engine


def _fitting_config(folder: Path, tokenizer: TextTokenizer) -> ModelConfig:
    """The config of a folder whose weights and tokenizer make a reranker."""
    weights = load_weights(folder)
    if weights.n_labels != 1:
        raise ModelError(
            f"{folder}: the classifier has {weights.n_labels} labels; a reranker needs exactly one"
        )
    if tokenizer.vocab_size > weights.config.vocab_size:
        raise ModelError(
            f"{folder}: tokenizer.json has {tokenizer.vocab_size} ids, but the weights have"
            f" {weights.config.vocab_size} rows: the two do not belong together"
        )
    return weights.config


def _checked_query(query: object) -> str:
    if not isinstance(query, str):
        raise InputError(f"query is of type {type(query).__name__}; give one str (score_pairs takes many)")
    return query


def _checked_documents(documents: object) -> Iterable[Any]:
    if isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Iterable):
        raise InputError(
            f"documents is of type {type(documents).__name__}; give a list or another iterable of documents"
            " (for one document: [document])"
        )
    return documents


def _checked_pairs(pairs: object) -> Iterator[tuple[str, str]]:
    """(query, text) of every pair."""
    for i, pair in enumerate(_checked_documents(pairs)):
        if isinstance(pair, str | Mapping) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise InputError(f"pair {i} is {type(pair).__name__}; give (query, document)")
        query, document = pair
        if not isinstance(query, str):
            raise InputError(f"the query of pair {i} is of type {type(query).__name__}; give a str")
        yield query, document_text(document, i)


def _positive(name: str, value: Any) -> int:  # noqa: ANN401 - that is the question
    """A whole number from 1 (numpy's integers, too, but no bool)."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if isinstance(value, bool) or number < 1:
        raise InputError(f"{name} is {value!r}; give a whole number from 1")
    return number
