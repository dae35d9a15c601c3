"""SiliconFlow: ``POST /v1/rerank`` with ``overlap_tokens``; long documents are read in windows."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from tinyrerank.serve.dialects import Dialect
from tinyrerank.serve.dialects.common import (
    Count,
    Documents,
    Extras,
    Flag,
    Result,
    TokenCount,
    Usage,
    common,
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


class SiliconFlowRequest(Extras, kw_only=True):
    """The body."""

    query: str
    documents: Documents
    model: str | None = None
    top_n: Count = None
    return_documents: Flag = None
    max_chunks_per_doc: Count = None
    overlap_tokens: Annotated[int, Meta(ge=0)] | None = None


class SiliconFlowAnswer(Struct):
    """The answer."""

    id: str
    model: str
    results: list[Result]
    tokens: TokenCount
    usage: Usage
    warnings: list[str] | UnsetType = UNSET


def parse(body: dict[str, Any], _: Settings) -> RerankRequest:
    """A body as the internal request."""
    fields, warnings = read(body, SiliconFlowRequest)
    chunks, overlap = fields.max_chunks_per_doc, fields.overlap_tokens
    return RerankRequest(
        pairs=pairs_of(fields.query, fields.documents),
        documents=fields.documents,
        model=fields.model,
        top_n=fields.top_n,
        return_documents=flag(fields.return_documents, default=False),
        reading=reading(
            fields,
            policy=None if chunks is None and overlap is None else "window",
            max_windows=chunks,
            overlap_tokens=overlap,
        ),
        warnings=warnings,
        **common(fields),
    )


def render(request: RerankRequest, answer: RerankAnswer) -> SiliconFlowAnswer:
    """The internal answer as SiliconFlow's."""
    return SiliconFlowAnswer(
        id=answer.id,
        model=answer.model,
        results=results_of(request, answer),
        tokens=TokenCount(answer.tokens),
        usage=usage_of(answer),
        warnings=warnings_of(answer),
    )


DIALECTS = (
    Dialect(
        name="siliconflow",
        title="SiliconFlow",
        paths=("/siliconflow/v1/rerank",),
        request_type=SiliconFlowRequest,
        answer_type=SiliconFlowAnswer,
        parse=parse,
        render=render,
        sniff=lambda body: "overlap_tokens" in body,
    ),
)
