"""The way of a ranking request from bytes to bytes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tinyrerank.errors import TinyrerankError
from tinyrerank.serve.bodies import Held, decode_object, read_body
from tinyrerank.serve.dialects import Dialect, sniff
from tinyrerank.serve.envelope import Record, record_of
from tinyrerank.serve.request import RerankAnswer
from tinyrerank.serve.responses import answer_headers, error_response, json_response
from tinyrerank.serve.service import Service

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]

_BIG_BODY = 256 * 1024
_log = logging.getLogger("tinyrerank.serve")


def rerank_endpoint(service: Service, dialect: Dialect | None) -> Endpoint:
    """The endpoint of a dialect; for None that of a path where the body decides."""

    async def endpoint(request: Request) -> Response:
        record = record_of(request.scope)
        used = dialect
        record.dialect = "unknown" if used is None else used.name
        arrived = asyncio.get_running_loop().time()
        try:
            with service.bodies.request() as held:
                body = await read_object(request, service, held)
                used = used or sniff(body)
                record.dialect = used.name
                parsed = used.parse(body, service.settings)
                with service.tracing.span("rerank", request.headers) as annotate:
                    annotate({"tinyrerank.dialect": used.name, "tinyrerank.request_id": record.request_id})
                    work = service.rank(
                        parsed, request_id=record.request_id, client=record.client, arrived=arrived
                    )
                    answer = await unless_gone(request, work)
                    note(record, answer)
                    annotate({f"tinyrerank.{name}": value for name, value in record.details.items()})
            return json_response(used.render(parsed, answer), headers=answer_headers(answer))
        except TinyrerankError as error:
            record.code = error.code
            return error_response(error, record.request_id, used)
        except ClientDisconnect:
            record.code = "client_gone"
            service.metrics.gone.inc()
            return Response(status_code=499)
        except Exception:  # noqa: BLE001 - logged; the last place that can answer in the dialect
            record.code = "internal_error"
            _log.exception("unexpected error", extra={"request_id": record.request_id})
            return error_response(None, record.request_id, used)

    return endpoint


async def read_object(request: Request, service: Service, held: Held) -> dict[str, object]:
    """The JSON object of a request's body, within the limits of the settings; raises ``RequestError``."""
    raw = await read_body(
        request.stream(),
        request.headers,
        max_bytes=service.settings.max_body_bytes,
        timeout_s=service.settings.body_timeout_s,
        held=held,
    )
    return await asyncio.to_thread(decode_object, raw) if len(raw) > _BIG_BODY else decode_object(raw)


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of ``work``, which is cancelled when the client hangs up.

    Call it when the body was read.

    Raises:
        ClientDisconnect: the client hung up.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def note(record: Record, answer: RerankAnswer) -> None:
    """Put what matters of an answer into the log: numbers and names, no text."""
    record.details = {
        "model": answer.served_model,
        "documents": len(answer.outcomes),
        "tokens": answer.tokens,
        "cached": answer.cached,
        "truncated": answer.truncated,
        "unscored": answer.problems,
    }
