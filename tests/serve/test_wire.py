"""The server on a real socket: broken clients, slow ones, gone ones, and the end of the server itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from serving import Gate

from tinyrerank.engine import load_engine
from tinyrerank.reranker import Reranker
from tinyrerank.serve.models import DEFAULT_NAME, Models, ServedModel
from tinyrerank.serve.server import build_server, listen
from tinyrerank.serve.service import Service
from tinyrerank.serve.settings import Settings

BODY = json.dumps({"query": "q", "documents": ["a", "b"]}).encode()
Scene = Callable[["Wire"], Awaitable[None]]


class Wire:
    """A running server and ways to talk to it."""

    def __init__(self, port: int, server: uvicorn.Server, service: Service, gate: Gate) -> None:
        self.port, self.server, self.service, self.gate = port, server, service, gate
        self.tls: ssl.SSLContext | None = None

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def exchange(self, raw: bytes) -> tuple[int, dict[str, str], Any]:
        async with self.connection() as (reader, writer):
            writer.write(raw)
            return await answer(reader)

    async def works(self) -> None:
        status, _, body = await self.exchange(request(BODY))
        assert (status, len(body["results"])) == (200, 2)


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of the next answer."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode().split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, json.loads(body)


def request(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    size = b"content-length: %d" % (len(body) if length is None else length)
    return b"\r\n".join([b"POST /v1/rerank HTTP/1.1", b"host: x", *headers, size, b"", body])


def on_wire(folder: Path, scene: Scene, *, tls: ssl.SSLContext | None = None, **changes: Any) -> None:
    async def play() -> None:
        settings = replace(Settings(), port=0, **{"drain_s": 5.0, **changes})
        gate = Gate(load_engine(folder, threads=1))
        gate.open.set()
        model = ServedModel(DEFAULT_NAME, Reranker(folder, engine=gate), 0)
        service = Service(settings, Models([model]))
        with listen(settings) as listener:
            server = build_server(service, listener)
            running = asyncio.create_task(server._serve([listener]))  # serve() would take the signals
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            wire = Wire(listener.getsockname()[1], server, service, gate)
            wire.tls = tls
            gate.entered.clear()
            try:
                await scene(wire)
            finally:
                gate.open.set()
                server.should_exit = True
                await running

    asyncio.run(asyncio.wait_for(play(), 60))


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_not_http_is_answered_in_json(tiny_folder: Path, raw: bytes) -> None:
    async def scene(wire: Wire) -> None:
        status, headers, body = await wire.exchange(raw)
        assert status in {400, 404}
        assert headers["content-type"] == "application/json"
        assert isinstance(body["detail"], str)
        await wire.works()

    on_wire(tiny_folder, scene)


@pytest.mark.parametrize(
    "bomb", [b"x-a: " + b"y" * 200_000, b"".join(b"h%d: v\r\n" % i for i in range(20_000))]
)
def test_a_header_bomb_is_refused_before_it_is_swallowed(tiny_folder: Path, bomb: bytes) -> None:
    async def scene(wire: Wire) -> None:
        status, _, body = await wire.exchange(b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\n" + bomb)
        assert (status, body["code"]) == (431, "headers_too_large")
        await wire.works()

    on_wire(tiny_folder, scene, max_header_bytes=8192)


def test_slow_heads_and_bodies_are_given_up_and_idle_connections_closed(tiny_folder: Path) -> None:
    async def scene(wire: Wire) -> None:
        status, _, body = await wire.exchange(b"POST /v1/rerank HTT")
        assert (status, body["code"]) == (408, "headers_timeout")
        status, _, body = await wire.exchange(request(b'{"query', length=500))
        assert (status, body["code"]) == (408, "body_timeout")
        async with wire.connection() as (reader, _):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        await wire.works()

    on_wire(tiny_folder, scene, body_timeout_s=0.3)


def test_a_client_that_leaves_in_the_middle_of_its_body_disturbs_nobody(tiny_folder: Path) -> None:
    async def scene(wire: Wire) -> None:
        for _ in range(5):
            async with wire.connection() as (_, writer):
                writer.write(request(BODY[:9], length=len(BODY)))
                await writer.drain()
        await wire.works()

    on_wire(tiny_folder, scene)


def test_hanging_up_cancels_the_work(tiny_folder: Path) -> None:
    async def scene(wire: Wire) -> None:
        runner = wire.service.runner(wire.service.models.default)
        wire.gate.open.clear()
        async with wire.connection() as (_, writer):
            writer.write(request(BODY))
            await wire.gate.entered.wait()
            assert runner.admission.waiting > 0
        while runner.admission.waiting:  # noqa: ASYNC110 - the server sees the end of the connection some time
            await asyncio.sleep(0.01)
        assert wire.service.metrics.gone._value.get() == 1
        wire.gate.open.set()
        await wire.works()

    on_wire(tiny_folder, scene)


def test_many_idle_connections_leave_room_for_work(tiny_folder: Path) -> None:
    async def scene(wire: Wire) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(200):
                await stack.enter_async_context(wire.connection())
            await wire.works()

    on_wire(tiny_folder, scene)


def test_requests_may_come_in_pieces_one_after_the_other_and_all_at_once(tiny_folder: Path) -> None:
    async def scene(wire: Wire) -> None:
        async with wire.connection() as (reader, writer):
            chunked = b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            writer.write(
                chunked + b"5\r\n" + BODY[:5] + b"\r\n%x\r\n" % len(BODY[5:]) + BODY[5:] + b"\r\n0\r\n\r\n"
            )
            first = await answer(reader)
            for byte in request(BODY):
                writer.write(bytes([byte]))
                await writer.drain()
            second = await answer(reader)
            writer.write(request(BODY) * 3)
            rest = [await answer(reader) for _ in range(3)]
            results = [body["results"] for _, _, body in (first, second, *rest)]
            assert results == [results[0]] * 5
            writer.write(request(BODY, b"expect: 100-continue"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
            assert (await answer(reader))[0] == 200

    on_wire(tiny_folder, scene)


def test_stopping_lets_running_requests_finish(tiny_folder: Path) -> None:
    async def scene(wire: Wire) -> None:
        wire.gate.open.clear()
        async with wire.connection() as (reader, writer):
            writer.write(request(BODY))
            await wire.gate.entered.wait()
            wire.server.should_exit = True
            while not wire.service.draining:  # noqa: ASYNC110 - set by the server's own loop
                await asyncio.sleep(0.01)
            with pytest.raises((OSError, EOFError)):  # refused or reset, as the system likes
                await wire.exchange(request(BODY))
            wire.gate.open.set()
            assert (await answer(reader))[0] == 200

    on_wire(tiny_folder, scene)


def test_when_the_time_to_drain_is_over_the_rest_gets_an_error(tiny_folder: Path) -> None:
    async def scene(wire: Wire) -> None:
        wire.gate.open.clear()
        async with wire.connection() as (reader, writer):
            writer.write(request(BODY))
            await wire.gate.entered.wait()
            wire.server.should_exit = True
            status, headers, body = await answer(reader)
            assert (status, body["code"]) == (503, "unavailable")
            assert headers["retry-after"]
            wire.gate.open.set()

    on_wire(tiny_folder, scene, drain_s=0.2)


def test_a_body_that_still_arrives_when_the_server_ends_gets_an_error(tiny_folder: Path) -> None:
    async def scene(wire: Wire) -> None:
        async with wire.connection() as (reader, writer):
            writer.write(request(BODY[:5], length=len(BODY)))
            while not wire.server.server_state.tasks:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            wire.server.should_exit = True
            status, _, body = await answer(reader)
            assert (status, body["code"]) == (503, "unavailable")

    on_wire(tiny_folder, scene, drain_s=0.1)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_tls_is_two_settings(tiny_folder: Path, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    subject = ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", cert, *subject], check=True, capture_output=True)  # noqa: S603

    async def scene(wire: Wire) -> None:
        await wire.works()

    on_wire(tiny_folder, scene, tls=ssl.create_default_context(cafile=str(cert)), tls_cert=cert, tls_key=key)
