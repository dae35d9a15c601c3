"""The ASGI application: which path leads where."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tinyrerank.serve.dialects import SHARED_PATHS, by_path
from tinyrerank.serve.dialects.common import flat_error
from tinyrerank.serve.endpoints import rerank_endpoint
from tinyrerank.serve.envelope import OPEN_PATHS, Envelope, record_of
from tinyrerank.serve.operations import operation_routes
from tinyrerank.serve.responses import json_response
from tinyrerank.serve.service import Service

_STATUSES = {
    404: ("not_found", "no such path here; GET /openapi.json lists all"),
    405: ("method_not_allowed", "this path does not answer to this method; see the header Allow"),
}


def build_app(service: Service) -> Starlette:
    """The application of a service; its lifespan starts and stops the service."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    routes: list[BaseRoute] = []
    is_open: Callable[[str], bool] = OPEN_PATHS.__contains__
    if service.settings.sagemaker:
        from tinyrerank.serve import sagemaker

        routes += sagemaker.routes(service)
        is_open = _either(is_open, sagemaker.is_open)
    routes += [
        Route(path, rerank_endpoint(service, dialect), methods=["POST"])
        for path, dialect in by_path().items()
    ]
    routes += [Route(path, rerank_endpoint(service, None), methods=["POST"]) for path in SHARED_PATHS]
    routes += operation_routes(service)
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _http_error},
        middleware=[
            Middleware(
                Envelope,
                keys=service.keys,
                metrics=service.metrics,
                max_header_bytes=service.settings.max_header_bytes,
                is_open=is_open,
            )
        ],
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


def _either(one: Callable[[str], bool], other: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda path: one(path) or other(path)


async def _http_error(request: Request, error: Exception) -> Response:
    """404 and 405 with the same body as everything else."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    code, message = _STATUSES.get(status, ("http_error", "this request cannot be answered"))
    record = record_of(request.scope)
    record.code = code
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return json_response(flat_error(status, code, message, record.request_id), status, headers)
