"""The frozen values that travel through the package: documents, receipts, hits and rankings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, overload

#: A document: plain text, or a mapping with ``text`` and, if it has one, ``title``.
Document = str | Mapping[str, Any]

#: What happens to a pair that is longer than ``max_length``.
Policy = Literal["truncate", "window", "refuse"]


def sigmoid(logit: float) -> float:
    """A logit as a score in 0..1, the only place that does it for one number; never overflows."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    z = math.exp(logit)
    return z / (1.0 + z)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the model read of one document; nothing is cut without one.

    Attributes:
        tokens_read: document tokens that reached the model (the union over windows).
        tokens_total: document tokens in all, specials and query not counted.
        windows: model inputs made from this document (1 unless the policy is ``window``).
        span: ``(start, end)`` characters of the document's text that the score stands for: all that
            was read, or the winning window.
    """

    tokens_read: int
    tokens_total: int
    windows: int
    span: tuple[int, int]

    @property
    def truncated(self) -> bool:
        """Whether some of the document was not read."""
        return self.tokens_read < self.tokens_total


@dataclass(frozen=True, slots=True)
class Hit:
    """One ranked document.

    Attributes:
        index: position in the caller's list, from 0.
        logit: the model's raw output; rankings are made from it.
        document: the document as the caller gave it.
        text: the text that was scored (title and text joined for a mapping).
        receipt: what was read of it.
    """

    index: int
    logit: float
    document: Document
    text: str
    receipt: Receipt

    @property
    def score(self) -> float:
        """The logit through a sigmoid, in 0..1. A view: two logits may share a score, never the order."""
        return sigmoid(self.logit)


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds spent on one request, and the tokens that the engine read."""

    tokenize_ms: float
    score_ms: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents in falling order of logit; equal logits keep the caller's order.

    Attributes:
        query: the query as given.
        hits: the best ``top_n`` documents, best first.
        n_documents: how many documents were ranked.
        timings: where the time went.
    """

    query: str
    hits: tuple[Hit, ...]
    n_documents: int
    timings: Timings = field(default=Timings(0.0, 0.0, 0), compare=False)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, i: int) -> Hit: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, i: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[i]
