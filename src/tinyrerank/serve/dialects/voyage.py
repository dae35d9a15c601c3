"""Voyage AI: ``POST /voyage/v1/rerank``, or by ``top_k`` on shared paths; results are called ``data``."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from tinyrerank.serve.dialects import Dialect
from tinyrerank.serve.dialects.common import (
    Count,
    Documents,
    Extras,
    Flag,
    Result,
    Usage,
    common,
    echo_text,
    flag,
    pairs_of,
    read,
    reading,
    results_of,
    usage_of,
    warnings_of,
)
from tinyrerank.serve.request import RerankAnswer, RerankRequest
from tinyrerank.serve.settings import Settings


class VoyageRequest(Extras, kw_only=True):
    """The body."""

    query: str
    documents: Documents
    model: str | None = None
    top_k: Count = None
    truncation: Flag = None
    return_documents: Flag = None


class VoyageAnswer(Struct):
    """The answer."""

    object: str
    data: list[Result]
    model: str
    usage: Usage
    warnings: list[str] | UnsetType = UNSET


def parse(body: dict[str, Any], _: Settings) -> RerankRequest:
    """A body as the internal request."""
    fields, warnings = read(body, VoyageRequest)
    return RerankRequest(
        pairs=pairs_of(fields.query, fields.documents),
        documents=fields.documents,
        model=fields.model,
        top_n=fields.top_k,
        return_documents=flag(fields.return_documents, default=False),
        reading=reading(fields, policy=None if flag(fields.truncation, default=True) else "refuse"),
        warnings=warnings,
        **common(fields),
    )


def render(request: RerankRequest, answer: RerankAnswer) -> VoyageAnswer:
    """The internal answer as Voyage's."""
    return VoyageAnswer(
        object="list",
        data=results_of(request, answer, echo_text),
        model=answer.model,
        usage=usage_of(answer),
        warnings=warnings_of(answer),
    )


DIALECTS = (
    Dialect(
        name="voyage",
        title="Voyage AI",
        paths=("/voyage/v1/rerank",),
        request_type=VoyageRequest,
        answer_type=VoyageAnswer,
        parse=parse,
        render=render,
        sniff=lambda body: "top_k" in body and "top_n" not in body,
    ),
)
