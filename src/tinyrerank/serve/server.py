"""Runs the application on a port, in one process or several."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import time
from types import FrameType

import uvicorn

from tinyrerank.errors import EngineError, InputError
from tinyrerank.serve.app import build_app
from tinyrerank.serve.logs import Logs
from tinyrerank.serve.models import Models, load_models
from tinyrerank.serve.protocol import limited_protocol
from tinyrerank.serve.service import Service
from tinyrerank.serve.settings import Settings
from tinyrerank.serve.tracing import otlp_tracing

_LAST_WORDS_S = 3
_log = logging.getLogger("tinyrerank.serve")


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    Raises:
        TinyrerankError: a setting, a key file or a model cannot be used, or the port is taken.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the engine has the cores
    _raise_file_limit()
    if settings.workers > 1:
        from tinyrerank.serve.workers import serve_with_workers

        return serve_with_workers(settings)
    models = load_models(settings, threads=settings.threads)
    with listen(settings) as listener:
        return run_worker(settings, models, listener, threads=settings.threads)


def run_worker(
    settings: Settings,
    models: Models,
    listener: socket.socket,
    *,
    threads: int | None,
    worker: int | None = None,
) -> int:
    """Serve in this process until SIGTERM or SIGINT.

    Args:
        settings: of the server.
        models: loaded; closed in the end.
        listener: a bound socket, perhaps shared with other processes.
        threads: of the engines of models that are loaded later.
        worker: number of this process among several.
    """
    logs = Logs(settings.log_level, settings.log_format)
    try:
        tracing = otlp_tracing() if settings.traces else None
        service = Service(settings, models, threads=threads, tracing=tracing)
        server = build_server(service, listener, worker=worker)
        for number in (signal.SIGTERM, signal.SIGINT):  # before uvicorn's handlers and, again, after them
            signal.signal(number, _leave)
        with contextlib.suppress(SystemExit):
            server.run(sockets=[listener])
        return 0 if server.started else EngineError.exit_code
    finally:
        logs.close()


def _leave(_: int, __: FrameType | None) -> None:
    raise SystemExit(0)


def listen(settings: Settings) -> socket.socket:
    """A socket on the address of the settings.

    Raises:
        InputError: the address is not ours, or taken.
    """
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot listen on {settings.host} port {settings.port}: {reason}") from None
    listener.listen(2048)
    listener.set_inheritable(True)
    return listener


def build_server(service: Service, listener: socket.socket, *, worker: int | None = None) -> uvicorn.Server:
    """The server of a service, ready to run with the listener."""
    return _Server(_config(service.settings, service), service, listener, worker)


class _Server(uvicorn.Server):
    """Gives running requests a time to end, then answers them with an error instead of cutting them off."""

    def __init__(
        self, config: uvicorn.Config, service: Service, listener: socket.socket, worker: int | None
    ) -> None:
        super().__init__(config)
        self._service = service
        self._listener = listener
        self._worker = worker
        self._began = time.perf_counter()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        settings = self._service.settings
        host, port = self._listener.getsockname()[:2]
        scheme = "https" if settings.tls_cert else "http"
        models = ", ".join(f"{m.name} ({m.reranker.engine.name})" for m in self._service.models)
        ready_s = time.perf_counter() - self._began
        _log.info(
            "ready in %.2f s on %s://%s:%d: %s",
            ready_s,
            scheme,
            host,
            port,
            models,
            extra={"worker": self._worker},
        )
        if not self._service.keys.required and host not in ("127.0.0.1", "::1"):
            _log.warning("no API keys are set: everybody who reaches this port may use it")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.draining = True
        _log.info("draining for up to %g s", self._service.settings.drain_s)
        timer = asyncio.get_running_loop().call_later(self._service.settings.drain_s, self._service.give_up)
        await super().shutdown(sockets)
        timer.cancel()
        _log.info("stopped")


def _config(settings: Settings, service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        build_app(service),
        http=limited_protocol(settings.max_header_bytes, settings.body_timeout_s),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=max(1, round(settings.idle_timeout_s)),
        timeout_graceful_shutdown=round(settings.drain_s) + _LAST_WORDS_S,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


def _raise_file_limit() -> None:
    """Allow as many connections as the system does."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
