"""Lets a client with a hard-coded HTTPS host reach a server on loopback, without a changed line of it.

The client is told, by its ordinary environment variables, to use an HTTPS proxy. The proxy is ours: it
answers ``CONNECT host:443`` itself, speaks TLS with a certificate of a throw-away authority that the client
is told to trust, and copies bytes to the server under test. Nothing leaves the machine.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import pytest

HOSTS = ("api.jina.ai", "api.cohere.com", "api.voyageai.com")


class ConnectProxy:
    """A proxy on a free loopback port; use it as a context manager.

    Args:
        folder: where the authority's certificate is written.
    """

    def __init__(self, folder: Path) -> None:
        import trustme

        authority = trustme.CA()
        self.bundle = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.bundle))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*HOSTS).configure_cert(self._tls)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._target = ("127.0.0.1", 0)
        self.hosts: list[str] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    @contextmanager
    def towards(self, url: str, environment: pytest.MonkeyPatch) -> Iterator[None]:
        """Point ``requests`` at the proxy, and the proxy at ``url``, for as long as the block lasts."""
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        with environment.context() as patch:
            patch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{self._socket.getsockname()[1]}")
            patch.setenv("REQUESTS_CA_BUNDLE", str(self.bundle))
            patch.setenv("SSL_CERT_FILE", str(self.bundle))
            for name in ("NO_PROXY", "no_proxy", "https_proxy"):
                patch.delenv(name, raising=False)
            yield

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            self.hosts.append(head.split()[1].decode().partition(":")[0])
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with (
                self._tls.wrap_socket(client, server_side=True) as inside,
                socket.create_connection(self._target) as server,
            ):
                threading.Thread(target=_copy, args=(server, inside), daemon=True).start()
                _copy(inside, server)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
