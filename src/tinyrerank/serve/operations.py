"""Routes for operators and for clients that look before they rank: health, models, info, metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tinyrerank import __version__
from tinyrerank.errors import TinyrerankError
from tinyrerank.serve.endpoints import Endpoint
from tinyrerank.serve.envelope import record_of
from tinyrerank.serve.models import ServedModel
from tinyrerank.serve.openapi import openapi_document
from tinyrerank.serve.responses import error_response, json_response
from tinyrerank.serve.service import Service

_PREFIXES = ("", "/tei", "/infinity", "/vllm", "/weaviate")


def operation_routes(service: Service) -> list[Route]:
    """All of them; those that clients of a dialect call also stand under its prefix."""
    ready, live = _ready(service, 200), _live(200)
    routes: list[tuple[str, Endpoint]] = [("/openapi.json", _openapi(service)), ("/info", _info(service))]
    routes += [("/tei/info", _info(service)), ("/meta", _meta), ("/weaviate/meta", _meta)]
    for prefix in _PREFIXES:
        routes += [(f"{prefix}/{name}", ready) for name in ("health", "ready", "ping")]
        routes += [(f"{prefix}/live", live), (f"{prefix}/metrics", _metrics(service))]
        routes.append((f"{prefix}/.well-known/ready", _ready(service, 204)))
        routes.append((f"{prefix}/.well-known/live", _live(204)))
    for path in ("/v1/models", "/models", "/infinity/models", "/vllm/v1/models"):
        routes += [(path, _models(service)), (path + "/{name:path}", _model(service))]
    return [Route(path, _guarded(endpoint), methods=["GET"]) for path, endpoint in routes]


def _guarded(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose errors get the common body."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except TinyrerankError as error:
            record = record_of(request.scope)
            record.code = error.code
            return error_response(error, record.request_id)

    return guarded


def _ready(service: Service, status: int) -> Endpoint:
    async def ready(_: Request) -> Response:
        """Ready means that a pair was scored just now."""
        await service.probe()
        if status == 204:
            return Response(status_code=204)
        return json_response({"status": "ok", "models": [model.name for model in service.models]})

    return ready


def _live(status: int) -> Endpoint:
    async def live(_: Request) -> Response:
        """The process answers; nothing else is asked."""
        return Response(status_code=204) if status == 204 else json_response({"status": "ok"})

    return live


def _metrics(service: Service) -> Endpoint:
    async def metrics(_: Request) -> Response:
        service.refresh_gauges()
        text, media_type = service.metrics.exposition()
        return Response(text, headers={"content-type": media_type})

    return metrics


def _models(service: Service) -> Endpoint:
    async def models(_: Request) -> Response:
        data = [_entry(model.name, model) for model in service.models]
        data += [_entry(alias, service.models.find(alias)) for alias in service.models.aliases]
        return json_response({"object": "list", "data": data})

    return models


def _model(service: Service) -> Endpoint:
    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        return json_response(_entry(name, service.models.find(name)))

    return model


def _entry(name: str, model: ServedModel) -> dict[str, Any]:
    """A model in the list, in OpenAI's form with Infinity's keys; ``root`` is what an alias stands for."""
    return {
        "id": name,
        "object": "model",
        "created": model.created,
        "owned_by": "tinyrerank",
        "root": model.name,
        "backend": model.reranker.engine.name,
        "capabilities": ["rerank"],
        "max_model_len": model.reranker.max_length,
    }


def _info(service: Service) -> Endpoint:
    async def info(_: Request) -> Response:
        model, settings = service.models.default, service.settings
        return json_response(
            {
                "model_id": model.name,
                "model_sha": None,
                "model_dtype": "int8" if model.reranker.engine.name == "native" else "float32",
                "served_model_name": model.name,
                "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
                "max_concurrent_requests": settings.max_documents,  # in texts; our queue counts tokens
                "max_input_length": model.reranker.max_length,
                "max_batch_tokens": settings.batch_tokens,
                "max_batch_requests": None,
                "max_client_batch_size": settings.max_documents,
                "auto_truncate": settings.policy != "refuse",
                "tokenization_workers": 1,
                "version": __version__,
                "sha": None,
                "docker_label": None,
            }
        )

    return info


async def _meta(_: Request) -> Response:
    """Weaviate asks for any object."""
    return json_response({"name": "tinyrerank", "version": __version__})


def _openapi(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def openapi(_: Request) -> Response:
        return json_response(openapi_document(keys_required=service.keys.required))

    return openapi
