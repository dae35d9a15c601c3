"""Infinity: ``POST /infinity/rerank``. Its client wants strings as documents and an object as ``error``."""

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

_UNNAMED = "default/not-specified"


class InfinityRequest(Extras, kw_only=True):
    """The body."""

    query: str
    documents: Documents
    model: str | None = None
    top_n: Count = None
    return_documents: Flag = None


class InfinityAnswer(Struct):
    """The answer."""

    object: str
    id: str
    created: int
    model: str
    usage: Usage
    results: list[Result]
    warnings: list[str] | UnsetType = UNSET


class InfinityErrorDetail(Struct):
    """What is inside an error."""

    message: str
    type: str
    param: str | None
    code: int


class InfinityFault(Struct):
    """One field at fault."""

    loc: list[str]
    msg: str
    type: str


class InfinityError(Struct):
    """An error with everything inside ``error``; its client reads ``detail`` as a list, but only of a 422."""

    error: InfinityErrorDetail
    detail: str | list[InfinityFault]
    code: str
    request_id: str


def parse(body: dict[str, Any], _: Settings) -> RerankRequest:
    """A body as the internal request."""
    fields, warnings = read(body, InfinityRequest)
    return RerankRequest(
        pairs=pairs_of(fields.query, fields.documents),
        documents=fields.documents,
        model=None if fields.model == _UNNAMED else fields.model,
        top_n=fields.top_n,
        return_documents=flag(fields.return_documents, default=False),
        reading=reading(fields),
        warnings=warnings,
        **common(fields),
    )


def render(request: RerankRequest, answer: RerankAnswer) -> InfinityAnswer:
    """The internal answer as Infinity's."""
    return InfinityAnswer(
        object="rerank",
        id=answer.id,
        created=answer.created,
        model=answer.model,
        usage=usage_of(answer),
        results=results_of(request, answer, echo_text),
        warnings=warnings_of(answer),
    )


def render_error(
    status: int, code: str, message: str, request_id: str, param: str | None = None
) -> InfinityError:
    """An error as Infinity's client reads it."""
    where = ["body"] if param is None else ["body", param]
    detail = [InfinityFault(where, message, code)] if status == 422 else message
    return InfinityError(InfinityErrorDetail(message, code, param, status), detail, code, request_id)


DIALECTS = (
    Dialect(
        name="infinity",
        title="Infinity",
        paths=("/infinity/rerank",),
        request_type=InfinityRequest,
        answer_type=InfinityAnswer,
        parse=parse,
        render=render,
        error_type=InfinityError,
        render_error=render_error,
    ),
)
