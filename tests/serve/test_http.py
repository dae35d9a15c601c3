"""What a server answers to anything that is not a plain request: odd bodies, wrong keys, other paths."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest
from serving import DOCUMENTS, Talk, talk_fixture

from tinyrerank.serve.auth import digest_of, new_key
from tinyrerank.serve.service import Service

talk = talk_fixture
GOOD = {"query": "q", "documents": ["a", "b"]}
FLAT = {"detail", "message", "error", "error_type", "code", "request_id"}


def is_error(response: httpx.Response, status: int, code: str) -> str:
    assert response.status_code == status, response.text
    error = response.json()
    assert set(error) - {"param"} == FLAT
    assert all(isinstance(value, str) for value in error.values())
    assert error["code"] == code
    assert error["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    detail: str = error["detail"]
    return detail


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"{", 400, "bad_request"),
        (b"[]", 400, "bad_request"),
        (b"\xff\xfe", 400, "bad_request"),
        (b'{"query": "\xff", "documents": ["a"]}', 400, "bad_request"),
        (b"[" * 200_000, 400, "bad_request"),
        (b'{"query": "q", "documents": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "bad_request"),
        (b'{"query": "q", "documents": ["\\ud800", ' + b"[" * 50_000 + b"]}", 400, "bad_request"),
        (b'{"query": "q", "documents": ["a"], "top_n": NaN}', 400, "bad_request"),
        (b'{"query": "\\ud800", "documents": ["a"], "top_n": NaN}', 400, "bad_request"),
        (b'{"query": "q", "documents": ["a"], "top_n": 1e999}', 400, "bad_request"),
        (b'{"query": "q", "documents": ["a"], "top_n": ' + b"9" * 6000 + b"}", 400, "bad_request"),
        (b'{"query": "q", "documents": ["a"], "deadline_ms": 1e308}', 422, "invalid_request"),
        (b'{"query": "q", "documents": ["a"], "top_n": 0}', 422, "invalid_request"),
        (b'{"query": "q", "documents": ["a"], "top_n": -1}', 422, "invalid_request"),
        (b'{"query": "q", "documents": ["a"], "top_n": 1.5}', 422, "invalid_request"),
        (b'{"query": "q", "documents": ["a"], "top_n": "2"}', 422, "invalid_request"),
        (b'{"query": "q", "documents": ["a"], "return_documents": "maybe"}', 422, "invalid_request"),
        (b'{"query": "q", "documents": ["a"], "policy": "guess"}', 422, "invalid_request"),
        (b'{"query": "q", "documents": ["a"], "max_length": 100000}', 422, "invalid_request"),
        (b'{"query": "q", "documents": ["a"], "max_length": 3}', 422, "bad_input"),
        (b'{"query": "q q q q q q q q", "documents": ["a"], "max_length": 8}', 422, "too_long"),
        (b'{"query": "q", "documents": []}', 422, "invalid_request"),
        (b'{"query": "q", "documents": "a"}', 422, "invalid_request"),
        (b'{"query": null, "documents": ["a"]}', 422, "invalid_request"),
        (b'{"query": {"no": "text"}, "documents": ["a"]}', 422, "invalid_request"),
        (b'{"documents": ["a"]}', 422, "invalid_request"),
        (b'{"query": "q", "documents": ["a"], "model": 5}', 422, "invalid_request"),
        (b'{"query": "q", "documents": ["a"], "model": "../../etc/passwd"}', 404, "model_not_found"),
        (b'{"query": "q", "documents": ["a"], "model": "' + b"x" * 5000 + b'"}', 404, "model_not_found"),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, bytes) else str(value),
)
def test_odd_bodies_get_defined_answers(talk: Talk, raw: bytes, status: int, code: str) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        detail = is_error(await client.post("/v1/rerank", content=raw), status, code)
        assert len(detail) < 600
        assert (await client.post("/v1/rerank", json=GOOD)).status_code == 200

    talk(scene)


@pytest.mark.parametrize("text", ["\\ud83d", "\\udc00\\ud800", "a\\u0000b", "\\ufffe", "\\ud83d\\ude00", ""])
def test_odd_texts_are_scored(talk: Talk, text: str) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        raw = f'{{"query": "{text}", "documents": ["{text}", "b"]}}'
        response = await client.post("/v1/rerank", content=raw.encode())
        assert response.status_code == 200, response.text
        echoed = {r["index"]: r["document"]["text"] for r in response.json()["results"]}
        assert echoed[0] == json.loads(f'"{text}"').encode(errors="replace").decode().replace("?", "\ufffd")

    talk(scene)


@pytest.mark.parametrize("prefix", ["", "/infinity"])
def test_an_error_names_the_field_at_fault(talk: Talk, prefix: str) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        for body, field in (
            ({"query": "q"}, "documents"),
            ({**GOOD, "top_n": 0}, "top_n"),
            ({**GOOD, "query": 5}, "query"),
            ({**GOOD, "documents": [1]}, "documents"),
        ):
            error = (await client.post(f"{prefix}/rerank", json=body)).json()
            assert (error["error"] if prefix else error)["param"] == field

    talk(scene)


def test_numbers_without_a_fraction_are_whole(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        response = await client.post("/v1/rerank", content=b'{"query":"q","documents":["a","b"],"top_n":1.0}')
        assert len(response.json()["results"]) == 1

    talk(scene)


def test_bodies_are_bounded(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        large = {"query": "q", "documents": ["x" * 3000]}
        response = await client.post("/v1/rerank", json=large)
        is_error(response, 413, "body_too_large")
        assert response.headers["connection"] == "close"

        async def pieces() -> Any:
            for _ in range(10):
                yield b" " * 500

        is_error(await client.post("/v1/rerank", content=pieces()), 413, "body_too_large")
        many = {"query": "q", "documents": ["x"] * 6}
        assert "6 are more than the 5" in is_error(
            await client.post("/v1/rerank", json=many), 413, "body_too_large"
        )
        zipped = await client.post("/v1/rerank", content=b"x", headers={"content-encoding": "gzip"})
        is_error(zipped, 415, "unsupported_media")
        headers = await client.post("/v1/rerank", json=GOOD, headers={"x-a": "b" * 5000})
        is_error(headers, 431, "headers_too_large")
        assert (await client.post("/v1/rerank", json=GOOD)).status_code == 200

    talk(scene, max_body_bytes=2048, max_documents=5, max_header_bytes=4096)


def test_other_paths_and_methods_get_the_same_body(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        is_error(await client.get("/nothing"), 404, "not_found")
        is_error(await client.get("/../../etc/passwd"), 404, "not_found")
        is_error(await client.get("/v1/models/..%2f..%2fetc"), 404, "model_not_found")
        response = await client.get("/v1/rerank")
        is_error(response, 405, "method_not_allowed")
        assert "POST" in response.headers["allow"]
        for path in ("//v1/rerank", "/v1/rerank/", "/v1//rerank"):
            assert (await client.post(f"http://server{path}", json=GOOD)).status_code == 200

    talk(scene)


def test_keys_are_asked_for_everywhere_but_at_probes(talk: Talk) -> None:
    key, line = new_key("team-a")

    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        for headers in (
            {},
            {"authorization": f"Bearer {key}x"},
            {"authorization": key},
            {"authorization": f"Basic {key}"},
            {"authorization": "Bearer"},
            {"authorization": "AWS4-HMAC-SHA256 Credential=x"},
            {"x-api-key": key},
            {"cookie": f"key={key}"},
            {"authorization": f"Bearer {digest_of(key)}"},
        ):
            for path in ("/v1/rerank", "/rerank", "//v1/rerank", "/v1/models", "/openapi.json", "/none"):
                response = await client.post(f"http://server{path}?key={key}", json=GOOD, headers=headers)
                is_error(response, 401, "unauthorized")
                assert response.headers["www-authenticate"] == "Bearer"
                assert key not in response.text
        twice = [("authorization", "Bearer x"), ("authorization", f"Bearer {key}")]
        assert (await client.post("/v1/rerank", json=GOOD, headers=twice)).status_code == 401
        for good in (key, "plain-key"):
            headers = {"authorization": f"bearer  {good} "}
            assert (await client.post("/v1/rerank", json=GOOD, headers=headers)).status_code == 200
        for path in ("/health", "/ready", "/live", "/ping", "/metrics", "/tei/health", "/.well-known/live"):
            assert (await client.get(path)).status_code in {200, 204}

    talk(scene, api_keys=(line, "plain-key"))


def test_a_request_id_is_kept_if_it_is_harmless_and_replaced_if_not(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        kept = await client.post("/v1/rerank", json=GOOD, headers={"x-request-id": "abc-1.2:3"})
        assert (kept.headers["x-request-id"], kept.json()["id"]) == ("abc-1.2:3", "abc-1.2:3")
        for bad in ('a"b', "a b", "x" * 200, "a\u00e9"):
            other = await client.post(
                "/v1/rerank", json=GOOD, headers=[(b"x-request-id", bad.encode("latin-1"))]
            )
            assert other.headers["x-request-id"] not in {bad, ""}

    talk(scene)


def test_the_log_has_numbers_and_names_but_no_text(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tinyrerank.serve")

    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        secret = {"query": "SECRET-Q", "documents": ["SECRET-D", 5], "SECRET-K": 1}
        await client.post("/v1/rerank", json=secret)
        await client.post("/v1/rerank?SECRET-U=1", json={"query": "SECRET-Q", "documents": "SECRET-D"})
        await client.post("/v1/rerank", content=b'{"query": "SECRET-Q')
        await client.get("/v1/SECRET%0a{}")

    talk(scene)
    records = [record for record in caplog.records if record.getMessage() == "request"]
    assert [record.__dict__["status"] for record in records] == [200, 422, 400, 404]
    assert records[0].__dict__["documents"] == 2
    assert records[0].__dict__["unscored"] == 1
    for record in records[:3]:
        assert "SECRET" not in str(record.__dict__)


def test_what_a_request_cost_is_in_headers_and_counters(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        response = await client.post("/tei/rerank", json={"query": "q", "texts": [*DOCUMENTS, "x " * 2000]})
        for name in ("total", "tokenization", "queue", "inference"):
            assert int(response.headers[f"x-{name}-time"]) >= 0
        assert int(response.headers["x-compute-tokens"]) > 500
        assert "inference;dur=" in response.headers["server-timing"]
        assert response.headers["x-tinyrerank-model"] == "tinyrerank-tiny-en"
        await client.post("/tei/rerank", json={"query": "q", "texts": []})
        text = (await client.get("/metrics")).text
        assert 'tinyrerank_requests_total{dialect="tei",status="200"} 1.0' in text
        assert 'tinyrerank_requests_total{dialect="tei",status="422"} 1.0' in text
        assert "tinyrerank_truncated_documents_total 1.0" in text
        assert 'te_request_count{method="single"} 2.0' in text
        assert 'te_request_failure{err="invalid_request"} 1.0' in text
        assert 'tinyrerank_queue_tokens{model="tinyrerank-tiny-en"} 0.0' in text

    talk(scene)


def test_models_are_listed_with_their_aliases(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        entries = {m["id"]: m["root"] for m in (await client.get("/v1/models")).json()["data"]}
        names = ("tinyrerank-tiny-en", "jina-reranker-v1-tiny-en", "jinaai/jina-reranker-v1-tiny-en")
        assert entries == dict.fromkeys(names, "tinyrerank-tiny-en")
        for name in names:
            assert (await client.get(f"/v1/models/{name}")).json()["id"] == name
            answer = (await client.post("/v1/rerank", json={**GOOD, "model": name})).json()
            assert answer["model"] == name
        info = (await client.get("/info")).json()
        assert info["max_client_batch_size"] == 10_000
        assert "reranker" in info["model_type"]

    talk(scene)


def test_the_openapi_document_names_every_route(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        document = (await client.get("/openapi.json")).json()
        from tinyrerank.serve.dialects import SHARED_PATHS, by_path

        posts = {path for path, item in document["paths"].items() if "post" in item}
        assert posts == {*SHARED_PATHS, *by_path()}
        for path, item in document["paths"].items():
            if "get" in item:
                status = (await client.get(path.replace("{name}", "tinyrerank-tiny-en"))).status_code
                assert status == 200, path
        text = json.dumps(document)
        assert all(f'"{name}"' in text for name in document["components"]["schemas"])

    talk(scene)
