"""The server as an Amazon SageMaker container: what the service asks of it, and nothing else.

``GET /ping`` and ``POST /invocations`` take no API key: the service checks the caller's signature and lets no
other header through. They exist only under the setting ``sagemaker``, so that a server with keys has no door
without one.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tinyrerank.errors import TinyrerankError
from tinyrerank.serve.bodies import Held, read_body
from tinyrerank.serve.endpoints import Endpoint, unless_gone
from tinyrerank.serve.envelope import record_of
from tinyrerank.serve.request import RerankAnswer
from tinyrerank.serve.responses import error_response, json_response
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
_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


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


def _ping(service: Service) -> Endpoint:
    async def ping(_: Request) -> Response:
        """200 without a body when a real pair can be scored, else 503."""
        try:
            async with asyncio.timeout(_PING_S):
                await service.probe()
        except (TinyrerankError, TimeoutError):
            return Response(status_code=503)
        return Response(status_code=200)

    return ping


def _execution_parameters(service: Service) -> Endpoint:
    async def execution_parameters(_: Request) -> Response:
        """What batch transform uses where its job does not say."""
        megabytes = max(1, min(100, service.settings.max_body_bytes // 2**20))
        return json_response(
            {"MaxConcurrentTransforms": 2, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": megabytes}
        )

    return execution_parameters


def invoke(service: Service) -> Endpoint:
    """The endpoint of ``/invocations``, and of ``/models/{name}/invoke``, where the path names the model."""

    async def invocations(request: Request) -> Response:
        record = record_of(request.scope)
        record.dialect = "sagemaker"
        inference_id = request.headers.get(_INFERENCE_ID, "")
        if _ID.fullmatch(inference_id):
            record.request_id = inference_id
        arrived = asyncio.get_running_loop().time()
        call = _Call(service, record.request_id, record.client, arrived, request.path_params.get("name"))
        try:
            with service.bodies.request() as held:
                invocation = await _read(request, service, held)
                with service.tracing.span("invocations", request.headers) as annotate:
                    annotate({"tinyrerank.parts": len(invocation.jobs)})
                    body, counts = await unless_gone(request, _answer(call, invocation))
            record.details = counts
            attributes = "tinyrerank " + " ".join(f"{name}={count}" for name, count in counts.items())
            return Response(body, headers={_ATTRIBUTES: attributes}, media_type=invocation.media_type)
        except TinyrerankError as error:
            record.code = error.code
            return error_response(error, record.request_id)
        except ClientDisconnect:
            record.code = "client_gone"
            service.metrics.gone.inc()
            return Response(status_code=499)

    return invocations


async def _read(request: Request, service: Service, held: Held) -> Invocation:
    """The body of a request, read and parsed."""
    settings = service.settings
    raw = await read_body(
        request.stream(),
        request.headers,
        max_bytes=settings.max_body_bytes,
        timeout_s=settings.body_timeout_s,
        held=held,
    )
    kind, accept = (request.headers.get(name, "") for name in ("content-type", "accept"))
    return await asyncio.to_thread(parse_invocation, raw, kind, accept, settings)


@dataclass(frozen=True, slots=True)
class _Call:
    """What all parts of one request share."""

    service: Service
    request_id: str
    client: str
    arrived: float
    model: str | None


Part: TypeAlias = tuple[Any, RerankAnswer | TinyrerankError]


async def _answer(call: _Call, invocation: Invocation) -> tuple[bytes, dict[str, int]]:
    """Score every part of a body, a few at a time; the answer, and counts for receipts and log.

    Raises:
        TinyrerankError: the only part failed; or, in a batch, one that would succeed if sent again, so that
            the service sends the whole batch again.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int, job: Job | TinyrerankError) -> Part:
        if isinstance(job, TinyrerankError):
            return failed(job, call.request_id), job
        request = job.request if call.model is None else replace(job.request, model=call.model)
        name = f"{call.request_id}-{number}" if number else call.request_id
        async with gate:
            try:
                answer = await call.service.rank(
                    request, request_id=name, client=call.client, arrived=call.arrived
                )
            except TinyrerankError as error:
                if error.retryable or not invocation.batch:
                    raise
                return failed(error, call.request_id), error
        return job.render(answer), answer

    tasks = [asyncio.ensure_future(one(i, job)) for i, job in enumerate(invocation.jobs)]
    try:
        parts = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    body = await asyncio.to_thread(invocation.assemble, [rendered for rendered, _ in parts])
    return body, _counts([answer for _, answer in parts])


def _counts(answers: list[RerankAnswer | TinyrerankError]) -> dict[str, int]:
    """Receipts for which the answers of some clients have no room."""
    good = [answer for answer in answers if isinstance(answer, RerankAnswer)]
    return {
        "documents": sum(len(answer.outcomes) for answer in good),
        "tokens": sum(answer.tokens for answer in good),
        "truncated": sum(answer.truncated for answer in good),
        "unscored": sum(answer.problems for answer in good),
        "failed": len(answers) - len(good),
        "warnings": sum(len(answer.warnings) for answer in good),
    }
