"""What surrounds every request: id, API key, limit on headers, counters, a line in the log."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tinyrerank.errors import TinyrerankError
from tinyrerank.serve.auth import ApiKeys
from tinyrerank.serve.errors import HeadersTooLargeError, UnavailableError
from tinyrerank.serve.metrics import Metrics
from tinyrerank.serve.responses import error_response

#: Open without a key: probes cannot carry one.
OPEN_PATHS = frozenset(
    f"{prefix}/{name}"
    for prefix in ("", "/tei", "/infinity", "/vllm", "/weaviate")
    for name in ("health", "live", "ready", "ping", "metrics", ".well-known/live", ".well-known/ready")
)
_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_SLASHES = re.compile(r"//+")
_log = logging.getLogger("tinyrerank.serve")


@dataclass(slots=True)
class Record:
    """What is known of a request; endpoints add to it, log and counters read it.

    Attributes:
        request_id: from the client, or made here.
        client: name of the API key, or the address.
        dialect: of a ranking request.
        code: of an error.
        details: further fields of the line in the log.
    """

    request_id: str
    client: str = ""
    dialect: str | None = None
    code: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


def record_of(scope: Scope) -> Record:
    """The record of a request."""
    record: Record = scope["tinyrerank"]
    return record


class Envelope:
    """ASGI middleware.

    Args:
        app: what it surrounds.
        keys: that requests need.
        metrics: counters.
        max_header_bytes: of all headers together.
        is_open: whether a path needs no key.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: ApiKeys,
        metrics: Metrics,
        max_header_bytes: int,
        is_open: Callable[[str], bool],
    ) -> None:
        self._app = app
        self._keys = keys
        self._metrics = metrics
        self._max_header_bytes = max_header_bytes
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        record = Record(_request_id(scope))
        scope["tinyrerank"] = record
        scope["path"] = _SLASHES.sub("/", scope["path"]).rstrip("/") or "/"
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", record.request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        try:
            self._let_in(scope, record)
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:  # uvicorn's last resort when the time to drain is over
            if status == 0:
                late = UnavailableError("the server is stopping and ran out of time; try again")
                record.code = late.code
                await error_response(late, record.request_id)(scope, receive, sending)
        except TinyrerankError as error:
            record.code = error.code
            await error_response(error, record.request_id)(scope, receive, sending)
        except Exception:  # noqa: BLE001 - logged; the last place that can answer
            record.code = "internal_error"
            _log.exception("unexpected error", extra={"request_id": record.request_id})
            if status == 0:
                await error_response(None, record.request_id)(scope, receive, sending)
        finally:
            self._account(scope, record, status, time.perf_counter() - started)

    def _let_in(self, scope: Scope, record: Record) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        size = sum(len(name) + len(value) for name, value in headers)
        if size > self._max_header_bytes:
            raise HeadersTooLargeError(
                f"the headers have {size} bytes; at most {self._max_header_bytes} are read"
            )
        peer = scope.get("client")
        record.client = f"address {peer[0]}" if peer else ""
        if self._is_open(scope["path"]):
            return
        owner = self._keys.owner(
            [value.decode("latin-1") for name, value in headers if name == b"authorization"]
        )
        record.client = record.client if owner is None else f"key {owner}"

    def _account(self, scope: Scope, record: Record, status: int, seconds: float) -> None:
        if record.dialect is not None:
            self._metrics.response(record.dialect, status, seconds, record.code)
        quiet = scope["path"] in OPEN_PATHS and status < 500
        _log.log(
            logging.DEBUG if quiet else logging.INFO,
            "request",
            extra={
                "request_id": record.request_id,
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status or 499,
                "ms": round(seconds * 1000, 2),
                "client": record.client,
                "dialect": record.dialect,
                "code": record.code,
                **record.details,
            },
        )


def _request_id(scope: Scope) -> str:
    """The client's own id if it is a harmless one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(text := value.decode("latin-1")):
            return str(text)
    return secrets.token_hex(12)
