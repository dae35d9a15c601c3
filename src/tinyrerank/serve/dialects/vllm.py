"""vLLM: rerank, under its prefix or by its own keys on shared paths, and ``/score`` for pairs in order."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from tinyrerank.serve.dialects import Dialect
from tinyrerank.serve.dialects.common import (
    Extras,
    Flag,
    ReceiptBody,
    Result,
    Usage,
    common,
    error_of,
    flag,
    pairs_of,
    read,
    reading,
    receipt_of,
    results_of,
    usage_of,
    warnings_of,
    without_list,
)
from tinyrerank.serve.errors import InvalidError
from tinyrerank.serve.request import Reading, RerankAnswer, RerankRequest
from tinyrerank.serve.settings import Settings
from tinyrerank.types import Policy

#: 0 means no limit.
CountOrZero: TypeAlias = Annotated[int, Meta(ge=0)] | None
Texts: TypeAlias = Annotated[
    str | list[Any] | dict[str, Any],
    Meta(description="A string, a list of strings, or an object with `content`, a list of text parts."),
]
_SIDES = ("queries", "items", "documents", "data_1", "data_2", "text_1", "text_2")
_PAIRINGS = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))
#: Keys that no other dialect has.
_OWN = {"truncate_prompt_tokens", "truncation_side", "max_tokens_per_query", "use_activation", "cache_salt"}


class VllmLimits(Extras, kw_only=True):
    """What both routes understand."""

    model: str | None = None
    truncate_prompt_tokens: Annotated[int, Meta(ge=-1)] | None = None
    truncation_side: str | None = None
    max_tokens_per_query: CountOrZero = None
    max_tokens_per_doc: CountOrZero = None
    use_activation: Flag = None


class VllmRequest(VllmLimits, kw_only=True):
    """The body of rerank."""

    query: str
    documents: Texts
    top_n: CountOrZero = None


class VllmScoreRequest(VllmLimits, kw_only=True):
    """The body of score: one query, or as many as texts, under one of four pairs of names."""

    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None
    text_1: Texts | None = None
    text_2: Texts | None = None


class VllmAnswer(Struct):
    """The answer of rerank."""

    id: str
    model: str
    usage: Usage
    results: list[Result]
    warnings: list[str] | UnsetType = UNSET


class VllmScore(Struct):
    """One pair's score."""

    index: int
    object: str
    score: float
    receipt: ReceiptBody | UnsetType = UNSET
    error: str | UnsetType = UNSET


class VllmScoreAnswer(Struct):
    """The answer of score."""

    id: str
    object: str
    created: int
    model: str
    data: list[VllmScore]
    usage: Usage
    warnings: list[str] | UnsetType = UNSET


def parse(body: dict[str, Any], _: Settings) -> RerankRequest:
    """A body of rerank as the internal request."""
    fields, warnings = read(body, VllmRequest)
    documents = _texts(fields.documents)
    return RerankRequest(
        pairs=pairs_of(fields.query, documents),
        documents=documents,
        model=fields.model,
        top_n=fields.top_n or None,
        return_documents=True,
        reading=_reading(fields),
        warnings=warnings,
        **_common(fields),
    )


def parse_score(body: dict[str, Any], _: Settings) -> RerankRequest:
    """A body of score as the internal request."""
    fields, warnings = read(body, VllmScoreRequest)
    given = {name for name in _SIDES if getattr(fields, name) is not None}
    left, right = next((pair for pair in _PAIRINGS if given == set(pair)), (None, None))
    if left is None or right is None:
        wanted = "; ".join(" and ".join(pair) for pair in _PAIRINGS)
        raise InvalidError(f"give the two sides of the pairs under one of these names: {wanted}")
    queries, texts = _texts(getattr(fields, left)), _texts(getattr(fields, right))
    if len(queries) == 1:
        queries = queries * len(texts)
    if len(queries) != len(texts):
        raise InvalidError(
            f"{left} has {len(queries)} texts and {right} {len(texts)}; give one query, or as many as texts",
            left,
        )
    if not all(isinstance(query, str) for query in queries):
        raise InvalidError(f"{left}: every query must be a string", left)
    pairs = [pairs_of(query, [text])[0] for query, text in zip(queries, texts, strict=True)]
    return RerankRequest(
        pairs=pairs,
        documents=texts,
        model=fields.model,
        in_order=True,
        reading=_reading(fields),
        warnings=(*warnings, *without_list(fields)),
        **_common(fields) | {"list_weight": 0.0},
    )


def render(request: RerankRequest, answer: RerankAnswer) -> VllmAnswer:
    """The internal answer as that of rerank."""
    return VllmAnswer(
        id=answer.id,
        model=answer.model,
        usage=usage_of(answer),
        results=results_of(request, answer),
        warnings=warnings_of(answer),
    )


def render_score(request: RerankRequest, answer: RerankAnswer) -> VllmScoreAnswer:
    """The internal answer as that of score."""
    data = [
        VllmScore(
            index=i,
            object="score",
            score=answer.outcomes[i].score(raw=request.raw_scores),
            receipt=receipt_of(request, answer.outcomes[i]),
            error=error_of(answer.outcomes[i]),
        )
        for i in answer.order
    ]
    return VllmScoreAnswer(
        id=answer.id,
        object="list",
        created=answer.created,
        model=answer.model,
        data=data,
        usage=usage_of(answer),
        warnings=warnings_of(answer),
    )


def _common(fields: VllmLimits) -> dict[str, Any]:
    shared = common(fields)
    shared["raw_scores"] = shared["raw_scores"] or not flag(fields.use_activation, default=True)
    return shared


def _reading(fields: VllmLimits) -> Reading:
    total = fields.truncate_prompt_tokens
    if total == 0:
        raise InvalidError(
            "truncate_prompt_tokens: give -1 for the model's limit, or at least 1", "truncate_prompt_tokens"
        )
    if fields.truncation_side not in (None, "left", "right"):
        raise InvalidError("truncation_side: give left or right", "truncation_side")
    policy: Policy | None = None if total is None else "truncate"
    return reading(
        fields,
        policy=policy,
        max_length=fields.max_length if total is None or total < 0 else total,
        max_document_tokens=fields.max_tokens_per_doc or None,
        max_query_tokens=fields.max_tokens_per_query or None,
        side="left" if fields.truncation_side == "left" else "right",
    )


def _texts(given: str | list[Any] | dict[str, Any]) -> list[Any]:
    """Texts in any of the forms that vLLM takes."""
    if isinstance(given, dict):
        given = given.get("content")  # type: ignore[assignment]  # looked at below
        if not isinstance(given, list):
            raise InvalidError("an object of texts must have 'content', a list of parts")
    return [given] if isinstance(given, str) else given


DIALECTS = (
    Dialect(
        name="vllm",
        title="vLLM rerank",
        paths=("/vllm/rerank", "/vllm/v1/rerank", "/vllm/v2/rerank"),
        request_type=VllmRequest,
        answer_type=VllmAnswer,
        parse=parse,
        render=render,
        sniff=lambda body: not _OWN.isdisjoint(body),
    ),
    Dialect(
        name="vllm-score",
        title="vLLM score",
        paths=("/score", "/v1/score", "/vllm/score", "/vllm/v1/score"),
        request_type=VllmScoreRequest,
        answer_type=VllmScoreAnswer,
        parse=parse_score,
        render=render_score,
    ),
)
