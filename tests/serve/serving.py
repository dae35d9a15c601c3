"""A server in the process of the test: the real application and model, called without a network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tinyrerank.engine import load_engine
from tinyrerank.engine.base import Engine
from tinyrerank.reranker import Reranker
from tinyrerank.serve.app import build_app
from tinyrerank.serve.models import DEFAULT_ALIASES, DEFAULT_NAME, Models, ServedModel
from tinyrerank.serve.service import Service
from tinyrerank.serve.settings import Settings
from tinyrerank.serve.tracing import Tracing

DOCUMENTS = [
    "bread rises",
    "the moon pulls the sea",
    "",
    "the tide rises when the moon pulls the sea toward it",
]


class Gate:
    """An engine that computes only while it is open, and fails on sequences that hold a marked id."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.max_length = engine.name, engine.max_length
        self.open = asyncio.Event()
        self.entered = asyncio.Event()
        self.poison: set[int] = set()
        self.calls: list[int] = []
        self.raises: BaseException | None = None
        self._engine = engine
        self._loop = asyncio.get_running_loop()

    def score(self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32]) -> NDArray[np.float32]:
        self.calls.append(len(cu_seqlens) - 1)
        self._loop.call_soon_threadsafe(self.entered.set)
        asyncio.run_coroutine_threadsafe(self.open.wait(), self._loop).result(timeout=30)
        if self.raises is not None:
            error, self.raises = self.raises, None
            raise error
        if self.poison & set(ids.tolist()):
            raise RuntimeError("poisoned")
        return self._engine.score(ids, cu_seqlens)

    def close(self) -> None:
        self._engine.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop go on until something has happened on it."""
    while not condition():  # noqa: ASYNC110 - what happens is inside the server, and sets no event
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(
    folder: Path, *, gated: bool = False, tracing: Tracing | None = None, **changes: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Service, Gate | None]]:
    """A client of a running server, the server's service, and the gate before its engine."""
    settings = replace(Settings(), **changes)
    gate = Gate(load_engine(folder, threads=1)) if gated else None
    if gate is not None:
        gate.open.set()  # for the first pair
    engine: dict[str, Any] = {"threads": 1} if gate is None else {"engine": gate}
    reranker = Reranker(folder, query_window=settings.query_window, **engine)
    models = Models(
        [ServedModel(DEFAULT_NAME, reranker, 0)], [(alias, DEFAULT_NAME) for alias in DEFAULT_ALIASES]
    )
    service = Service(settings, models, threads=1, tracing=tracing)
    app = build_app(service)
    async with app.router.lifespan_context(app):
        if gate is not None:
            gate.open.clear()
            gate.entered.clear()
            gate.calls.clear()
        try:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                yield client, service, gate
        finally:
            if gate is not None:
                gate.open.set()


Talk = Callable[..., None]


@pytest.fixture(name="talk")
def talk_fixture(tiny_folder: Path) -> Talk:
    """A function that lets a coroutine talk to a server with some settings."""

    def start(scene: Callable[..., Awaitable[None]], *, gated: bool = False, **changes: Any) -> None:
        async def play() -> None:
            async with running(tiny_folder, gated=gated, **changes) as (client, service, gate):
                await scene(client, service, gate) if gated else await scene(client, service)

        asyncio.run(asyncio.wait_for(play(), timeout=60))

    return start
