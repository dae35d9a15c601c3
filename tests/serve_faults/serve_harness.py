"""A server under test as users run it, in a process of its own, and raw sockets to misbehave with.

A test module takes the fixtures that it needs by name: ``server = server_fixture``.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from live_server import complete_lines

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")

KEY = "the-key-of-the-tests"
PATIENCE_S = 30.0
BODY = {"query": "how do tides work?", "documents": ["the moon pulls the sea", "bread rises", "the sun"]}


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers with lower-case names, and the body as JSON where it is that, else as text."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass(slots=True)
class Running:
    """A server in a process.

    Attributes:
        process: its parent process.
        port: on loopback.
        log: file of its standard error.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def post(
        self, body: object = None, path: str = "/v1/rerank", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a body: bytes as they are, anything else as JSON; None for an ordinary request."""
        body = BODY if body is None else body
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, data, {"Content-Type": "application/json", **(headers or {})})

    def request(
        self, method: str, path: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Any request, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, data, dict(headers or {}))
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        try:
            return Answer(answer.status, found, json.loads(raw))
        except ValueError:
            return Answer(answer.status, found, raw.decode(errors="replace"))

    def connect(self) -> socket.socket:
        """A raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def scores(self) -> list[float]:
        """Scores of the ordinary request in the order of its documents; it must be answered."""
        answer = self.post()
        assert answer.status == 200, answer.body
        ordered = sorted(answer.body["results"], key=lambda hit: hit["index"])
        return [hit["relevance_score"] for hit in ordered]

    def lines(self) -> list[dict[str, Any]]:
        """The log so far, an object a line."""
        return [json.loads(line) for line in complete_lines(self.log) if line]

    def metric(self, name: str) -> float:
        """A sample of ``GET /metrics`` by name and labels; 0 while it is not there."""
        lines = str(self.request("GET", "/metrics").body).splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(name + " ")), 0.0)

    def memory_mb(self) -> float:
        """Resident memory of the parent process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def receive(connection: socket.socket) -> Answer | None:
    """The answer on a raw connection; None if the server hung up without one."""
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
        raw = response.read()
    except (http.client.HTTPException, OSError):
        return None
    headers = {name.lower(): value for name, value in response.getheaders()}
    with suppress(ValueError):
        return Answer(response.status, headers, json.loads(raw))
    return Answer(response.status, headers, raw.decode(errors="replace"))


def head(length: int, *more: str) -> bytes:
    """Request line and headers of a rerank request that announces so many bytes."""
    lines = [
        "POST /v1/rerank HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    ]
    return ("\r\n".join([*lines, *more]) + "\r\n\r\n").encode()


@contextmanager
def serving(
    folder: Path,
    model: Path,
    *flags: str,
    environment: Mapping[str, str] | None = None,
    stderr: IO[bytes] | None = None,
    program: str | None = None,
) -> Iterator[Running]:
    """Start ``tinyrerank serve`` with a model, and end it.

    Args:
        folder: for its log.
        model: folder.
        flags: further ones.
        environment: variables to add.
        stderr: where its log goes instead of a file.
        program: Python source to run instead, with port, model and flags as arguments.
    """
    port = free_port()
    start = [sys.executable, "-c", program] if program else [sys.executable, "-m", "tinyrerank", "serve"]
    arguments = ["--port", str(port), "--threads", "1", "--models", f"tiny={model}", *flags]
    log = folder / "server.log"
    variables = {**os.environ, **(environment or {})}
    with log.open("wb") as file:
        process = subprocess.Popen([*start, *arguments], stderr=stderr or file, env=variables)  # noqa: S603 - ours
    running = Running(process, port, log)
    try:
        wait_until_ready(running)
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(running: Running) -> None:
    """Return when a pair can be scored."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if running.process.poll() is not None:
            break
        with suppress(OSError):
            if running.request("GET", "/ready").status == 200:
                return
        time.sleep(0.02)
    raise AssertionError(f"not ready: {running.log.read_text(errors='replace')[-2000:]}")


def until(condition: Any, what: str) -> None:
    """Wait for a condition that comes true by itself; it is looked at every 20 ms."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"never happened: {what}")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module", name="server")
def server_fixture(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[Running]:
    """Open to all, with small limits."""
    limits = ["--max-body-bytes", "300000", "--max-header-bytes", "4096", "--body-timeout-s", "1.5"]
    with serving(tmp_path_factory.mktemp("server"), tiny_folder, *limits) as running:
        yield running


@pytest.fixture(scope="module", name="locked")
def locked_fixture(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[Running]:
    """A server that wants a key."""
    with serving(tmp_path_factory.mktemp("locked"), tiny_folder, "--api-keys", KEY) as running:
        yield running


@pytest.fixture(scope="module", name="expected")
def expected_fixture(server: Running) -> list[float]:
    """Scores of the ordinary request."""
    return server.scores()
