"""Bodies that no decent client sends: each gets a defined answer, and the next request one as ever."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from typing import Any

import pytest
from serve_harness import BODY, Running, expected_fixture, head, receive, server_fixture

server = server_fixture
expected = expected_fixture

TEXT = json.dumps(BODY)
DEEP = 200_000
D = b'{"query":"q","documents":["d"],'


def case(name: str, body: object, *statuses: int) -> Any:
    """A parameter: bytes as they are, anything else as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return pytest.param(data, set(statuses), id=name)


BAD = [
    case("empty", b"", 400),
    case("cut off", b"{", 400),
    case("null", b"null", 400),
    case("array", b"[]", 400),
    case("deep array", b"[" * DEEP, 400),
    case("deep object", b'{"a":' * (DEEP // 5) + b"1" + b"}" * (DEEP // 5), 400),
    case("deep extra", D + b'"x":' + b"[" * 900 + b"]" * 900 + b"}", 200, 400),
    case("deep document", b'{"query":"q","documents":[' + b"[" * 5000 + b"]" * 5000 + b"]}", 400, 422),
    case("NaN", D + b'"top_n":NaN}', 400),
    case("Infinity", D + b'"top_n":Infinity}', 400),
    case("1e999", D + b'"top_n":1e999}', 400, 422),
    case("1e300, a whole number", D + b'"top_n":1e300}', 200, 400, 422),
    case("5000 digits", D + b'"top_n":' + b"9" * 5000 + b"}", 400, 422),
    case("negative", {"query": "q", "documents": ["d"], "top_n": -1}, 422),
    case("endless deadline", D + b'"deadline_ms":1e300}', 400, 422),
    case("invalid UTF-8", b'{"query":"q","documents":["\xff\xfe"]}', 400),
    case("UTF-16", b"\xff\xfe" + TEXT.encode("utf-16-le"), 400),
    case("lone surrogate", b'{"query":"q","documents":["\\ud800"]}', 200, 400),
    case("NUL", b'{"query":"q","documents":["\\u0000"]}', 200),
    case("no documents", {"query": "q", "documents": []}, 422),
    case("a document instead of a list", {"query": "q", "documents": "d"}, 422),
    case("query of a wrong type", {"query": ["q"], "documents": ["d"]}, 422),
    case("model of a wrong type", {"query": "q", "documents": ["d"], "model": {}}, 422),
    case("no readable document", {"query": "q", "documents": [None, 1, [], True]}, 422),
    case("key twice", b'{"query":"q","query":"r","documents":["d"]}', 200, 400),
    case("10,001 documents", {"query": "q", "documents": ["d"] * 10_001}, 413),
    case("body bomb", {"query": "q", "documents": ["d" * 400_000]}, 413),
    case("endless query", {"query": "tide " * 9000, "documents": ["d"]}, 422),
    case("5000 unknown keys", {**BODY, **{f"k{i}": i for i in range(5000)}}, 200, 422),
]


@pytest.mark.parametrize(("body", "statuses"), BAD)
def test_a_bad_body_gets_a_readable_answer(
    body: bytes, statuses: set[int], server: Running, expected: list[float]
) -> None:
    answer = server.post(body)
    assert answer.status in statuses
    if answer.status != 200:
        for name in ("detail", "message", "error"):
            assert isinstance(answer.body[name], str)
            assert 5 < len(answer.body[name]) < 2000
        assert answer.body["request_id"] == answer.headers["x-request-id"]
        assert "Traceback" not in answer.body["detail"]
    assert server.scores() == expected


def test_one_bad_document_fails_alone(server: Running, expected: list[float]) -> None:
    documents = [*BODY["documents"], None, 3, {"no": ["text"]}]
    answer = server.post({**BODY, "documents": documents})
    assert answer.status == 200
    by_index = {hit["index"]: hit for hit in answer.body["results"]}
    assert [by_index[i]["relevance_score"] for i in range(3)] == expected
    assert all("bad_document" in by_index[i]["error"] for i in range(3, 6))
    assert [hit["index"] for hit in answer.body["results"]][-3:] == [3, 4, 5]


def test_a_compressed_body_is_not_unpacked(server: Running) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert server.post(bomb, headers={"Content-Encoding": "gzip"}).status == 415


def test_a_body_bomb_that_only_announces_itself_is_refused_at_once(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(head(10**12))
        answer = receive(connection)
    assert answer is not None
    assert answer.status == 413


def test_a_chunked_body_without_end_is_cut_off(server: Running, expected: list[float]) -> None:
    with server.connect() as connection:
        connection.sendall(
            b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        with suppress(OSError):  # it may hang up
            for _ in range(100):
                connection.sendall(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
        answer = receive(connection)
    assert answer is None or answer.status == 413
    assert server.scores() == expected
