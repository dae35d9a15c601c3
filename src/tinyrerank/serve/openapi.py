"""The OpenAPI document, made from the types that parse requests and render answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from tinyrerank import __version__
from tinyrerank.serve.dialects import SHARED_PATHS, Dialect, by_path, dialects
from tinyrerank.serve.dialects.common import FlatError

_REF = "#/components/schemas/{name}"
#: Statuses of ranking routes, beside 200.
_ERRORS = {
    400: "The body is not a JSON object.",
    401: "No API key, or a wrong one.",
    404: "No model of that name.",
    408: "The body did not arrive in time.",
    413: "The body is too large, or has too many documents.",
    415: "The body is compressed.",
    422: "A field is missing, of a wrong type or out of range, or a pair is too long and may not be cut.",
    429: "Too much is waiting; `Retry-After` says when to come back.",
    431: "The headers are too large.",
    500: "The engine failed.",
    503: "Starting or stopping; `Retry-After` says when to come back.",
    504: "Nothing was scored before the deadline.",
}
_GET_ERRORS = (401, 404, 431, 500, 503)
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_GETS = {
    "/health": ("Ready: a pair was scored just now", ("", "/tei", "/infinity", "/vllm", "/weaviate")),
    "/ready": ("Ready: a pair was scored just now", ("",)),
    "/live": ("The process answers", ("",)),
    "/metrics": ("Counters for Prometheus", ("", "/tei", "/infinity", "/vllm")),
    "/info": ("Model and limits, as text-embeddings-inference tells them", ("", "/tei")),
    "/meta": ("Name and version, for Weaviate", ("", "/weaviate")),
    "/v1/models": ("Models and their aliases", ("", "/vllm")),
    "/models": ("Models and their aliases", ("", "/infinity")),
    "/v1/models/{name}": ("One model", ("",)),
}


@cache
def openapi_document(*, keys_required: bool) -> dict[str, Any]:
    """The document.

    Args:
        keys_required: whether ranking routes need an API key.
    """
    types = {kind for each in dialects() for kind in (each.request_type, each.answer_type, each.error_type)}
    ordered = sorted({*types, FlatError}, key=str)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    schema_of = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, Any] = {}
    for path in SHARED_PATHS:
        paths[path] = {"post": _rank([each for each in dialects() if each.sniff], schema_of, path)}
    for path, dialect in by_path().items():
        paths[path] = {"post": _rank([dialect], schema_of, path)}
    for path, (summary, prefixes) in _GETS.items():
        for prefix in prefixes:
            paths[prefix + path] = {"get": _get(prefix + path, summary, schema_of[FlatError])}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "tinyrerank",
            "version": __version__,
            "description": "One reranker, every client's wire format.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": components},
    }
    if keys_required:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


def _rank(spoken: Sequence[Dialect], schema_of: dict[Any, Any], path: str) -> dict[str, Any]:
    """A route where documents are ranked, by one dialect or by whichever the body is of."""
    bodies = [schema_of[each.request_type] for each in spoken]
    answers = [schema_of[each.answer_type] for each in spoken]
    errors = _any_of([schema_of[each.error_type] for each in spoken])
    shared = len(spoken) > 1
    return {
        "operationId": "post" + path.replace("/", "_"),
        "tags": ["any client"] if shared else [spoken[0].title],
        "summary": "Rank documents; the body's keys tell the wire format"
        if shared
        else f"Rank as {spoken[0].title} does",
        "requestBody": {"required": True, "content": _json(_any_of(bodies))},
        "responses": {
            "200": {"description": "Scores", "content": _json(_any_of(answers))},
            **{str(status): _error(status, text, errors) for status, text in _ERRORS.items()},
        },
    }


def _get(path: str, summary: str, error: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": "get" + path.replace("/", "_").replace("{name}", "name"),
        "tags": ["operations"],
        "summary": summary,
        "responses": {
            "200": {
                "description": summary,
                "content": {"text/plain": {}} if path.endswith("/metrics") else _json({"type": "object"}),
            },
            **{str(status): _error(status, _ERRORS[status], error) for status in _GET_ERRORS},
        },
    }
    if "{name}" in path:
        operation["parameters"] = [_NAME]
    return operation


def _error(status: int, text: str, schema: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": text, "content": _json(schema)}
    if status in (429, 503):
        response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return response


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _any_of(schemas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    distinct = [schema for i, schema in enumerate(schemas) if schema not in schemas[:i]]
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}
