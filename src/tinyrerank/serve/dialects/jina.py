"""Jina AI: ``POST /v1/rerank``.

Its superset is what unknown clients get on the shared paths, so it also takes Voyage's ``top_k`` and gives its
results a second time under Voyage's name ``data``: no client that was tried minds.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from tinyrerank.serve.dialects import Dialect
from tinyrerank.serve.dialects.common import (
    Count,
    Documents,
    Extras,
    Flag,
    ReceiptBody,
    Usage,
    echo_object,
    error_of,
    flag,
    pairs_of,
    read,
    reading,
    receipt_of,
    usage_of,
    warnings_of,
)
from tinyrerank.serve.errors import InvalidError
from tinyrerank.serve.request import Problem, RerankAnswer, RerankRequest
from tinyrerank.serve.settings import Settings


class JinaRequest(Extras, kw_only=True):
    """The body of ``POST /v1/rerank``."""

    query: str | dict[str, Any]
    documents: Documents
    model: str | None = None
    top_n: Count = None
    top_k: Count = None
    return_documents: Flag = None
    truncation: Flag = None
    max_doc_length: Count = None


class JinaResult(Struct):
    """One result."""

    index: int
    relevance_score: float
    document: dict[str, Any] | str | UnsetType = UNSET
    receipt: ReceiptBody | UnsetType = UNSET
    error: str | UnsetType = UNSET


class JinaAnswer(Struct):
    """The answer of ``POST /v1/rerank``; ``data`` repeats ``results`` for clients of Voyage."""

    id: str
    model: str
    object: str
    usage: Usage
    results: list[JinaResult]
    data: list[JinaResult]
    warnings: list[str] | UnsetType = UNSET


def parse(body: dict[str, Any], settings: Settings) -> RerankRequest:
    """A Jina body as the internal request."""
    fields, warnings = read(body, JinaRequest)
    query = fields.query if isinstance(fields.query, str) else fields.query.get("text")
    if not isinstance(query, str):
        raise InvalidError("query: give a string, or an object with 'text'", "query")
    policy = None if flag(fields.truncation, default=True) else "refuse"
    return RerankRequest(
        pairs=pairs_of(query, fields.documents),
        documents=fields.documents,
        model=fields.model,
        top_n=fields.top_n or fields.top_k,
        return_documents=flag(fields.return_documents, default=True),
        return_receipts=flag(fields.return_receipts, default=False),
        raw_scores=flag(fields.raw_scores, default=False),
        deadline_ms=fields.deadline_ms,
        reading=reading(fields, policy=policy, max_document_tokens=fields.max_doc_length),
        warnings=warnings,
        detail=settings.jina_document,
    )


def render(request: RerankRequest, answer: RerankAnswer) -> JinaAnswer:
    """The internal answer as Jina's."""
    results = [
        JinaResult(
            index=i,
            relevance_score=answer.outcomes[i].score(raw=request.raw_scores),
            document=_document(request, i),
            receipt=receipt_of(request, answer.outcomes[i]),
            error=error_of(answer.outcomes[i]),
        )
        for i in answer.order
    ]
    return JinaAnswer(
        id=answer.id,
        model=answer.model,
        object="list",
        usage=usage_of(answer),
        results=results,
        data=results,
        warnings=warnings_of(answer),
    )


def _document(request: RerankRequest, index: int) -> dict[str, Any] | str | UnsetType:
    pair, document = request.pairs[index], request.documents[index]
    if request.detail == "echo" and request.return_documents and not isinstance(pair, Problem):
        return document  # type: ignore[no-any-return]  # a string or an object, or it were a problem
    return echo_object(request, index)


DIALECTS = (
    Dialect(
        name="jina",
        title="Jina AI",
        paths=("/jina/v1/rerank",),
        request_type=JinaRequest,
        answer_type=JinaAnswer,
        parse=parse,
        render=render,
        sniff=lambda _: True,
    ),
)
