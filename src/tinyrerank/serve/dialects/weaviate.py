"""Weaviate's reranker-transformers: ``POST /rerank`` with ``property``; scores in the order of the input."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from tinyrerank.serve.dialects import Dialect
from tinyrerank.serve.dialects.common import (
    Extras,
    ReceiptBody,
    common,
    error_of,
    pairs_of,
    read,
    reading,
    receipt_of,
)
from tinyrerank.serve.request import RerankAnswer, RerankRequest
from tinyrerank.serve.settings import Settings


class WeaviateRequest(Extras, kw_only=True):
    """The body: ``documents``, or one text as ``property``."""

    query: str
    documents: Annotated[list[Any], Meta(description="Strings, or objects with `text`.")] | None = None
    property: str | None = None
    model: str | None = None


class WeaviateScore(Struct):
    """One document's score."""

    document: Any
    score: float
    receipt: ReceiptBody | UnsetType = UNSET
    error: str | UnsetType = UNSET


class WeaviateAnswer(Struct):
    """The answer: ``scores`` for ``documents``, ``property`` and ``score`` for one text."""

    query: str
    scores: list[WeaviateScore] | UnsetType = UNSET
    property: str | UnsetType = UNSET
    score: float | UnsetType = UNSET


def parse(body: dict[str, Any], _: Settings) -> RerankRequest:
    """A body as the internal request."""
    fields, warnings = read(body, WeaviateRequest)
    single = fields.documents is None and fields.property is not None
    documents = [fields.property] if single else fields.documents or []
    return RerankRequest(
        pairs=pairs_of(fields.query, documents),
        documents=documents,
        model=fields.model,
        in_order=True,
        reading=reading(fields),
        warnings=warnings,
        detail=(fields.query, single),
        **common(fields),
    )


def render(request: RerankRequest, answer: RerankAnswer) -> WeaviateAnswer:
    """The internal answer as the container's."""
    query, single = request.detail
    if single:
        score = answer.outcomes[0].score(raw=request.raw_scores)
        return WeaviateAnswer(query, property=request.documents[0], score=score)
    scores = [
        WeaviateScore(
            document=request.documents[i],
            score=answer.outcomes[i].score(raw=request.raw_scores),
            receipt=receipt_of(request, answer.outcomes[i]),
            error=error_of(answer.outcomes[i]),
        )
        for i in answer.order
    ]
    return WeaviateAnswer(query, scores=scores)


DIALECTS = (
    Dialect(
        name="weaviate",
        title="Weaviate reranker-transformers",
        paths=("/weaviate/rerank",),
        request_type=WeaviateRequest,
        answer_type=WeaviateAnswer,
        parse=parse,
        render=render,
        sniff=lambda body: "property" in body,
    ),
)
