"""HTTP on the wire: uvicorn's protocol with the limits that it lacks.

Headers are bounded in bytes and time, a connection that sends nothing is closed, and malformed HTTP is
answered with the JSON body of all other errors.
"""

from __future__ import annotations

import asyncio
import logging

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tinyrerank.serve.dialects.common import flat_error

_LINGER_S = 1.0
_log = logging.getLogger("tinyrerank.serve")


def limited_protocol(max_header_bytes: int, head_timeout_s: float) -> type[HttpToolsProtocol]:
    """The protocol class for :class:`uvicorn.Config`.

    Args:
        max_header_bytes: of request line and headers.
        head_timeout_s: time for them to arrive.
    """

    class Limited(_LimitedProtocol):
        """With the limits of this server."""

    Limited.max_header_bytes = max_header_bytes
    Limited.head_timeout_s = head_timeout_s
    return Limited


class _LimitedProtocol(HttpToolsProtocol):
    """One connection; its *head* is the request line and the headers of a request.

    Attributes:
        max_header_bytes: of a head. A piece that holds more than the head is let pass: it is bounded anyway.
        head_timeout_s: time for a head to arrive.
    """

    max_header_bytes = 0
    head_timeout_s = 0.0
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._begin_head()
        self._head_bytes += len(data)
        try:
            super().data_received(data)
        except (httptools.HttpParserCallbackError, UnicodeDecodeError):
            self.send_400_response("the request line or a header cannot be read")
            return
        if self._head_timer is not None and self._head_bytes > self.max_header_bytes:
            self._refuse(431, "headers_too_large", f"the headers have over {self.max_header_bytes} bytes")

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad_http", msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: a client that offers HTTP/2 is answered in HTTP/1.1."""

    def _begin_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._late)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._head_timer = None
        if self._head_bytes:
            self._refuse(408, "headers_timeout", "the headers did not arrive in time; send them again")
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer without the application; hang up when the client had a moment to read it."""
        self._end_head()
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        _log.warning("refused a connection", extra={"code": code, "status": status})
        body = msgspec.json.encode(flat_error(status, code, message, ""))
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(
            body
        )
        self.transport.write(STATUS_LINE[status] + head + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)
