"""The one internal request and answer: dialects make the first and render the second.

A request is a list of (query, text) pairs, whatever its wire format called them. An answer holds one outcome
a pair in the caller's order, and the ranking over them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from tinyrerank.fusion import joined_logits
from tinyrerank.types import Policy, sigmoid

Side: TypeAlias = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How much of a text is read, where the request says so; None for the server's setting.

    Attributes:
        policy: what happens to a pair that is longer than ``max_length``.
        max_length: tokens of query and document together.
        max_document_tokens: tokens of each document that may be read.
        max_query_tokens: tokens of the query that are read; the rest of it is cut, with a warning.
        max_windows: windows over a long document, under the policy ``window``.
        overlap_tokens: tokens that neighbouring windows share.
        side: the end of a document that truncation cuts off.
    """

    policy: Policy | None = None
    max_length: int | None = None
    max_document_tokens: int | None = None
    max_query_tokens: int | None = None
    max_windows: int | None = None
    overlap_tokens: int | None = None
    side: Side = "right"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one document was not scored.

    Attributes:
        code: ``bad_document``, ``engine_failed`` or ``deadline``.
        message: a sentence for the caller.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """What a client asks, free of its wire format.

    Attributes:
        pairs: (query, text) in the caller's order, or the problem of a document that has no text.
        documents: what the caller sent for each pair, for dialects that give it back.
        model: name or alias; None for the server's first model.
        top_n: results wanted, from 1; None for all.
        return_documents: whether results carry their documents.
        return_receipts: whether every result says how much was read of it, not only those that were cut.
        raw_scores: logits instead of their sigmoid.
        in_order: results in the caller's order instead of by falling score.
        deadline_ms: time for the answer, from the arrival of the request.
        list_weight: how much a document's place counts beside its logit; None for the server's setting.
        reading: limits and policy for long texts.
        warnings: what the caller should know, such as keys that mean nothing here.
        detail: whatever the dialect wants to remember until it renders the answer.
    """

    pairs: Sequence[tuple[str, str] | Problem]
    documents: Sequence[Any]
    model: str | None = None
    top_n: int | None = None
    return_documents: bool = False
    return_receipts: bool = False
    raw_scores: bool = False
    in_order: bool = False
    deadline_ms: float | None = None
    list_weight: float | None = None
    reading: Reading = field(default_factory=Reading)
    warnings: tuple[str, ...] = ()
    detail: Any = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one pair: a logit with its receipt, or a problem.

    Attributes:
        logit: the model's raw output, or what it and the place say together; NaN with a problem.
        tokens_read: document tokens that the model read.
        tokens_total: document tokens in all.
        windows: model inputs made of the document.
        span: characters of the text that the score stands for.
        cost: tokens that the model computes for the pair, the query and specials of every window included.
        problem: why there is no logit.
    """

    logit: float = math.nan
    tokens_read: int = 0
    tokens_total: int = 0
    windows: int = 0
    span: tuple[int, int] = (0, 0)
    cost: int = 0
    problem: Problem | None = None

    @property
    def truncated(self) -> bool:
        """Whether some of the document was not read."""
        return self.tokens_read < self.tokens_total

    def score(self, *, raw: bool) -> float:
        """The logit, or its sigmoid; with a problem 0, or for raw scores the lowest float32."""
        if self.problem is not None:
            return LOWEST if raw else 0.0
        return self.logit if raw else sigmoid(self.logit)


#: Raw score of a document that was not scored: JSON has no infinity.
LOWEST = -3.4028234663852886e38


@dataclass(slots=True)
class Stages:
    """Milliseconds that a request spent in each stage, and what it cost."""

    total_ms: float = 0.0
    tokenize_ms: float = 0.0
    queue_ms: float = 0.0
    inference_ms: float = 0.0
    characters: int = 0


@dataclass(frozen=True, slots=True)
class RerankAnswer:
    """What the server found, free of a wire format.

    Attributes:
        id: of the request.
        created: seconds since 1970.
        model: the name that the caller used, or that of the first model.
        served_model: the model's own name.
        engine: name of the engine that computed.
        device: what it computed on, such as ``cpu`` or ``cuda:0``.
        outcomes: one a pair, in the caller's order.
        order: positions of the results to send: by falling logit, equal ones and then those with problems in
            the caller's order; cut to ``top_n``.
        tokens: tokens that the model reads for this request (of cached scores, too), queries and specials
            included.
        cached: pairs whose score was known already.
        stages: where the time went.
        warnings: of the request, and those that arose on the way.
    """

    id: str
    created: int
    model: str
    served_model: str
    engine: str
    device: str
    outcomes: Sequence[Outcome]
    order: Sequence[int]
    tokens: int
    cached: int
    stages: Stages
    warnings: tuple[str, ...] = ()

    @property
    def problems(self) -> int:
        """Pairs without a score."""
        return sum(outcome.problem is not None for outcome in self.outcomes)

    @property
    def truncated(self) -> int:
        """Pairs that were cut."""
        return sum(outcome.truncated for outcome in self.outcomes)


def joined(outcomes: Sequence[Outcome], list_weight: float) -> Sequence[Outcome]:
    """Outcomes whose logits are joined with their places (:func:`tinyrerank.fusion.joined_logits`).

    Those with a problem stay as they are; the others close ranks.
    """
    if not list_weight:
        return outcomes
    scored = [outcome.logit for outcome in outcomes if outcome.problem is None]
    logits = iter(joined_logits(scored, list_weight))
    return [
        outcome if outcome.problem is not None else replace(outcome, logit=next(logits))
        for outcome in outcomes
    ]


def ranked(outcomes: Sequence[Outcome], top_n: int | None, *, in_order: bool = False) -> list[int]:
    """Positions by falling logit; equal logits keep their order, and so do those without one, at the end.

    Example:
        >>> ranked([Outcome(1.0), Outcome(problem=Problem("deadline", "late")), Outcome(2.0)], None)
        [2, 0, 1]
    """
    if in_order:
        return list(range(len(outcomes)))[:top_n]

    def place(i: int) -> tuple[bool, float]:
        outcome = outcomes[i]
        return (True, 0.0) if outcome.problem is not None else (False, -outcome.logit)

    return sorted(range(len(outcomes)), key=place)[:top_n]
