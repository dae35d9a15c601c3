"""The bodies of ``POST /invocations``: which client sent it, what it asks, and how its answer looks.

================================  ==========================================  =============================
client                            body                                        answer
================================  ==========================================  =============================
jina-sagemaker                    ``{"data": {"query", "documents", …}}``     ``{"data": [{"results", …}]}``
the same, batch transform         CSV: id, query, JSON array, top_n           the same, an entry a row
LangChain cross-encoder           ``{"text_pairs": [[query, document], …]}``  ``{"scores": […]}``
pipeline images, OpenSearch       ``{"inputs": [{"text", "text_pair"}, …]}``  ``[{"label", "score"}, …]``
text-embeddings-inference, Jina…  as on the shared path ``/v1/rerank``        as there
JSON Lines                        one of the above a line                     one answer a line
================================  ==========================================  =============================

A line or row that cannot be read is answered in its place and does not keep the others from being answered.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from tinyrerank.errors import InputError, TinyrerankError
from tinyrerank.serve.bodies import decode, decode_object
from tinyrerank.serve.dialects import sniff
from tinyrerank.serve.dialects.common import (
    Count,
    Documents,
    Extras,
    Flag,
    error_of,
    flag,
    flat_error,
    pairs_of,
    read,
    reading,
    without_list,
)
from tinyrerank.serve.errors import InvalidError, MediaTypeError, RequestError
from tinyrerank.serve.request import Problem, RerankAnswer, RerankRequest
from tinyrerank.serve.settings import Settings

JSON, LINES, CSV = "application/json", "application/jsonlines", "text/csv"
_KINDS = {
    "": JSON,
    "application/json": JSON,
    "application/jsonlines": LINES,
    "application/jsonl": LINES,
    "application/x-ndjson": LINES,
    "application/x-jsonlines": LINES,
    "text/csv": CSV,
    "application/csv": CSV,
}
_MAX_LINES = 100_000
csv.field_size_limit(
    2**31 - 1
)  # a cell holds all documents of a query; the size of the body is limited already


@dataclass(frozen=True, slots=True)
class Job:
    """One internal request of a body, and how its answer is rendered.

    Attributes:
        request: what is asked.
        render: the answer as an object that msgspec can encode.
    """

    request: RerankRequest
    render: Callable[[RerankAnswer], Any]


#: What became of a part of the body: its rendered answer, or why there is none.
Result: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Invocation:
    """A whole body.

    Attributes:
        jobs: its parts; a part that cannot be read is an error, which only stands alone in batches.
        assemble: the rendered parts, in order, to the answer's bytes.
        media_type: of the answer.
        batch: whether a part that fails is answered in its place instead of failing the whole.
    """

    jobs: Sequence[Job | TinyrerankError]
    assemble: Callable[[Sequence[Result]], bytes]
    media_type: str
    batch: bool


class DataItem(Extras, kw_only=True):
    """One query of a ``data`` body."""

    query: str
    documents: Documents
    top_n: Count = None
    return_documents: Flag = None


class PairsBody(Extras, kw_only=True):
    """The body of LangChain's cross-encoder."""

    text_pairs: list[tuple[str, str]]


class InputsBody(Extras, kw_only=True):
    """The body of pipeline images."""

    inputs: list[Any] | dict[str, Any]
    parameters: dict[str, Any] | None = None


def parse_invocation(data: bytes, content_type: str, accept: str, settings: Settings) -> Invocation:
    """Read a body.

    Args:
        data: the bytes.
        content_type: of the body; parameters such as a charset are ignored, an empty one means JSON.
        accept: what the client wants back; decides between lines and one object for CSV.
        settings: of the server.

    Raises:
        MediaTypeError: a content type that is none of JSON, JSON Lines and CSV.
        RequestError: the body is not what its content type says.
        InvalidError: a field of a JSON body is unusable.
    """
    kind = _KINDS.get(content_type.partition(";")[0].strip().lower())
    if kind is None:
        raise MediaTypeError(
            f"content type {content_type[:64]!r} is not read here; send {JSON}, {LINES} or {CSV}"
        )
    if kind == CSV:
        return _csv(_text(data), accept)
    if kind == LINES:
        return _lines(_text(data), settings)
    return _json(decode_object(data), settings)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"the body is not UTF-8: byte {error.start} cannot be read") from None


def _json(body: dict[str, Any], settings: Settings) -> Invocation:
    if "data" in body and "query" not in body:
        items = body["data"] if isinstance(body["data"], list) else [body["data"]]
        if not items:
            raise InvalidError("data: give at least one object with query and documents", "data")
        jobs = [_data_job(item) for item in items]
        return Invocation(jobs, _envelope, JSON, batch=False)
    return Invocation(
        [_job(body, settings)], lambda results: msgspec.json.encode(results[0]), JSON, batch=False
    )


def _lines(text: str, settings: Settings) -> Invocation:
    lines = [line for line in text.split("\n") if line.strip()]  # splitlines would cut inside strings
    _check_count(len(lines), "line")
    parts: list[Job | TinyrerankError] = []
    for line in lines:
        try:
            body = decode_object(line.encode())
            if "data" in body and "query" not in body:
                item = body["data"]
                if isinstance(item, list):
                    if len(item) != 1:
                        raise InvalidError("data: a line holds one query; write a line for each", "data")
                    item = item[0]
                job = _data_job(item)
                parts.append(Job(job.request, _enveloped(job.render)))
            else:
                parts.append(_job(body, settings))
        except InputError as error:
            parts.append(error)
    return Invocation(parts, _join_lines, LINES, batch=True)


def _enveloped(render: Callable[[RerankAnswer], Any]) -> Callable[[RerankAnswer], Any]:
    return lambda answer: {"data": [render(answer)], "parameters": {}}


def _csv(text: str, accept: str) -> Invocation:
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise RequestError(f"the body is not CSV: {error}") from None
    _check_count(len(rows), "row")
    parts: list[Job | TinyrerankError] = []
    for number, row in enumerate(rows, 1):
        try:
            parts.append(_row_job(row, number))
        except InputError as error:
            parts.append(error)
    if _KINDS.get(accept.partition(";")[0].strip().lower()) == LINES:
        return Invocation(parts, _join_lines, LINES, batch=True)
    return Invocation(parts, _envelope, JSON, batch=True)


def _check_count(n: int, what: str) -> None:
    if n == 0:
        raise RequestError(f"the body has no {what}")
    if n > _MAX_LINES:
        raise RequestError(f"the body has {n} {what}s; send at most {_MAX_LINES} at a time")


def _row_job(row: list[str], number: int) -> Job:
    """A CSV row: id, query, JSON array of documents and perhaps top_n; the id may be missing."""
    cells = list(row)
    name = cells.pop(0) if not (len(cells) > 1 and cells[1].lstrip().startswith("[")) else str(number - 1)
    if not 2 <= len(cells) <= 3:
        raise InvalidError(f"row {number} has {len(row)} cells; give id, query, documents and perhaps top_n")
    query, documents = cells[:2]
    body: dict[str, Any] = {"query": query, "documents": _documents(documents, number)}
    if len(cells) == 3 and cells[2].strip():
        try:
            body["top_n"] = int(cells[2])
        except ValueError:
            raise InvalidError(
                f"row {number}: top_n is {cells[2][:32]!r}; give a whole number", "top_n"
            ) from None
    return _data_job(body, name)


def _documents(cell: str, number: int) -> Any:  # noqa: ANN401 - whatever the JSON holds; checked by its reader
    """The JSON array of a cell; some writers put a backslash before quotes and commas."""
    for text in (cell, cell.replace('\\"', '"').replace("\\,", ",")):
        try:
            return decode(text.encode())
        except RequestError:
            continue
    raise InvalidError(f"row {number}: the documents are no JSON array", "documents")


def _job(body: dict[str, Any], settings: Settings) -> Job:
    """The request of one JSON object that is no ``data`` envelope."""
    if "text_pairs" in body:
        return _pairs_job(body)
    if "inputs" in body:
        return _inputs_job(body)
    dialect = sniff(body)
    request = dialect.parse(body, settings)
    return Job(request, lambda answer: dialect.render(request, answer))


def _pairs_job(body: Mapping[str, Any]) -> Job:
    fields, warnings = read(body, PairsBody)
    raw = flag(fields.raw_scores, default=False)
    request = _in_order(fields, fields.text_pairs, warnings, raw=raw)

    def render(answer: RerankAnswer) -> dict[str, Any]:
        scores = [hit.score(raw=raw) for hit in answer.outcomes]
        errors = [{"index": i, "error": text} for i, text in _problems(answer)]
        return {"scores": scores, "errors": errors} if errors else {"scores": scores}

    return Job(request, render)


def _inputs_job(body: Mapping[str, Any]) -> Job:
    fields, warnings = read(body, InputsBody)
    items = [fields.inputs] if isinstance(fields.inputs, dict) else fields.inputs
    pairs: list[tuple[str, str] | Problem] = []
    for i, item in enumerate(items):
        pair = [item.get("text"), item.get("text_pair")] if isinstance(item, dict) else item
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise InvalidError(
                f'inputs[{i}]: give {{"text": query, "text_pair": document}} or [query, document]', "inputs"
            )
        pairs.append((pair[0], pair[1]))
    how = (fields.parameters or {}).get("function_to_apply")
    if how not in (None, "none", "sigmoid"):
        raise InvalidError("parameters.function_to_apply: give none or sigmoid", "parameters")
    raw = flag(fields.raw_scores, default=how == "none")
    others = [key for key in fields.parameters or {} if key != "function_to_apply"]
    warnings += tuple(f"parameters.{key[:64]} means nothing here and was ignored" for key in others[:20])

    def render(answer: RerankAnswer) -> list[dict[str, Any]]:
        hits: list[dict[str, Any]] = [
            {"label": "LABEL_0", "score": hit.score(raw=raw)} for hit in answer.outcomes
        ]
        for i, text in _problems(answer):
            hits[i]["error"] = text
        return hits

    return Job(_in_order(fields, pairs, warnings, raw=raw), render)


def _problems(answer: RerankAnswer) -> list[tuple[int, str]]:
    """Position and reason of every pair without a score."""
    return [(i, str(error_of(hit))) for i, hit in enumerate(answer.outcomes) if hit.problem is not None]


def _in_order(
    fields: Extras, pairs: Sequence[tuple[str, str] | Problem], warnings: tuple[str, ...], *, raw: bool
) -> RerankRequest:
    if not pairs:
        raise InvalidError("give at least one pair of query and document")
    return RerankRequest(
        pairs=pairs,
        documents=[pair[1] if isinstance(pair, tuple) else None for pair in pairs],
        raw_scores=raw,
        in_order=True,
        deadline_ms=fields.deadline_ms,
        list_weight=0.0,
        reading=reading(fields),
        warnings=(*warnings, *without_list(fields)),
    )


def _data_job(item: object, name: str | None = None) -> Job:
    """One query of jina-sagemaker."""
    if not isinstance(item, dict):
        raise InvalidError("data: give an object with query and documents", "data")
    known = {key: value for key, value in item.items() if key != "id"}
    fields, warnings = read(known, DataItem)
    request = RerankRequest(
        pairs=pairs_of(fields.query, fields.documents),
        documents=fields.documents,
        top_n=fields.top_n,
        return_documents=flag(fields.return_documents, default=True),
        raw_scores=flag(fields.raw_scores, default=False),
        deadline_ms=fields.deadline_ms,
        list_weight=fields.list_weight,
        reading=reading(fields),
        warnings=warnings,
    )
    given = name if name is not None else str(item["id"]) if item.get("id") is not None else None
    return Job(request, lambda answer: _render_data(request, answer, given))


def _render_data(request: RerankRequest, answer: RerankAnswer, name: str | None) -> dict[str, Any]:
    """One entry of the envelope, with a usage for the query and for each document."""
    name = answer.id if name is None else name
    results = []
    for i in answer.order:
        outcome, pair, document = answer.outcomes[i], request.pairs[i], request.documents[i]
        own = document.get("id") if isinstance(document, dict) else None
        result: dict[str, Any] = {"id": str(i) if own is None else str(own), "index": i}
        if request.return_documents and not isinstance(pair, Problem):
            result["document"] = {"id": result["id"], "text": pair[1]}
        result["relevance_score"] = outcome.score(raw=request.raw_scores)
        result["usage"] = {"id": result["id"], "total_tokens": outcome.tokens_read}
        if outcome.truncated:
            result["truncated"] = {"tokens_read": outcome.tokens_read, "tokens_total": outcome.tokens_total}
        if outcome.problem is not None:
            result["error"] = error_of(outcome)
        results.append(result)
    return {"id": name, "query_usage": {"id": name, "total_tokens": answer.tokens}, "results": results}


def failed(error: TinyrerankError, request_id: str) -> Any:  # noqa: ANN401 - as the other parts
    """What stands in the place of a part that failed."""
    return flat_error(error.http_status, error.code, str(error), request_id)


def _envelope(results: Sequence[Result]) -> bytes:
    return msgspec.json.encode({"data": list(results), "parameters": {}})


def _join_lines(results: Sequence[Result]) -> bytes:
    return b"".join(msgspec.json.encode(result) + b"\n" for result in results)
