"""Clients that are slow, vanish, stay silent, or send no HTTP: the server keeps serving the others."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from serve_harness import BODY, Running, expected_fixture, head, receive, server_fixture, serving, until

server = server_fixture
expected = expected_fixture

DATA = json.dumps(BODY).encode()


def test_a_client_that_sends_its_body_too_slowly_is_told_so(server: Running, expected: list[float]) -> None:
    with server.connect() as connection:
        connection.sendall(head(len(DATA)) + DATA[:10])
        answer = receive(connection)
    assert answer is not None
    assert answer.status == 408
    assert server.scores() == expected


def test_a_client_that_sends_its_headers_too_slowly_is_cut_off(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST /v1/rerank HTTP/1.1\r\nHost:")
        answer = receive(connection)
    assert answer is None or answer.status == 408


def test_a_client_that_reads_slowly_gets_its_answer(server: Running, expected: list[float]) -> None:
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        body = json.dumps({"query": "q", "documents": [f"document {i}" for i in range(600)]}).encode()
        connection.sendall(head(len(body)) + body)
        assert server.scores() == expected, "others are served meanwhile"
        answer = receive(connection)
    assert answer is not None
    assert len(answer.body["results"]) == 600


def test_a_client_that_goes_mid_body_harms_nobody(server: Running, expected: list[float]) -> None:
    for cut in (0, 1, 20, len(DATA) - 1):
        with server.connect() as connection:
            connection.sendall(head(len(DATA)) + DATA[:cut])
    assert server.scores() == expected


def test_the_work_of_a_client_that_hung_up_is_dropped(tmp_path: Path, tiny_folder: Path) -> None:
    with serving(tmp_path, tiny_folder, "--batch-tokens", "256", "--log-level", "debug") as server:
        body = json.dumps(
            {"query": "tide", "documents": [f"{i} " + "moon sea " * 200 for i in range(800)]}
        ).encode()
        with server.connect() as connection:
            connection.sendall(head(len(body)) + body)
            until(lambda: server.metric('tinyrerank_computed_pairs_total{model="tiny"}') > 1, "work began")
        until(lambda: server.metric("tinyrerank_disconnects_total") == 1, "the server noticed")
        until(lambda: server.metric('tinyrerank_queue_tokens{model="tiny"}') == 0, "the queue is empty")
        assert server.metric('tinyrerank_computed_pairs_total{model="tiny"}') < 700
        assert server.post().status == 200


@pytest.mark.parametrize("n", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_idle_connections_cost_others_nothing(n: int, tmp_path: Path, tiny_folder: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < n + 100:
        pytest.skip(f"the system allows {hard} open files")
    if soft < n + 100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (n + 100, hard))
    with serving(tmp_path, tiny_folder, "--body-timeout-s", "120") as server, ExitStack() as stack:
        expected, before = server.scores(), server.memory_mb()
        idle = []
        for i in range(n):
            source = f"127.0.0.{2 + i % 200}"  # a source address has some 28,000 ports
            connection = socket.create_connection(("127.0.0.1", server.port), 30, (source, 0))
            idle.append(stack.enter_context(connection))
        assert server.scores() == expected
        assert server.request("GET", "/ready").status == 200
        assert server.memory_mb() - before < 20 + n * 0.05
        for connection in (idle[0], idle[-1]):  # they are still there, and good for a request
            connection.sendall(head(len(DATA)) + DATA)
            answer = receive(connection)
            assert answer is not None
            assert answer.status == 200


def test_silent_connections_are_closed(server: Running) -> None:
    with server.connect() as connection:
        assert connection.recv(1) == b"", "after --body-timeout-s without a byte"


POST = b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\n"
NO_HTTP = {
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50, {400}),
    "zeros": (b"\0" * 100, {400}),
    "HTTP/9.9": (b"GET / HTTP/9.9\r\n\r\n", {400, 404, 505}),
    "HTTP/0.9": (b"GET /\r\n\r\n", {400, 404}),
    "length x": (POST + b"Content-Length: x\r\n\r\n", {400}),
    "smuggled length": (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "two lengths": (POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n", {400}),
    "length -1": (POST + b"Content-Length: -1\r\n\r\n", {400}),
    "path bomb": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", {400, 414, 431}),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", {400, 431}),
    "header bomb": (b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", {400, 431}),
    "header without colon": (b"GET / HTTP/1.1\r\nBad Header\r\n\r\n", {400}),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 404, 405, 505}),
}


@pytest.mark.parametrize(("data", "statuses"), NO_HTTP.values(), ids=NO_HTTP)
def test_what_is_no_http_is_answered_or_hung_up_on(
    data: bytes, statuses: set[int], server: Running, expected: list[float]
) -> None:
    with server.connect() as connection:
        with suppress(OSError):  # it may hang up before the end
            connection.sendall(data)
        answer = receive(connection)
    assert answer is None or answer.status in statuses
    assert server.scores() == expected


def test_requests_on_one_connection_do_not_mix(server: Running, expected: list[float]) -> None:
    bodies = [json.dumps({"query": "q", "documents": ["d"] * n}).encode() for n in range(1, 6)]
    with server.connect() as connection:
        connection.sendall(b"".join(head(len(body)) + body for body in bodies))
        received = connection.recv(1)
        while received.count(b'"results"') < 5 or not received.endswith(b"}"):
            received += connection.recv(65536)
    answers = [part.partition(b"\r\n\r\n")[2] for part in received.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert [len(json.loads(answer)["results"]) for answer in answers] == [1, 2, 3, 4, 5]
    assert server.scores() == expected
