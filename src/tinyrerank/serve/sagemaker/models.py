"""The multi-model endpoint API: the service loads, lists and unloads models while the server runs.

A model's name is a key, never a path: its folder comes in ``url``, and must lie in the folder that the
service unpacks models into.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec import UNSET, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tinyrerank.errors import InputError, ModelError, TinyrerankError
from tinyrerank.serve.bodies import BodyRoom, Held, decode_object, read_body
from tinyrerank.serve.dialects.common import flat_error
from tinyrerank.serve.endpoints import Endpoint
from tinyrerank.serve.envelope import record_of
from tinyrerank.serve.errors import UnavailableError
from tinyrerank.serve.responses import error_response, json_response
from tinyrerank.serve.service import Service

_PAGE = 100
_MAX_NAME = 200
_LOAD_FACTOR = 2.0  # memory that a model takes while it is loaded, by the size of its weights
_BODY_BYTES = 16 * 1024


class ModelEntry(Struct, rename="camel"):
    """A loaded model as the service lists it."""

    model_name: str
    model_url: str


class ModelList(Struct, rename="camel"):
    """A page of the list."""

    models: list[ModelEntry]
    next_page_token: str | UnsetType = UNSET


class RefusedError(TinyrerankError):
    """A request of the service that cannot be carried out; carries the status that the service expects."""

    code = "model_refused"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ModelStore:
    """Models that the service loaded, by name.

    Args:
        service: of the server.
        root: folder that every model must lie in.
    """

    def __init__(self, service: Service, root: Path) -> None:
        self._service = service
        self._root = root
        self._urls: dict[str, str] = {}
        self._lock = asyncio.Lock()

    async def load(self, name: str, url: str) -> ModelEntry:
        """Load a model.

        Raises:
            RefusedError: 409 it is loaded; 507 there is no memory for it; 400 the name, url or folder is
                unusable.
        """
        if not name or len(name) > _MAX_NAME or not name.isprintable():
            raise RefusedError(400, f"model_name: give 1 to {_MAX_NAME} printable characters")
        folder = self._folder(url)
        async with self._lock:
            if name in self._urls:
                raise RefusedError(409, f"model {name!r} is loaded already")
            if not _fits(folder):
                raise RefusedError(507, f"no memory for model {name!r}; unload another first")
            try:
                await self._service.load_model(name, str(folder))
            except MemoryError:
                raise RefusedError(507, f"no memory for model {name!r}; unload another first") from None
            except InputError as error:  # the name of a model that the server brought
                raise RefusedError(409, str(error)) from None
            except (ModelError, UnavailableError) as error:
                raise RefusedError(400, str(error)) from None
            self._urls[name] = url
        return ModelEntry(name, url)

    async def unload(self, name: str) -> ModelEntry:
        """Unload a model; raises ``RefusedError`` with 404."""
        async with self._lock:
            entry = self.entry(name)
            await self._service.unload_model(name)
            del self._urls[name]
        return entry

    def entry(self, name: str) -> ModelEntry:
        """A loaded model; raises ``RefusedError`` with 404."""
        if name not in self._urls:
            raise RefusedError(404, f"model {name[:_MAX_NAME]!r} is not loaded")
        return ModelEntry(name, self._urls[name])

    def page(self, token: str | None) -> ModelList:
        """A page of loaded models, from the one after ``token``."""
        names = sorted(name for name in self._urls if token is None or name > token)
        entries = [self.entry(name) for name in names[:_PAGE]]
        return ModelList(entries, names[_PAGE - 1] if len(names) > _PAGE else UNSET)

    def _folder(self, url: str) -> Path:
        """The model's folder; archives may hold it one level down."""
        try:
            folder = Path(url).resolve()
            usable = folder.is_relative_to(self._root.resolve()) and folder.is_dir()
        except (OSError, ValueError):  # longer than the system takes, or with a NUL
            usable = False
        if not usable:
            raise RefusedError(400, f"url: give a model folder under {self._root}")
        inner = [each for each in folder.iterdir() if each.is_dir()]
        if not (folder / "config.json").exists() and len(inner) == 1:
            return inner[0]
        return folder


def _fits(folder: Path, meminfo: Path = Path("/proc/meminfo")) -> bool:
    """Whether memory is left for a model; True where that cannot be known."""
    needed = sum(file.stat().st_size for file in folder.glob("*.safetensors")) * _LOAD_FACTOR
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return True
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    return free is None or needed < free


def model_routes(store: ModelStore, invoke: Endpoint) -> list[Route]:
    """The routes of the multi-model API; ``invoke`` answers for the model that its path names."""

    async def load(request: Request) -> Response:
        held = Held(BodyRoom(_BODY_BYTES))
        raw = await read_body(
            request.stream(), request.headers, max_bytes=_BODY_BYTES, timeout_s=10.0, held=held
        )
        body = decode_object(raw)
        name, url = body.get("model_name"), body.get("url")
        if not isinstance(name, str) or not isinstance(url, str):
            raise RefusedError(400, 'give {"model_name": name, "url": folder}')
        return json_response(await store.load(name, url))

    async def listed(request: Request) -> Response:
        return json_response(store.page(request.query_params.get("next_page_token")))

    async def shown(request: Request) -> Response:
        return json_response(store.entry(request.path_params["name"]))

    async def unload(request: Request) -> Response:
        return json_response(await store.unload(request.path_params["name"]))

    async def invoked(request: Request) -> Response:
        store.entry(request.path_params["name"])
        return await invoke(request)

    return [
        Route("/models", _answered(load), methods=["POST"]),
        Route("/models", _answered(listed), methods=["GET"]),
        Route("/models/{name}", _answered(shown), methods=["GET"]),
        Route("/models/{name}", _answered(unload), methods=["DELETE"]),
        Route("/models/{name}/invoke", _answered(invoked), methods=["POST"]),
    ]


def _answered(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose errors become answers."""

    async def answered(request: Request) -> Response:
        record = record_of(request.scope)
        try:
            return await endpoint(request)
        except RefusedError as error:
            record.code = error.code
            body = flat_error(error.status, error.code, str(error), record.request_id)
            return json_response(body, error.status)
        except TinyrerankError as error:
            record.code = error.code
            return error_response(error, record.request_id)

    return answered
