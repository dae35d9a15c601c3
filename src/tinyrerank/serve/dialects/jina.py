"""Jina AI: ``POST /v1/rerank``.

What unknown clients get on the shared paths, too. So it also takes Voyage's ``top_k``, and gives its
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
    Result,
    Usage,
    common,
    echo_object,
    flag,
    pairs_of,
    read,
    reading,
    results_of,
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


class JinaAnswer(Struct):
    """The answer of ``POST /v1/rerank``; ``data`` repeats ``results`` for clients of Voyage."""

    id: str
    model: str
    object: str
    usage: Usage
    results: list[Result]
    data: list[Result]
    warnings: list[str] | UnsetType = UNSET


def parse(body: dict[str, Any], settings: Settings) -> RerankRequest:
    """A Jina body as the internal request."""
    fields, warnings = read(body, JinaRequest)
    query = fields.query if isinstance(fields.query, str) else fields.query.get("text")
    if not isinstance(query, str):
        raise InvalidError("query: give a string, or an object with 'text'", "query")
    return RerankRequest(
        pairs=pairs_of(query, fields.documents),
        documents=fields.documents,
        model=fields.model,
        top_n=fields.top_n or fields.top_k,
        return_documents=flag(fields.return_documents, default=True),
        reading=reading(
            fields,
            policy=None if flag(fields.truncation, default=True) else "refuse",
            max_document_tokens=fields.max_doc_length,
        ),
        warnings=warnings,
        detail=settings.jina_document,
        **common(fields),
    )


def render(request: RerankRequest, answer: RerankAnswer) -> JinaAnswer:
    """The internal answer as Jina's."""
    results = results_of(request, answer, _as_it_came if request.detail == "echo" else echo_object)
    return JinaAnswer(
        id=answer.id,
        model=answer.model,
        object="list",
        usage=usage_of(answer),
        results=results,
        data=results,
        warnings=warnings_of(answer),
    )


def _as_it_came(request: RerankRequest, index: int) -> dict[str, Any] | str | UnsetType:
    if not request.return_documents or isinstance(request.pairs[index], Problem):
        return UNSET
    document: dict[str, Any] | str = request.documents[index]
    return document


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
