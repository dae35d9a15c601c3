"""The part of SageMaker that stands between a client and a container, as far as clients can see it.

It renames ``/endpoints/{name}/invocations`` to ``/invocations`` of the server that the name stands for,
passes on only the headers that the service passes on, answers ``DescribeEndpoint``, and turns an error of
the container into the ``ModelError`` that the service makes of it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

_PATH = re.compile(r"/endpoints/([\w-]+)/invocations")


class Shim:
    """The service on a free loopback port; use it as a context manager.

    Args:
        ports: port of the container by endpoint name.
    """

    def __init__(self, ports: Mapping[str, int]) -> None:
        class Handler(_Handler):
            containers = ports

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    containers: Mapping[str, int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("X-Amz-Target", "").endswith(".DescribeEndpoint"):
            name = json.loads(body)["EndpointName"]
            self._json(200, {"EndpointName": name, "EndpointStatus": "InService"})
            return
        found = _PATH.fullmatch(self.path)
        if found is None or found[1] not in self.containers:
            self._json(
                400, {"Message": f"no endpoint at {self.path}"}, {"x-amzn-ErrorType": "ValidationError"}
            )
            return
        passed = {
            name: value
            for name, value in self.headers.items()
            if name.lower() in {"content-type", "accept"} or name.lower().startswith("x-amzn-sagemaker-")
        }
        container = HTTPConnection("127.0.0.1", self.containers[found[1]], timeout=60)
        container.request("POST", "/invocations", body, passed)
        answer = container.getresponse()
        data = answer.read()
        if answer.status == 200:
            self._send(200, data, {"Content-Type": answer.getheader("Content-Type", "")})
        else:
            error = {
                "OriginalStatusCode": answer.status,
                "OriginalMessage": data.decode(),
                "Message": data.decode(),
            }
            self._json(424, error, {"x-amzn-ErrorType": "ModelError"})

    def _json(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
