"""Pairs of query and document as packed token ids, under one of three policies for long documents.

Only the document ever gives way to a limit:

``truncate``
    the document's first tokens are read, as many as fit;
``window``
    overlapping windows over the document become one model input each; the best one gives the score;
``refuse``
    a pair that does not fit is an error.

A query of more than ``query_window`` tokens is read in even parts, each beside all that is read of the
document; the mean of their logits is the pair's. Models that learned on short queries rank better so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tinyrerank.errors import InputError, TooLongError
from tinyrerank.text.plain import Tokens
from tinyrerank.text.tokenizer import TextTokenizer, ids_of
from tinyrerank.text.windows import char_span, windows
from tinyrerank.types import Policy, Receipt

if TYPE_CHECKING:
    from tokenizers import Encoding

POLICIES: tuple[str, ...] = get_args(Policy)
_MAX_CACHED_QUERIES = 4096


def document_text(document: object, index: int) -> str:
    """The text that is scored for a document.

    A string is taken as it is. A mapping gives ``text``, with ``title`` and one space before it where both
    have characters (the custom of BEIR); its other keys are left alone.

    Args:
        document: what the caller gave.
        index: its position in the caller's list, for the error.

    Raises:
        InputError: it is neither, or ``text`` or ``title`` is not a string.

    Example:
        >>> document_text({"title": "Tides", "text": "The moon pulls."}, 0)
        'Tides The moon pulls.'
    """
    if isinstance(document, str):
        return document
    if not isinstance(document, Mapping):
        raise InputError(
            f"document {index} is of type {type(document).__name__}; give a str, or a mapping with 'text'"
            + (" (decode bytes first)" if isinstance(document, bytes | bytearray) else "")
        )
    text, title = document.get("text"), document.get("title")
    if not isinstance(text, str):
        what = "has no 'text'" if text is None else f"has a 'text' of type {type(text).__name__}"
        raise InputError(f"document {index} is a mapping that {what}; 'text' must be a str")
    if title is not None and not isinstance(title, str):
        raise InputError(
            f"document {index} has a 'title' of type {type(title).__name__}; it must be a str or None"
        )
    return f"{title} {text}" if title and text else title or text


@dataclass(frozen=True, slots=True)
class QueryHead:
    """The beginnings of the model inputs of one query.

    Attributes:
        parts: ``<s> part </s></s>`` for each part of the query, mostly one; shapes (tokens,), int32.
        room: document tokens that fit after the longest.
        cut: query tokens that were left out, because the caller allows only so many.
    """

    parts: tuple[NDArray[np.int32], ...]
    room: int
    cut: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of all parts, specials included."""
        return sum(map(len, self.parts))


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """One pair, ready to be packed.

    Attributes:
        head: the query's side.
        pieces: document tokens, one array a window; each stands beside every part of the query.
        spans: characters of the document's text that each piece stands for.
        tokens_read: document tokens in all pieces together, overlaps counted once.
        tokens_total: tokens of the document.
    """

    head: QueryHead
    pieces: tuple[NDArray[np.int32], ...]
    spans: tuple[tuple[int, int], ...]
    tokens_read: int
    tokens_total: int

    def receipt(self, winner: int = 0) -> Receipt:
        """The receipt when the piece ``winner`` gave the score."""
        return Receipt(self.tokens_read, self.tokens_total, len(self.pieces), self.spans[winner])


@dataclass(frozen=True, slots=True)
class Packed:
    """Model inputs one after the other, without padding.

    Attributes:
        ids: (total_tokens,) int32.
        cu_seqlens: (n + 1,) int32, cumulative lengths.
    """

    ids: NDArray[np.int32]
    cu_seqlens: NDArray[np.int32]


class PairEncoder:
    """Turns texts into :class:`EncodedPair` for one request; a query that comes again is not encoded again.

    Not for several threads at once: make one for each request.

    Args:
        tokenizer: the model's tokenizer.
        max_length: tokens allowed in a model input, specials included.
        policy: what happens to a pair that is longer.
        overlap_tokens: tokens that neighbouring windows share (at most half a window) under ``window``.
        max_document_tokens: tokens of a document that may be read, under any policy; None for all.
        max_query_tokens: tokens of a query that are read; None for all.
        max_windows: windows over a long document under ``window``; None for as many as it needs.
        query_window: tokens of a query beyond which it is read in even parts; 0 reads it whole.
        side: the end that a document loses when it is cut.

    Raises:
        InputError: a setting is out of range.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        *,
        max_length: int,
        policy: Policy = "truncate",
        overlap_tokens: int = 80,
        max_document_tokens: int | None = None,
        max_query_tokens: int | None = None,
        max_windows: int | None = None,
        query_window: int = 0,
        side: Literal["left", "right"] = "right",
    ) -> None:
        self._specials = len(tokenizer.template)
        if not _is_int(max_length) or max_length <= self._specials:
            raise InputError(
                f"max_length is {max_length!r}; give a whole number above {self._specials},"
                " the special tokens of a pair"
            )
        if policy not in POLICIES:
            raise InputError(f"policy is {policy!r}; known: {', '.join(POLICIES)}")
        if not _is_int(overlap_tokens) or overlap_tokens < 0:
            raise InputError(f"overlap_tokens is {overlap_tokens!r}; give a whole number from 0")
        if not _is_int(query_window) or query_window < 0:
            raise InputError(
                f"query_window is {query_window!r}; give a whole number from 0, which reads it whole"
            )
        for name, limit in (
            ("max_document_tokens", max_document_tokens),
            ("max_query_tokens", max_query_tokens),
            ("max_windows", max_windows),
        ):
            if limit is not None and (not _is_int(limit) or limit < 1):
                raise InputError(f"{name} is {limit!r}; give a whole number from 1")
        if side not in ("left", "right"):
            raise InputError(f"side is {side!r}; known: left, right")
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._policy = policy
        self._overlap = overlap_tokens
        self._max_document_tokens = max_document_tokens
        self._max_query_tokens = max_query_tokens
        self._max_windows = max_windows
        self._query_window = query_window
        self._side = side
        self._heads: dict[str, QueryHead] = {}

    def costs(self, pair: EncodedPair) -> tuple[int, ...]:
        """Tokens that the engine reads for each piece of a document, all parts of the query together."""
        head, tail = pair.head, len(self._tokenizer.template.after)
        return tuple(head.tokens + len(head.parts) * (len(piece) + tail) for piece in pair.pieces)

    def reads(self, n_query: int, n_document: int) -> int:
        """Tokens that the engine will read of a pair whose query and document have so many.

        The sum of :meth:`costs`, foretold. What ``refuse`` refuses counts as if it were cut, and a query that
        leaves no room for a document counts alone.
        """
        if self._max_query_tokens is not None:
            n_query = min(n_query, self._max_query_tokens)
        n_parts = self._parts(n_query)
        room = self._max_length - -(-n_query // n_parts) - self._specials
        if room < 1:
            return n_query
        if self._max_document_tokens is not None:
            n_document = min(n_document, self._max_document_tokens)
        ranges = [(0, min(n_document, room))]
        if self._policy == "window":
            ranges = windows(n_document, room, self._overlap)[: self._max_windows]
        read = sum(end - start for start, end in ranges)
        return len(ranges) * (n_query + n_parts * self._specials) + n_parts * read

    def head(self, query: str) -> QueryHead:
        """Encode a query, or recall it.

        Raises:
            TooLongError: it leaves no room for one token of a document.
        """
        self._learn((query,))
        return self._heads[query]

    def encode(self, pairs: Sequence[tuple[str, str]], first_index: int = 0) -> list[EncodedPair]:
        """Encode (query, text) pairs under the policy.

        Args:
            pairs: a chunk of the request.
            first_index: position of its first pair in the caller's list, for errors.

        Raises:
            TooLongError: a query leaves no room, or a pair does not fit and the policy is ``refuse``.
        """
        self._learn(query for query, _ in pairs)
        encodings = self._tokenizer.encode([text for _, text in pairs])
        return [
            self._pair(self._heads[query], text, encoding, first_index + i)
            for i, ((query, text), encoding) in enumerate(zip(pairs, encodings, strict=True))
        ]

    def pack(self, pairs: Sequence[EncodedPair], *, max_tokens: int) -> Iterator[Packed]:
        """Lay the pieces of all pairs end to end, in order, cut into packs.

        Args:
            pairs: encoded pairs.
            max_tokens: tokens in a pack; one longer input makes a pack of its own.
        """
        tail = np.array(self._tokenizer.template.after, dtype=np.int32)
        parts: list[NDArray[np.int32]] = []
        lengths: list[int] = []
        n_tokens = 0
        for head, piece in ((h, piece) for pair in pairs for piece in pair.pieces for h in pair.head.parts):
            length = len(head) + len(piece) + len(tail)
            if parts and n_tokens + length > max_tokens:
                yield _packed(parts, lengths)
                parts, lengths, n_tokens = [], [], 0
            parts += (head, piece, tail)
            lengths.append(length)
            n_tokens += length
        if parts:
            yield _packed(parts, lengths)

    def _learn(self, queries: Iterable[str]) -> None:
        """Encode the queries that are new; forget older chunks' when there are very many."""
        wanted = dict.fromkeys(queries)
        new = [query for query in wanted if query not in self._heads]
        if not new:
            return
        if len(self._heads) + len(new) > _MAX_CACHED_QUERIES:
            self._heads = {query: head for query, head in self._heads.items() if query in wanted}
        for query, encoding in zip(new, self._tokenizer.encode(new), strict=True):
            self._heads[query] = self._head(encoding)

    def _head(self, query: Encoding | Tokens) -> QueryHead:
        n_tokens = len(query)
        if self._max_query_tokens is not None:
            n_tokens = min(n_tokens, self._max_query_tokens)
        n_parts = self._parts(n_tokens)
        needed = -(-n_tokens // n_parts) + self._specials + 1
        if needed > self._max_length:
            split = f", read in {n_parts} parts" if n_parts > 1 else ""
            raise TooLongError(
                f"the query has {n_tokens} tokens{split}; with {self._specials} special tokens and one of a"
                f" document it needs {needed}, but max_length is {self._max_length}: shorten the query or"
                " raise max_length",
                index=None,
                tokens=needed,
                limit=self._max_length,
            )
        template = self._tokenizer.template
        ends = [n_tokens * part // n_parts for part in range(n_parts + 1)]
        parts = tuple(
            np.array([*template.before, *query.ids[start:end], *template.between], dtype=np.int32)
            for start, end in pairwise(ends)
        )
        longest = max(end - start for start, end in pairwise(ends))
        return QueryHead(parts, self._max_length - longest - self._specials, len(query) - n_tokens)

    def _parts(self, n_query: int) -> int:
        """In how many parts a query of so many tokens is read."""
        return -(-n_query // self._query_window) if self._query_window and n_query else 1

    def _pair(self, head: QueryHead, text: str, document: Encoding | Tokens, index: int) -> EncodedPair:
        n_tokens = len(document)
        readable = n_tokens if self._max_document_tokens is None else min(n_tokens, self._max_document_tokens)
        if n_tokens <= min(readable, head.room):
            return EncodedPair(head, (ids_of(document),), ((0, len(text)),), n_tokens, n_tokens)
        if self._policy == "refuse" and readable > head.room:
            tokens = self._max_length - head.room + readable
            raise TooLongError(
                f"document {index} makes a pair of {tokens} tokens, but max_length is {self._max_length}:"
                " shorten it, raise max_length, or choose the policy truncate or window",
                index=index,
                tokens=tokens,
                limit=self._max_length,
            )
        if self._policy == "window":
            ranges = windows(readable, head.room, self._overlap)[: self._max_windows]
        else:
            ranges = [(0, min(readable, head.room))]
        read = ranges[-1][1]
        first = n_tokens - read if self._side == "left" else 0
        ids = ids_of(document, first, first + read)
        return EncodedPair(
            head,
            pieces=tuple(ids[start:end] for start, end in ranges),
            spans=tuple(char_span(text, document, first + start, first + end) for start, end in ranges),
            tokens_read=read,
            tokens_total=n_tokens,
        )


def mean_of_parts(pairs: Sequence[EncodedPair], logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """One logit for each piece of a document: the mean over the parts of its query.

    Args:
        pairs: encoded pairs.
        logits: of all model inputs in the order of :meth:`PairEncoder.pack`.

    Returns:
        Logits, shape (n_pieces,), the pieces of all pairs in order.
    """
    n_parts = np.repeat([len(pair.head.parts) for pair in pairs], [len(pair.pieces) for pair in pairs])
    if len(n_parts) == len(logits):
        return logits
    starts = np.cumsum(n_parts) - n_parts
    means: NDArray[np.float32] = (np.add.reduceat(logits, starts) / n_parts).astype(np.float32)
    return means


def best_pieces(
    pairs: Sequence[EncodedPair], logits: NDArray[np.float32]
) -> tuple[NDArray[np.float32], list[int]]:
    """Reduce the logits of all pieces to one a pair: the highest.

    Args:
        pairs: encoded pairs, shape (n,).
        logits: of their pieces, shape (n_pieces,); see :func:`mean_of_parts`.

    Returns:
        Logits, shape (n,), NaN where a piece has NaN; and the number of the winning piece within each
        pair, the first one of equals.
    """
    ends = np.cumsum([len(pair.pieces) for pair in pairs]).tolist()
    if ends and ends[-1] == len(pairs):
        return logits, [0] * len(pairs)
    winners = [
        int(np.argmax(logits[end - len(pair.pieces) : end])) for pair, end in zip(pairs, ends, strict=True)
    ]
    at = [end - len(pair.pieces) + winner for pair, end, winner in zip(pairs, ends, winners, strict=True)]
    return logits[at], winners


def _packed(parts: list[NDArray[np.int32]], lengths: list[int]) -> Packed:
    cu_seqlens = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=cu_seqlens[1:])
    return Packed(np.concatenate(parts), cu_seqlens)


def _is_int(value: Any) -> bool:  # noqa: ANN401 - that is the question
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
