"""Xinference: ``POST /v1/rerank`` with ``return_len`` or ``kwargs``."""

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
    TokenCount,
    common,
    flag,
    pairs_of,
    read,
    reading,
    results_of,
    warnings_of,
)
from tinyrerank.serve.request import RerankAnswer, RerankRequest
from tinyrerank.serve.settings import Settings


class XinferenceRequest(Extras, kw_only=True):
    """The body. Token counts always come, with ``return_len`` or without."""

    query: str
    documents: Documents
    model: str | None = None
    top_n: Count = None
    return_documents: Flag = None
    return_len: Flag = None
    max_chunks_per_doc: Count = None


class XinferenceMeta(Struct):
    """What Xinference says about an answer."""

    tokens: TokenCount
    warnings: list[str] | UnsetType = UNSET


class XinferenceAnswer(Struct):
    """The answer."""

    id: str
    model: str
    results: list[Result]
    meta: XinferenceMeta


def parse(body: dict[str, Any], _: Settings) -> RerankRequest:
    """A body as the internal request."""
    fields, warnings = read(body, XinferenceRequest)
    chunks = fields.max_chunks_per_doc
    return RerankRequest(
        pairs=pairs_of(fields.query, fields.documents),
        documents=fields.documents,
        model=fields.model,
        top_n=fields.top_n,
        return_documents=flag(fields.return_documents, default=False),
        reading=reading(fields, policy=None if chunks is None else "window", max_windows=chunks),
        warnings=tuple(
            w for w in warnings if body.get("kwargs") not in (None, "", "{}", {}) or "'kwargs'" not in w
        ),
        **common(fields),
    )


def render(request: RerankRequest, answer: RerankAnswer) -> XinferenceAnswer:
    """The internal answer as Xinference's."""
    meta = XinferenceMeta(TokenCount(answer.tokens), warnings_of(answer))
    return XinferenceAnswer(answer.id, answer.model, results_of(request, answer), meta)


DIALECTS = (
    Dialect(
        name="xinference",
        title="Xinference",
        paths=("/xinference/v1/rerank",),
        request_type=XinferenceRequest,
        answer_type=XinferenceAnswer,
        parse=parse,
        render=render,
        sniff=lambda body: "return_len" in body or "kwargs" in body,
    ),
)
