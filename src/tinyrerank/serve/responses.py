"""Bodies and headers of answers."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from tinyrerank.errors import TinyrerankError, TooLongError
from tinyrerank.serve.dialects import Dialect
from tinyrerank.serve.dialects.common import flat_error
from tinyrerank.serve.errors import InvalidError, OverloadedError, UnauthorizedError, UnavailableError
from tinyrerank.serve.request import RerankAnswer

_RETRY_UNAVAILABLE_S = 2
_UNEXPECTED = "an unexpected error; the server's log has it under this request id"


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:  # noqa: ANN401
    """Any object that msgspec can encode."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")


def status_of(error: TinyrerankError | None) -> int:
    """The HTTP status of an error; None is one that nobody foresaw."""
    if error is None:
        return 500
    return 422 if isinstance(error, TooLongError) else error.http_status  # 413 is for bodies


def error_response(
    error: TinyrerankError | None, request_id: str, dialect: Dialect | None = None
) -> Response:
    """An error in the form of a dialect; one that nobody foresaw says nothing of its cause."""
    status = status_of(error)
    code, message = ("internal_error", _UNEXPECTED) if error is None else (error.code, str(error))
    render = flat_error if dialect is None else dialect.render_error
    headers = {}
    if isinstance(error, OverloadedError):
        headers["retry-after"] = str(error.retry_after_s)
    elif isinstance(error, UnavailableError):
        headers["retry-after"] = str(_RETRY_UNAVAILABLE_S)
    elif isinstance(error, UnauthorizedError):
        headers["www-authenticate"] = "Bearer"
    if status in (408, 413):
        headers["connection"] = "close"  # the rest of the body is not read
    param = error.field if isinstance(error, InvalidError) else None
    return json_response(render(status, code, message, request_id, param), status, headers)


def answer_headers(answer: RerankAnswer) -> dict[str, str]:
    """What an answer cost and what it left out; the ``x-`` names without our own are those of TEI, in ms."""
    stages = answer.stages
    headers = {
        "x-compute-type": answer.device,
        "x-compute-characters": str(stages.characters),
        "x-compute-tokens": str(answer.tokens),
        "x-compute-time": str(round(stages.total_ms)),
        "x-total-time": str(round(stages.total_ms)),
        "x-tokenization-time": str(round(stages.tokenize_ms)),
        "x-queue-time": str(round(stages.queue_ms)),
        "x-inference-time": str(round(stages.inference_ms)),
        "server-timing": (
            f"tokenize;dur={stages.tokenize_ms:.2f}, queue;dur={stages.queue_ms:.2f},"
            f" inference;dur={stages.inference_ms:.2f}, total;dur={stages.total_ms:.2f}"
        ),
        "x-tinyrerank-model": _ascii(answer.served_model),
        "x-tinyrerank-engine": answer.engine,
        "x-tinyrerank-cached": str(answer.cached),
        "x-tinyrerank-truncated": str(answer.truncated),
    }
    if answer.problems:
        headers["x-tinyrerank-unscored"] = str(answer.problems)
    if answer.warnings:
        headers["x-tinyrerank-warnings"] = _ascii("; ".join(answer.warnings))[:1000]
    return headers


def _ascii(text: str) -> str:
    """Text that fits into a header."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)
