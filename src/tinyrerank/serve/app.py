"""The ASGI application: routes, and the way of a request from bytes to bytes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tinyrerank.errors import TinyrerankError
from tinyrerank.serve.bodies import decode_object, read_body
from tinyrerank.serve.dialects import SHARED_PATHS, Dialect, by_path, sniff
from tinyrerank.serve.dialects.common import flat_error
from tinyrerank.serve.errors import OverloadedError
from tinyrerank.serve.service import Service

T = TypeVar("T")
_log = logging.getLogger("tinyrerank.serve")
_BIG_BODY = 256 * 1024


def build_app(service: Service) -> Starlette:
    """The application of a service; its lifespan starts and stops it."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    routes = [Route(path, _rerank(service, dialect), methods=["POST"]) for path, dialect in by_path().items()]
    routes += [Route(path, _rerank(service, None), methods=["POST"]) for path in SHARED_PATHS]
    routes += [
        Route("/health", _health(service), methods=["GET"]),
        Route("/live", _live, methods=["GET"]),
        Route("/v1/models", _models(service), methods=["GET"]),
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _http_error})
    app.state.service = service
    return app


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:  # noqa: ANN401
    """Any object that msgspec can encode."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")


def _rerank(service: Service, dialect: Dialect | None) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a dialect, or of a shared path for None."""

    async def endpoint(request: Request) -> Response:
        mine = dialect
        request_id = request.headers.get("x-request-id", "none")
        try:
            settings = service.settings
            raw = await read_body(
                request.stream(),
                request.headers,
                max_bytes=settings.max_body_bytes,
                timeout_s=settings.body_timeout_s,
            )
            body = await asyncio.to_thread(decode_object, raw) if len(raw) > _BIG_BODY else decode_object(raw)
            mine = mine or sniff(body)
            parsed = mine.parse(body, settings)
            answer = await unless_gone(request, service.rank(parsed, request_id=request_id))
            return json_response(mine.render(parsed, answer))
        except TinyrerankError as error:
            return error_response(error, request_id, mine)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:
            _log.exception("unexpected error", extra={"request_id": request_id})
            return error_response(None, request_id, mine)

    return endpoint


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of ``work``, which is cancelled when the client hangs up.

    Raises:
        ClientDisconnect: it did.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()


def error_response(error: TinyrerankError | None, request_id: str, dialect: Dialect | None = None) -> Response:
    """An error in the form of a dialect; None is one that nobody foresaw, and says nothing of its cause."""
    status, code = (500, "internal_error") if error is None else (error.http_status, error.code)
    message = "an unexpected error; the log has it under this request id" if error is None else str(error)
    render = flat_error if dialect is None else dialect.render_error
    headers = {"retry-after": str(error.retry_after_s)} if isinstance(error, OverloadedError) else {}
    return json_response(render(status, code, message, request_id), status, headers)


async def _http_error(_: Request, error: Exception) -> Response:
    """404 and 405 in the same body as everything else."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    messages = {404: ("not_found", "no such path"), 405: ("method_not_allowed", "not with this method")}
    code, message = messages.get(status, ("http_error", "the request cannot be answered"))
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return json_response(flat_error(status, code, message, "none"), status, headers)


def _health(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def health(_: Request) -> Response:
        await service.probe()
        return json_response({"status": "ok"})

    return health


async def _live(_: Request) -> Response:
    return json_response({"status": "ok"})


def _models(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def models(_: Request) -> Response:
        data = [
            {"id": model.name, "object": "model", "created": model.created, "owned_by": "tinyrerank"}
            for model in service.models
        ]
        data += [{**data[0], "id": alias, "root": name} for alias, name in service.models.aliases.items()]
        return json_response({"object": "list", "data": data})

    return models
