"""The server as an Amazon SageMaker container: what the service asks of it, and nothing else.

``GET /ping`` and ``POST /invocations`` take no API key: the service checks the caller's signature and lets no
other header through. They exist only under the setting ``sagemaker``, so that a server with keys has no door
without one.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tinyrerank.errors import TinyrerankError
from tinyrerank.serve.bodies import read_body
from tinyrerank.serve.request import RerankAnswer
from tinyrerank.serve.sagemaker.bodies import Invocation, Job, failed, parse_invocation
from tinyrerank.serve.sagemaker.models import ModelStore, model_routes
from tinyrerank.serve.service import Service

__all__ = ["OPEN_PATHS", "is_open", "routes"]

#: Paths that ask for no key.
OPEN_PATHS = ("/ping", "/invocations", "/execution-parameters", "/models")
_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
_INFERENCE_ID = "x-amzn-sagemaker-inference-id"
_PING_S = 1.5  # the service gives up after 2 s
_AT_ONCE = 8  # lines of one body that are scored at the same time; the batcher mixes them
_log = logging.getLogger("tinyrerank.serve")


def is_open(path: str) -> bool:
    """Whether a path asks for no API key."""
    return path in OPEN_PATHS or path.startswith("/models/")


def routes(
    service: Service, environment: Mapping[str, str] | None = None, root: Path | None = None
) -> list[Route]:
    """The routes of a SageMaker container.

    Args:
        service: of the server.
        environment: None for that of the process.
        root: folder that the models of a multi-model endpoint lie in; None for ``/opt/ml/models``.
    """
    environment = os.environ if environment is None else environment
    found = [
        Route("/ping", _ping(service), methods=["GET"]),
        Route("/invocations", invoke(service), methods=["POST"]),
        Route("/execution-parameters", _execution_parameters(service), methods=["GET"]),
    ]
    if environment.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true":
        store = ModelStore(service, root or Path("/opt/ml/models"))
        found += model_routes(store, invoke(service))
    return found


def _ping(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def ping(_: Request) -> Response:
        """200 without a body when a real pair can be scored, else 503."""
        try:
            async with asyncio.timeout(_PING_S):
                await service.probe()
        except (TinyrerankError, TimeoutError):
            return Response(status_code=503)
        return Response(status_code=200)

    return ping


def _execution_parameters(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def execution_parameters(_: Request) -> Response:
        """What batch transform uses where its job does not say."""
        from tinyrerank.serve.app import json_response

        megabytes = max(1, min(100, service.settings.max_body_bytes // 2**20))
        return json_response(
            {"MaxConcurrentTransforms": 2, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": megabytes}
        )

    return execution_parameters


def invoke(service: Service) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of ``/invocations``, and of ``/models/{name}/invoke``, where the path names the model."""

    async def invocations(request: Request) -> Response:
        from tinyrerank.serve.app import error_response, unless_gone

        request_id = request.headers.get(_INFERENCE_ID, request.headers.get("x-request-id", "none"))[:128]
        try:
            settings = service.settings
            raw = await read_body(
                request.stream(),
                request.headers,
                max_bytes=settings.max_body_bytes,
                timeout_s=settings.body_timeout_s,
            )
            kind, accept = (request.headers.get(name, "") for name in ("content-type", "accept"))
            invocation = await asyncio.to_thread(parse_invocation, raw, kind, accept, settings)
            model = request.path_params.get("name")
            body, attributes = await unless_gone(request, _answer(service, invocation, request_id, model))
            headers = {_ATTRIBUTES: attributes}
            return Response(body, headers=headers, media_type=invocation.media_type)
        except TinyrerankError as error:
            return error_response(error, request_id)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:  # noqa: BLE001 - the last place that can turn a failure into an answer
            _log.exception("unexpected error", extra={"request_id": request_id})
            return error_response(None, request_id)

    return invocations


async def _answer(
    service: Service, invocation: Invocation, request_id: str, model: str | None
) -> tuple[bytes, str]:
    """Score every part of a body, a few at a time; the answer and its custom attributes.

    Raises:
        TinyrerankError: the only part failed; or, in a batch, one that would succeed if sent again, so that
            the service sends the whole batch again.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int, job: Job | TinyrerankError) -> tuple[Any, RerankAnswer | TinyrerankError]:
        if isinstance(job, TinyrerankError):
            return failed(job, request_id), job
        async with gate:
            try:
                request = job.request if model is None else _with_model(job, model)
                answer = await service.rank(
                    request, request_id=f"{request_id}-{number}" if number else request_id
                )
            except TinyrerankError as error:
                if error.retryable or not invocation.batch:
                    raise
                return failed(error, request_id), error
            return job.render(answer), answer

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_kept(one(i, job))) for i, job in enumerate(invocation.jobs)]
    done = [task.result() for task in tasks]
    for error in (each for each in done if isinstance(each, TinyrerankError)):
        raise error
    parts = [each for each in done if isinstance(each, tuple)]
    body = await asyncio.to_thread(invocation.assemble, [rendered for rendered, _ in parts])
    return body, _attributes([answer for _, answer in parts])


async def _kept(
    work: Awaitable[tuple[Any, RerankAnswer | TinyrerankError]],
) -> tuple[Any, RerankAnswer | TinyrerankError] | TinyrerankError:
    """An error as a value, so that a task group does not wrap it."""
    try:
        return await work
    except TinyrerankError as error:
        return error


def _with_model(job: Job, model: str) -> Any:  # noqa: ANN401 - dataclasses.replace of a RerankRequest
    from dataclasses import replace

    return replace(job.request, model=model)


def _attributes(answers: list[RerankAnswer | TinyrerankError]) -> str:
    """Receipts for which the answers of some clients have no room; at most 1024 ASCII characters."""
    good = [answer for answer in answers if isinstance(answer, RerankAnswer)]
    counts = {
        "tokens": sum(answer.tokens for answer in good),
        "truncated": sum(answer.truncated for answer in good),
        "problems": sum(answer.problems for answer in good),
        "failed": len(answers) - len(good),
        "warnings": sum(len(answer.warnings) for answer in good),
    }
    return "tinyrerank " + " ".join(f"{name}={count}" for name, count in counts.items())
