"""What dialects share: reading fields, the text of documents, results with receipts, the error body."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tinyrerank.fusion import MOST
from tinyrerank.serve.errors import ERROR_TYPES, InvalidError
from tinyrerank.serve.request import Outcome, Problem, Reading, RerankAnswer, RerankRequest
from tinyrerank.types import Policy

T = TypeVar("T", bound="Extras")

#: Some clients send booleans as strings.
Flag: TypeAlias = bool | Literal["true", "false", "True", "False"] | None
Count: TypeAlias = Annotated[int, Meta(ge=1)] | None
#: A document that is not of a kind that can be read is answered in its place, so any JSON is let in.
Documents: TypeAlias = Annotated[
    list[Any],
    Meta(
        min_length=1,
        description="Strings, or objects with `text`. An item of another kind is answered in its place with"
        " an `error`, and does not keep the others from being scored.",
    ),
]

_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`")


class Extras(Struct, kw_only=True):
    """What every dialect understands beside its own fields."""

    deadline_ms: Annotated[
        float | None, Meta(description="Answer within this time; what is not scored by then says so.")
    ] = None
    policy: Annotated[
        Literal["truncate", "window", "refuse"] | None,
        Meta(description="What happens to pairs that are too long."),
    ] = None
    max_length: Annotated[Count, Meta(description="Tokens read of query and document together.")] = None
    list_weight: Annotated[
        Annotated[float, Meta(ge=0, le=MOST)] | None,
        Meta(description="How much a document's place in the request counts beside the model's score."),
    ] = None
    raw_scores: Annotated[Flag, Meta(description="Logits instead of scores between 0 and 1.")] = None
    return_receipts: Annotated[
        Flag,
        Meta(description="Say for every result how much was read; without it, only for those that were cut."),
    ] = None


class ReceiptBody(Struct):
    """How much of a document was read."""

    tokens_read: int
    tokens_total: int
    truncated: bool
    windows: int
    span: tuple[int, int]


class Result(Struct):
    """One result, its document as an object."""

    index: int
    relevance_score: float
    document: dict[str, Any] | str | UnsetType = UNSET
    receipt: ReceiptBody | UnsetType = UNSET
    error: str | UnsetType = UNSET


class Usage(Struct):
    """Tokens that the model reads for a request."""

    total_tokens: int
    prompt_tokens: int


class TokenCount(Struct):
    """Tokens as Cohere and its followers count them."""

    input_tokens: int
    output_tokens: int = 0


class FlatError(Struct):
    """One error body that every client reads: each looks for its own key."""

    detail: str
    message: str
    error: str
    error_type: str
    code: str
    request_id: str
    param: str | UnsetType = UNSET


def flat_error(status: int, code: str, message: str, request_id: str, param: str | None = None) -> FlatError:
    """The error body of all dialects but those that need a shape of their own.

    Args:
        status: of the answer.
        code: of the error.
        message: a sentence for people.
        request_id: under which the log has it.
        param: the field at fault, if there is one.
    """
    kind = ERROR_TYPES.get(status, "Validation")
    return FlatError(message, message, message, kind, code, request_id, UNSET if param is None else param)


def read(body: Mapping[str, Any], kind: type[T]) -> tuple[T, tuple[str, ...]]:
    """A body as the struct of its dialect, and a warning for each key that the dialect does not know.

    Raises:
        InvalidError: a field is missing, of a wrong type or out of range.
    """
    whole = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in body.items()}
    try:
        fields = msgspec.convert(whole, kind)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    if fields.deadline_ms is not None and not 1 <= fields.deadline_ms <= 86_400_000:
        raise InvalidError("deadline_ms: give milliseconds from 1 to 86400000", "deadline_ms")
    unknown = [key for key in body if key not in kind.__struct_fields__]
    return fields, tuple(f"{key[:64]!r} means nothing here and was ignored" for key in unknown[:20])


def _invalid(message: str) -> InvalidError:
    missing = _MISSING.match(message)
    if missing is not None:
        return InvalidError(f"{missing['name']}: this field is required", missing["name"])
    match = _AT.match(message)
    what, path = (match["what"], match["path"]) if match else (message, None)
    if not path:
        return InvalidError(what)
    name = path.lstrip(".")
    return InvalidError(f"{name}: {what[0].lower()}{what[1:]}".replace("`", ""), name)


def common(fields: Extras) -> dict[str, Any]:
    """The arguments of a :class:`RerankRequest` that every dialect fills alike."""
    return {
        "return_receipts": flag(fields.return_receipts, default=False),
        "raw_scores": flag(fields.raw_scores, default=False),
        "deadline_ms": fields.deadline_ms,
        "list_weight": fields.list_weight,
    }


def without_list(fields: Extras) -> tuple[str, ...]:
    """A warning for loose pairs that come with ``list_weight``: they are no list."""
    return () if fields.list_weight is None else ("'list_weight' means nothing here and was ignored",)


def flag(value: Flag, *, default: bool) -> bool:
    """A boolean that may be missing or a string."""
    if value is None:
        return default
    return value if isinstance(value, bool) else value.lower() == "true"


def reading(fields: Extras, *, policy: Policy | None = None, **limits: Any) -> Reading:  # noqa: ANN401 - as Reading
    """The limits of a request; its own ``policy`` wins over what the dialect's keys amount to."""
    return Reading(
        policy=fields.policy or policy, max_length=limits.pop("max_length", fields.max_length), **limits
    )


def pairs_of(
    query: str, documents: Sequence[Any], rank_fields: Sequence[str] | None = None
) -> list[tuple[str, str] | Problem]:
    """The (query, text) pair of every document, or what is wrong with it."""
    pairs: list[tuple[str, str] | Problem] = []
    for document in documents:
        text = text_of(document, rank_fields)
        pairs.append(text if isinstance(text, Problem) else (query, text))
    return pairs


def text_of(document: object, rank_fields: Sequence[str] | None = None) -> str | Problem:
    """The text that is scored for a document.

    A string is taken as it is. Of an object, the values of ``rank_fields`` in that order where the caller
    gave some, else ``text``, else all its values in their order, joined by a space.
    """
    if isinstance(document, str):
        return document
    if not isinstance(document, dict):
        kind = {type(None): "null", bool: "a boolean", int: "a number", float: "a number"}.get(
            type(document), "a list"
        )
        return Problem("bad_document", f"this document is {kind}; send a string, or an object with 'text'")
    if rank_fields:
        parts = [document[name] for name in rank_fields if name in document]
    elif isinstance(document.get("text"), str):
        return str(document["text"])
    else:
        parts = list(document.values())
    texts = [
        str(part) for part in parts if isinstance(part, str | int | float) and not isinstance(part, bool)
    ]
    if not texts:
        wanted = f"none of the rank_fields {', '.join(rank_fields)}" if rank_fields else "no text"
        return Problem(
            "bad_document", f"this document has {wanted[:200]}; send a string, or an object with 'text'"
        )
    return " ".join(texts)


def echo_object(request: RerankRequest, index: int) -> dict[str, Any] | UnsetType:
    """A document as ``{"text": …}`` with the caller's other keys; nothing for one that has no text."""
    pair, document = request.pairs[index], request.documents[index]
    if not request.return_documents or isinstance(pair, Problem):
        return UNSET
    return {**document, "text": pair[1]} if isinstance(document, dict) else {"text": pair[1]}


def echo_text(request: RerankRequest, index: int) -> str | UnsetType:
    """The text of a document."""
    pair = request.pairs[index]
    return UNSET if not request.return_documents or isinstance(pair, Problem) else pair[1]


def results_of(
    request: RerankRequest,
    answer: RerankAnswer,
    document: Callable[[RerankRequest, int], dict[str, Any] | str | UnsetType] = echo_object,
) -> list[Result]:
    """The results of an answer in its order; ``document`` gives each one's text back in a dialect's way."""
    return [
        Result(
            index=i,
            relevance_score=answer.outcomes[i].score(raw=request.raw_scores),
            document=document(request, i),
            receipt=receipt_of(request, answer.outcomes[i]),
            error=error_of(answer.outcomes[i]),
        )
        for i in answer.order
    ]


def receipt_of(request: RerankRequest, outcome: Outcome) -> ReceiptBody | UnsetType:
    """The receipt of a result: when it was cut or read in windows, or the caller wants all."""
    if outcome.problem is not None or not (
        request.return_receipts or outcome.truncated or outcome.windows > 1
    ):
        return UNSET
    return ReceiptBody(
        outcome.tokens_read, outcome.tokens_total, outcome.truncated, outcome.windows, outcome.span
    )


def error_of(outcome: Outcome) -> str | UnsetType:
    """Why a result has no score of its own."""
    return UNSET if outcome.problem is None else f"{outcome.problem.code}: {outcome.problem.message}"


def usage_of(answer: RerankAnswer) -> Usage:
    """The tokens of an answer."""
    return Usage(answer.tokens, answer.tokens)


def warnings_of(answer: RerankAnswer) -> list[str] | UnsetType:
    """The warnings of an answer; no key where there are none."""
    return list(answer.warnings) or UNSET
