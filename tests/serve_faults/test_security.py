"""Who gets in, and what a request may not reach."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from serve_harness import BODY, KEY, Running, head, locked_fixture, receive, server_fixture, until

server = server_fixture
locked = locked_fixture

RANK = (
    "/v1/rerank",
    "/v2/rerank",
    "/rerank",
    "/score",
    "/tei/rerank",
    "/infinity/rerank",
    "/voyage/v1/rerank",
)


@pytest.mark.parametrize("path", [*RANK, "/v1/models", "/info", "/nothing/here"])
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no key"),
        pytest.param({"Authorization": "Bearer wrong"}, id="wrong key"),
        pytest.param({"Authorization": f"Bearer {KEY}x"}, id="longer key"),
        pytest.param({"Authorization": f"Bearer {KEY[:-1]}"}, id="shorter key"),
        pytest.param({"Authorization": KEY}, id="no scheme"),
        pytest.param({"Authorization": f"Basic {KEY}"}, id="wrong scheme"),
        pytest.param({"Authorization": "Bearer "}, id="empty"),
        pytest.param({"X-Api-Key": KEY}, id="in another header"),
        pytest.param({"Cookie": f"Authorization=Bearer {KEY}"}, id="in a cookie"),
        pytest.param({"Authorization": "AWS4-HMAC-SHA256 Credential=x"}, id="AWS signature"),
    ],
)
def test_without_the_key_in_its_place_nothing_opens(
    path: str, headers: dict[str, str], locked: Running
) -> None:
    answer = (
        locked.post(path=path, headers=headers)
        if path in RANK
        else locked.request("GET", path, None, headers)
    )
    assert answer.status == 401
    assert KEY not in json.dumps(answer.body)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_in_the_address_or_the_body_does_not_count(locked: Running) -> None:
    assert locked.post(path=f"/v1/rerank?api_key={KEY}&key={KEY}").status == 401
    assert locked.post({**BODY, "api_key": KEY, "authorization": f"Bearer {KEY}"}).status == 401


def test_two_authorization_headers_are_one_too_many(locked: Running) -> None:
    data = json.dumps(BODY).encode()
    with locked.connect() as connection:
        two = (f"Authorization: Bearer {KEY}", "Authorization: Bearer wrong")
        connection.sendall(head(len(data), *two) + data)
        answer = receive(connection)
    assert answer is not None
    assert answer.status == 401


def test_the_key_opens(locked: Running) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert locked.post(headers={"Authorization": f"{scheme} {KEY}"}).status == 200


def test_probes_need_no_key(locked: Running) -> None:
    for path in ("/health", "/ready", "/live", "/ping", "/metrics"):
        assert locked.request("GET", path).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/health/../v1/rerank",
        "/health/%2e%2e/v1/rerank",
        "/metrics/..;/v1/rerank",
        "//v1/rerank",
        "/v1//rerank",
        "/v1/rerank/",
        "/V1/RERANK",
        "/v1/rerank%00",
        "/v1%2frerank",
        "/health?/../v1/rerank",
        "/./v1/rerank",
        "/v1/rerank#/health",
        "http://127.0.0.1/v1/rerank",
        "/ping/v1/rerank",
    ],
)
def test_no_path_leads_around_the_key(path: str, locked: Running) -> None:
    answer = locked.post(path=path)
    assert answer.status in {400, 401, 404, 405}
    assert "results" not in json.dumps(answer.body)


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        "/",
        "file:///etc/passwd",
        "https://example.org/model",
        "jinaai/another-model",
        "tiny/../tiny",
        "tiny\0",
        "\n",
        "x" * 100_000,
        "${jndi:ldap://x}",
        "%2e%2e%2f",
        "C:\\windows",
    ],
)
def test_a_model_name_is_a_key_never_a_path_or_an_address(name: str, server: Running) -> None:
    answer = server.post({**BODY, "model": name})
    assert answer.status in {404, 422}
    assert len(answer.body["detail"]) < 1000
    assert "root:" not in answer.body["detail"]


def test_paths_of_models_are_names_too(server: Running) -> None:
    for path in (
        "/v1/models/../../etc/passwd",
        "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/models//etc/passwd",
    ):
        assert server.request("GET", path).status in {400, 404}


INJECTED = 'x"\n{"level":"error","message":"forged"}\r\n\x1b[31mred\u2028'


def test_nothing_from_outside_begins_a_line_of_the_log(server: Running) -> None:
    server.post({**BODY, "model": INJECTED})
    server.request("GET", "/" + quote(INJECTED))
    server.post({**BODY, "query": INJECTED, "documents": [INJECTED], INJECTED: 1})
    server.post(headers={"User-Agent": "a\tb", "X-Request-Id": "id with spaces {}"})
    lines = server.lines()
    assert lines, "every line is one object"
    assert not any(line["message"] == "forged" for line in lines)
    raw = server.log.read_text(encoding="utf-8")
    assert "\x1b" not in raw
    assert "\u2028" not in raw


def test_the_log_has_no_text_of_queries_or_documents(server: Running) -> None:
    secret = "a-word-that-only-this-test-has"  # noqa: S105 - no password
    answer = server.post(
        {"query": f"q {secret}", "documents": [f"d {secret}", {"text": secret, "key": secret}]}
    )
    server.post({"query": f"q {secret}", "documents": secret})
    assert answer.status == 200
    wanted = answer.headers["x-request-id"]
    until(lambda: any(line.get("request_id") == wanted for line in server.lines()), "the request is logged")
    assert secret not in server.log.read_text(encoding="utf-8")


@pytest.mark.parametrize("given", ["abc-123", "x" * 129, "a b", 'a"b', "é"])
def test_a_request_id_is_kept_if_it_is_harmless(given: str, server: Running) -> None:
    answer = server.post(headers={"X-Request-Id": given.encode("latin-1").decode("latin-1")})
    kept = answer.headers["x-request-id"] == given
    assert kept is (given == "abc-123")


def test_errors_do_not_tell_about_the_machine(server: Running) -> None:
    for body in (b"{", {"query": 1}, {**BODY, "model": "nope"}):
        text = json.dumps(server.post(body).body)
        for word in ("/home", "/usr", "site-packages", "Traceback", ".py"):
            assert word not in text


def test_methods_that_are_not_there_are_refused(server: Running) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"):
        answer = server.request(method, "/v1/rerank")
        assert answer.status in {400, 405}
