"""Cohere: ``POST /v1/rerank`` and ``POST /v2/rerank``.

Version 1 takes objects with ``rank_fields``; its ``max_chunks_per_doc`` reads long documents in that many
windows. Version 2 takes strings and never gives them back.
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

_UNIT_DOCUMENTS = 100


class CohereV1Request(Extras, kw_only=True):
    """The body of version 1."""

    query: str
    documents: Documents
    model: str | None = None
    top_n: Count = None
    rank_fields: list[str] | None = None
    return_documents: Flag = None
    max_chunks_per_doc: Count = None


class CohereV2Request(Extras, kw_only=True):
    """The body of version 2."""

    query: str
    documents: Documents
    model: str | None = None
    top_n: Count = None
    max_tokens_per_doc: Count = None


class ApiVersion(Struct):
    """Version of the wire format."""

    version: str


class BilledUnits(Struct):
    """What Cohere would bill: a unit is a query with up to 100 documents."""

    search_units: int


class CohereMeta(Struct):
    """What Cohere says about an answer."""

    api_version: ApiVersion
    billed_units: BilledUnits
    tokens: TokenCount
    warnings: list[str] | UnsetType = UNSET


class CohereAnswer(Struct):
    """The answer of both versions."""

    id: str
    results: list[Result]
    meta: CohereMeta


def parse_v1(body: dict[str, Any], _: Settings) -> RerankRequest:
    """A body of version 1 as the internal request."""
    fields, warnings = read(body, CohereV1Request)
    chunks = fields.max_chunks_per_doc
    return RerankRequest(
        pairs=pairs_of(fields.query, fields.documents, fields.rank_fields),
        documents=fields.documents,
        model=fields.model,
        top_n=fields.top_n,
        return_documents=flag(fields.return_documents, default=False),
        reading=reading(fields, policy=None if chunks is None else "window", max_windows=chunks),
        warnings=warnings,
        **common(fields),
    )


def parse_v2(body: dict[str, Any], _: Settings) -> RerankRequest:
    """A body of version 2 as the internal request."""
    fields, warnings = read(body, CohereV2Request)
    return RerankRequest(
        pairs=pairs_of(fields.query, fields.documents),
        documents=fields.documents,
        model=fields.model,
        top_n=fields.top_n,
        reading=reading(fields, max_document_tokens=fields.max_tokens_per_doc),
        warnings=warnings,
        **common(fields),
    )


def _render(request: RerankRequest, answer: RerankAnswer, version: str) -> CohereAnswer:
    units = -(-len(answer.outcomes) // _UNIT_DOCUMENTS)
    return CohereAnswer(
        id=answer.id,
        results=results_of(request, answer),
        meta=CohereMeta(
            ApiVersion(version), BilledUnits(units), TokenCount(answer.tokens), warnings_of(answer)
        ),
    )


DIALECTS = (
    Dialect(
        name="cohere-v1",
        title="Cohere v1",
        paths=("/cohere/v1/rerank",),
        request_type=CohereV1Request,
        answer_type=CohereAnswer,
        parse=parse_v1,
        render=lambda request, answer: _render(request, answer, "1"),
        sniff=lambda body: "rank_fields" in body or "max_chunks_per_doc" in body,
    ),
    Dialect(
        name="cohere-v2",
        title="Cohere v2",
        paths=("/v2/rerank", "/cohere/v2/rerank"),
        request_type=CohereV2Request,
        answer_type=CohereAnswer,
        parse=parse_v2,
        render=lambda request, answer: _render(request, answer, "2"),
    ),
)
