"""The body of a request: read within bounds of size and time, decoded with a clear answer to anything odd."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NoReturn

import msgspec

from tinyrerank.serve.errors import (
    BodyTooLargeError,
    MediaTypeError,
    OverloadedError,
    RequestError,
    SlowBodyError,
)

#: Bodies of the largest size that may be in memory at a time; smaller ones in proportion.
BODIES_AT_ONCE = 8
_DISCARD_S = 2.0
_SURROGATES = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_decode = msgspec.json.Decoder().decode


class BodyRoom:
    """Memory for the bodies of all requests that are not answered yet.

    Args:
        max_bytes: of them together.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used = 0

    @contextlib.contextmanager
    def request(self) -> Iterator[Held]:
        """What a request takes inside is given back when it ends."""
        held = Held(self)
        try:
            yield held
        finally:
            self.used -= held.n_bytes


class Held:
    """Bytes that one request holds."""

    def __init__(self, room: BodyRoom) -> None:
        self.n_bytes = 0
        self._room = room

    def take(self, n_bytes: int) -> bool:
        """Hold more bytes; False, and none of them, where there is no room."""
        if self._room.used + n_bytes > self._room.max_bytes:
            return False
        self._room.used += n_bytes
        self.n_bytes += n_bytes
        return True


async def read_body(
    stream: AsyncIterator[bytes],
    headers: Mapping[str, str],
    *,
    max_bytes: int,
    timeout_s: float,
    held: Held,
) -> bytes:
    """The whole body.

    Args:
        stream: its pieces.
        headers: of the request, by lower-case name.
        max_bytes: most bytes allowed.
        timeout_s: time for all of it to arrive.
        held: counts its bytes.

    Raises:
        MediaTypeError: it is compressed.
        BodyTooLargeError: it has, or announces, more bytes.
        SlowBodyError: it did not arrive in time.
        OverloadedError: the bodies of other requests leave no room.
    """
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding not in ("", "identity"):
        raise MediaTypeError("the body is compressed (Content-Encoding); send it as it is")
    announced = headers.get("content-length", "")
    too_large = announced.isdecimal() and int(announced) > max_bytes
    body = bytearray()
    room = True
    try:
        async with asyncio.timeout(timeout_s):
            while not too_large and room and (piece := await anext(stream, None)) is not None:
                room = held.take(len(piece))
                body += piece
                too_large = len(body) > max_bytes
    except TimeoutError:
        raise SlowBodyError(f"the body did not arrive within {timeout_s:g} s; send it again") from None
    if too_large:
        await _discard(stream)
        raise BodyTooLargeError(
            f"the body has more than {max_bytes} bytes, the limit of this server; send fewer documents"
        )
    if not room:
        body.clear()
        await _discard(stream)
        raise OverloadedError(
            "the bodies of requests that are not answered yet take all the room there is; try again after the"
            " seconds in Retry-After",
            retry_after_s=1,
        )
    return bytes(body)


async def _discard(stream: AsyncIterator[bytes]) -> None:
    """Let the rest of a body arrive, for a while: many clients read no answer before they sent it all."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_S):
            async for _ in stream:
                pass


def decode(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    """JSON as Python objects; lone surrogates, which no text has, come as U+FFFD.

    Raises:
        RequestError: it is not JSON, not UTF-8, too deep, or has a number that no double holds.
    """
    if not body:
        raise RequestError("the body is empty; send a JSON object")
    try:
        return _decode(body)
    except UnicodeDecodeError:
        raise RequestError("the body is not UTF-8; encode it so") from None
    except RecursionError:
        raise _too_deep() from None
    except msgspec.DecodeError as error:
        if _SURROGATE_ESCAPE.search(body):
            return _with_surrogates(body)
        raise RequestError(_reason(str(error))) from None


def decode_object(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RequestError: it is something else.
    """
    value = decode(body)
    if not isinstance(value, dict):
        raise RequestError("the body is JSON, but not an object; send {…}")
    return value


def _with_surrogates(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    """As the standard library decodes: it lets lone surrogates pass, as clients send that cut text badly."""
    try:
        return _mended(json.loads(body, parse_constant=_no_constant))
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise RequestError(_reason(str(error))) from None


def _mended(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_SURROGATES.sub("\ufffd", key): _mended(item) for key, item in value.items()}
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _reason(message: str) -> str:
    """What a decoder says, without its own internals."""
    plain = message.split(" - at", maxsplit=1)[0].removeprefix("JSON is malformed: ")
    return f"the body is not JSON that can be read: {plain[0].lower()}{plain[1:]}"


def _too_deep() -> RequestError:
    return RequestError("the body is nested too deeply; documents are strings or flat objects")
