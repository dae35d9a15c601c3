"""Hugging Face text-embeddings-inference: ``POST /rerank`` with ``texts``, answered by a bare array."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from tinyrerank.serve.dialects import Dialect
from tinyrerank.serve.dialects.common import (
    Count,
    Documents,
    Extras,
    Flag,
    ReceiptBody,
    common,
    echo_text,
    error_of,
    flag,
    pairs_of,
    read,
    reading,
    receipt_of,
)
from tinyrerank.serve.request import RerankAnswer, RerankRequest
from tinyrerank.serve.settings import Settings
from tinyrerank.types import Policy


class TeiRequest(Extras, kw_only=True):
    """The body; ``top_n`` and ``model`` are additions."""

    query: str
    texts: Documents
    truncate: Flag = None
    truncation_direction: Literal["left", "right", "Left", "Right"] | None = None
    return_text: Flag = None
    top_n: Count = None
    model: str | None = None


class TeiRank(Struct):
    """One result."""

    index: int
    score: float
    text: str | UnsetType = UNSET
    receipt: ReceiptBody | UnsetType = UNSET
    error: str | UnsetType = UNSET


def parse(body: dict[str, Any], settings: Settings) -> RerankRequest:
    """A body as the internal request."""
    fields, warnings = read(body, TeiRequest)
    policy: Policy | None = None
    if fields.truncate is not None:
        allowed = "truncate" if settings.policy == "refuse" else None
        policy = allowed if flag(fields.truncate, default=True) else "refuse"  # type: ignore[assignment]  # one of them
    left = fields.truncation_direction in ("left", "Left")
    return RerankRequest(
        pairs=pairs_of(fields.query, fields.texts),
        documents=fields.texts,
        model=fields.model,
        top_n=fields.top_n,
        return_documents=flag(fields.return_text, default=False),
        reading=reading(fields, policy=policy, side="left" if left else "right"),
        warnings=warnings,
        **common(fields),
    )


def render(request: RerankRequest, answer: RerankAnswer) -> list[TeiRank]:
    """The internal answer as an array; tokens and times are in the headers."""
    return [
        TeiRank(
            index=i,
            score=answer.outcomes[i].score(raw=request.raw_scores),
            text=echo_text(request, i),
            receipt=receipt_of(request, answer.outcomes[i]),
            error=error_of(answer.outcomes[i]),
        )
        for i in answer.order
    ]


DIALECTS = (
    Dialect(
        name="tei",
        title="text-embeddings-inference",
        paths=("/tei/rerank",),
        request_type=TeiRequest,
        answer_type=list[TeiRank],
        parse=parse,
        render=render,
        sniff=lambda body: "texts" in body,
    ),
)
