"""Every wire format: what its clients send, and what they read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import DOCUMENTS, Talk, talk_fixture

from tinyrerank.errors import TinyrerankError
from tinyrerank.fusion import joined_logits
from tinyrerank.serve import errors
from tinyrerank.serve.dialects import by_path, dialects, sniff
from tinyrerank.serve.service import Service

talk = talk_fixture
QUERY = "how do tides work?"
MODEL = "jina-reranker-v1-tiny-en"


async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any], status: int = 200) -> Any:
    response = await client.post(path, json=body)
    assert response.status_code == status, response.text
    return response.json()


def ranking(results: list[dict[str, Any]], score: str = "relevance_score") -> list[int]:
    values = [result[score] for result in results]
    assert values == sorted(values, reverse=True)
    return [result["index"] for result in results]


def test_all_dialects_agree_on_order_and_scores(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        jina = (await post(client, "/v1/rerank", {"query": QUERY, "documents": DOCUMENTS}))["results"]
        wanted = {r["index"]: r["relevance_score"] for r in jina}
        assert ranking(jina) == list(wanted)
        for dialect in dialects():
            key = "texts" if dialect.name == "tei" else "documents"
            query = "queries" if dialect.name == "vllm-score" else "query"
            for path in dialect.paths:
                answer = await post(client, path, {query: QUERY, key: DOCUMENTS})
                if dialect.name == "weaviate":
                    got = {i: r["score"] for i, r in enumerate(answer["scores"])}
                elif dialect.name in {"tei", "vllm-score"}:
                    results = answer if dialect.name == "tei" else answer["data"]
                    got = {r["index"]: r["score"] for r in results}
                    assert list(got) == (list(wanted) if dialect.name == "tei" else [0, 1, 2, 3])
                else:
                    results = answer["data" if dialect.name == "voyage" else "results"]
                    got = {r["index"]: r["relevance_score"] for r in results}
                    assert list(got) == list(wanted), path
                assert got == wanted, path

    talk(scene)


def test_jina_gives_documents_back_as_objects_unless_told_not_to(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        documents = ["a", {"text": "b", "id": 7}]
        body = {"query": QUERY, "documents": documents, "model": MODEL, "top_n": None}
        answer = await post(client, "/v1/rerank", body)
        assert {r["index"]: r["document"] for r in answer["results"]} == {0: {"text": "a"}, 1: documents[1]}
        assert (answer["object"], answer["model"], answer["data"]) == ("list", MODEL, answer["results"])
        assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 0
        for without in (False, "false"):
            bare = await post(client, "/v1/rerank", {**body, "return_documents": without})
            assert all("document" not in r for r in bare["results"])

    talk(scene)


def test_jina_can_give_documents_back_as_they_came(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        documents = ["a", {"text": "b", "id": 7}]
        answer = await post(client, "/v1/rerank", {"query": {"text": QUERY}, "documents": documents})
        assert {r["index"]: r["document"] for r in answer["results"]} == dict(enumerate(documents))

    talk(scene, jina_document="echo")


def test_cohere_1_reads_rank_fields_in_their_order(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        documents = [{"title": "tide", "body": "the moon", "n": 3}, {"body": "bread"}]
        body = {
            "query": QUERY,
            "documents": documents,
            "rank_fields": ["body", "title"],
            "return_documents": True,
        }
        answer = await post(client, "/v1/rerank", body)
        texts = {r["index"]: r["document"]["text"] for r in answer["results"]}
        assert texts == {0: "the moon tide", 1: "bread"}
        assert answer["meta"]["api_version"] == {"version": "1"}
        assert answer["meta"]["billed_units"] == {"search_units": 1}
        joined = await post(client, "/cohere/v1/rerank", {"query": QUERY, "documents": [documents[0]]})
        assert "document" not in joined["results"][0]
        same = await post(client, "/v1/rerank", {"query": QUERY, "documents": ["tide the moon 3"]})
        assert joined["results"][0]["relevance_score"] == same["results"][0]["relevance_score"]

    talk(scene)


def test_cohere_2_reads_so_many_tokens_of_a_document_and_says_so(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        body = {"query": QUERY, "documents": ["the moon " * 30, "bread"], "max_tokens_per_doc": 10}
        response = await client.post("/v2/rerank", json=body)
        answer = response.json()
        receipts = {r["index"]: r.get("receipt") for r in answer["results"]}
        assert receipts[0]["tokens_read"] == 10
        assert receipts[0]["truncated"] is True
        assert receipts[1] is None
        assert response.headers["x-tinyrerank-truncated"] == "1"
        assert answer["meta"]["api_version"] == {"version": "2"}

    talk(scene)


def test_tei_answers_an_array_and_refuses_to_cut_when_told_so(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        long = "the moon pulls " * 400
        body = {"query": QUERY, "texts": ["bread", long], "return_text": True, "raw_scores": True}
        answer = await post(client, "/rerank", body)
        assert ranking(answer, "score")
        assert {r["index"]: r["text"] for r in answer} == {0: "bread", 1: long}
        right = next(r for r in answer if r["index"] == 1)
        left = await post(client, "/rerank", {**body, "truncation_direction": "Left"})
        other = next(r for r in left if r["index"] == 1)
        assert right["receipt"]["span"][0] == 0
        assert other["receipt"]["span"][1] == len(long)
        error = await post(client, "/rerank", {**body, "truncate": False}, 422)
        assert error["error_type"] == "Validation"
        assert "document 1 makes a pair of" in error["error"]
        assert "'truncate'" in error["error"]

    talk(scene)


def test_infinity_has_string_documents_and_its_own_kind_of_error(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        body = {
            "query": QUERY,
            "documents": DOCUMENTS,
            "model": "default/not-specified",
            "return_documents": True,
        }
        answer = await post(client, "/infinity/rerank", body)
        assert answer["object"] == "rerank"
        assert {r["index"]: r["document"] for r in answer["results"]} == dict(enumerate(DOCUMENTS))
        error = await post(client, "/infinity/rerank", {"query": QUERY}, 422)
        assert error["error"]["code"] == 422
        assert "documents" in error["error"]["message"]
        assert error["detail"] == [
            {"loc": ["body", "documents"], "msg": error["error"]["message"], "type": "invalid_request"}
        ]
        unknown = await post(client, "/infinity/rerank", {**body, "model": "none"}, 404)
        assert unknown["detail"] == unknown["error"]["message"]

    talk(scene)


def test_vllm_always_has_documents_and_takes_0_for_no_limit(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        body = {"query": QUERY, "documents": DOCUMENTS, "top_n": 0, "max_tokens_per_doc": 0}
        answer = await post(client, "/vllm/v1/rerank", body)
        assert len(answer["results"]) == 4
        assert all(isinstance(r["document"]["text"], str) for r in answer["results"])
        parts = {"content": [{"type": "text", "text": text} for text in DOCUMENTS]}
        same = await post(client, "/vllm/rerank", {**body, "documents": parts})
        assert ranking(same["results"]) == ranking(answer["results"])
        raw = await post(client, "/vllm/rerank", {**body, "use_activation": False})
        for logit, score in zip(raw["results"], answer["results"], strict=True):
            assert score["relevance_score"] == pytest.approx(1 / (1 + math.exp(-logit["relevance_score"])))
        cut = await post(
            client, "/rerank", {**body, "truncate_prompt_tokens": 30, "documents": ["moon " * 90]}
        )
        assert cut["results"][0]["receipt"]["tokens_read"] < 30
        asked = {**body, "query": "the moon " * 50, "max_tokens_per_query": 5}
        assert "the query was cut" in (await post(client, "/vllm/rerank", asked))["warnings"][0]

    talk(scene)


@pytest.mark.parametrize(
    ("left", "right"),
    [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")],
)
def test_vllm_scores_pairs_in_order(talk: Talk, left: str, right: str) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        one = await post(client, "/score", {left: "a tide", right: ["b", "the moon"]})
        two = await post(client, "/v1/score", {left: ["a tide", "a tide"], right: ["b", "the moon"]})
        assert [r["score"] for r in one["data"]] == [r["score"] for r in two["data"]]
        assert [r["index"] for r in one["data"]] == [0, 1]
        await post(client, "/score", {left: ["a", "b"], right: ["c"]}, 422)
        await post(client, "/score", {left: ["a"]}, 422)
        await post(client, "/score", {left: [5], right: ["c"]}, 422)

    talk(scene)


def test_voyage_has_data_with_strings(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        body = {"query": QUERY, "documents": DOCUMENTS, "model": MODEL, "top_k": 2, "truncation": True}
        for path in ("/v1/rerank", "/voyage/v1/rerank"):
            answer = await post(client, path, {**body, "return_documents": True})
            assert [r["document"] for r in answer["data"]] == [DOCUMENTS[i] for i in ranking(answer["data"])]
            assert len(answer["data"]) == 2
            assert answer["usage"]["total_tokens"] > 0
        all_of_them = await post(client, "/voyage/v1/rerank", {**body, "top_k": None})
        assert len(all_of_them["data"]) == 4

    talk(scene)


def test_weaviate_gets_scores_in_the_order_of_its_documents(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        answer = await post(client, "/rerank", {"query": QUERY, "documents": DOCUMENTS, "property": ""})
        assert [r["document"] for r in answer["scores"]] == DOCUMENTS
        single = await post(client, "/weaviate/rerank", {"query": QUERY, "property": DOCUMENTS[1]})
        assert single == {"query": QUERY, "property": DOCUMENTS[1], "score": answer["scores"][1]["score"]}
        assert (await client.get("/.well-known/live")).status_code == 204
        assert (await client.get("/.well-known/ready")).status_code == 204
        assert isinstance((await client.get("/meta")).json(), dict)

    talk(scene)


def test_xinference_and_siliconflow_get_what_they_count(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        nulls = {"top_n": None, "max_chunks_per_doc": None, "return_documents": None, "return_len": None}
        body = {"query": QUERY, "documents": DOCUMENTS, "model": MODEL, **nulls, "kwargs": "{}"}
        answer = await post(client, "/v1/rerank", body)
        assert answer["meta"]["tokens"]["input_tokens"] > 0
        assert "warnings" not in answer["meta"]
        long = "the moon pulls " * 400
        flow = {"query": QUERY, "documents": [long], "max_chunks_per_doc": 2, "overlap_tokens": 80}
        answer = await post(client, "/v1/rerank", flow)
        assert answer["results"][0]["receipt"]["windows"] == 2
        assert answer["tokens"]["input_tokens"] == answer["usage"]["total_tokens"]

    talk(scene)


def test_one_bad_document_is_answered_in_its_place(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        documents = ["a", None, 5, ["x"], {}, {"url": "http://x", "n": 2}, True]
        response = await client.post("/v1/rerank", json={"query": QUERY, "documents": documents})
        results = response.json()["results"]
        assert len(results) == 7
        assert [r["index"] for r in results[2:]] == [1, 2, 3, 4, 6]
        assert all(r["error"].startswith("bad_document:") and r["relevance_score"] == 0 for r in results[2:])
        assert all("document" not in r for r in results[2:])
        error = await post(client, "/v1/rerank", {"query": QUERY, "documents": [None, 5]}, 422)
        assert "not one of 2 can be read" in error["detail"]

    talk(scene)


def test_a_heavy_list_weight_keeps_the_order_given_and_scores_fall(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        for dialect in dialects():
            key = "texts" if dialect.name == "tei" else "documents"
            query = "queries" if dialect.name == "vllm-score" else "query"
            body = {query: QUERY, key: [DOCUMENTS[0], None, *DOCUMENTS[1:]]}
            if dialect.name in {"tei", "vllm-score", "vllm", "infinity"}:
                body[key] = DOCUMENTS
            path = dialect.paths[-1]
            answer = await post(client, path, {**body, "list_weight": 100, "raw_scores": True})
            if dialect.name == "vllm-score":
                assert answer["data"] == (await post(client, path, {**body, "raw_scores": True}))["data"]
                assert answer["warnings"] == ["'list_weight' means nothing here and was ignored"]
                continue
            listed = answer if dialect.name == "tei" else answer.get("scores") or answer.get("data")
            results = [r for r in listed or answer["results"] if "error" not in r]
            name = "score" if dialect.name in {"tei", "weaviate"} else "relevance_score"
            scores = [r[name] for r in results]
            assert scores == sorted(scores, reverse=True), path
            if "index" in results[0]:
                wanted = [0, 1, 2, 3] if body[key] is DOCUMENTS else [0, 2, 3, 4]
                assert [r["index"] for r in results] == wanted, path
        error = await post(client, "/v1/rerank", {"query": QUERY, "documents": ["a"], "list_weight": -1}, 422)
        assert error["param"] == "list_weight"

    talk(scene)


def test_the_server_may_weigh_the_order_given_and_a_request_may_differ(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, service: Service) -> None:
        body = {"query": QUERY, "documents": DOCUMENTS, "raw_scores": True}
        alone = (await post(client, "/v1/rerank", {**body, "list_weight": 0}))["results"]
        joined = (await post(client, "/v1/rerank", body))["results"]
        with_cache = (await post(client, "/v1/rerank", body))["results"]
        assert joined == with_cache
        logits = {r["index"]: r["relevance_score"] for r in alone}
        expected = joined_logits([logits[i] for i in range(len(DOCUMENTS))], 0.5)
        assert {r["index"]: r["relevance_score"] for r in joined} == pytest.approx(dict(enumerate(expected)))
        assert joined != alone
        assert service.settings.list_weight == 0.5

    talk(scene, list_weight=0.5)


def test_keys_that_mean_nothing_are_reported(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        body = {"query": QUERY, "documents": ["a"], "user": "u", "encoding_format": "float"}
        response = await client.post("/v1/rerank", json=body)
        assert response.json()["warnings"] == [
            f"{k!r} means nothing here and was ignored" for k in list(body)[2:]
        ]
        assert "'user'" in response.headers["x-tinyrerank-warnings"]

    talk(scene)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"texts": []}, "tei"),
        ({"documents": [], "property": ""}, "weaviate"),
        ({"documents": [], "overlap_tokens": 1, "max_chunks_per_doc": 1}, "siliconflow"),
        ({"documents": [], "kwargs": "", "max_chunks_per_doc": None}, "xinference"),
        ({"documents": [], "rank_fields": []}, "cohere-v1"),
        ({"documents": [], "top_k": None}, "voyage"),
        ({"documents": [], "top_k": 1, "top_n": 1}, "jina"),
        ({"documents": [], "truncate_prompt_tokens": 1}, "vllm"),
        ({}, "jina"),
    ],
)
def test_the_keys_of_a_body_tell_its_dialect(body: dict[str, Any], name: str) -> None:
    assert sniff(body).name == name


def test_every_dialect_has_a_path_of_its_own() -> None:
    assert {dialect.name for dialect in by_path().values()} == {dialect.name for dialect in dialects()}
    paths = [path for dialect in dialects() for path in dialect.paths]
    assert len(paths) == len(set(paths))


def test_the_documentation_names_every_path_and_every_error() -> None:
    text = (Path(__file__).parents[2] / "docs" / "server.md").read_text(encoding="utf-8")
    missing = [path for path in by_path() if f"`{path}`" not in text]
    assert missing == []
    for error in vars(errors).values():
        if (
            isinstance(error, type)
            and issubclass(error, TinyrerankError)
            and error.__module__ == errors.__name__
        ):
            line = next(line for line in text.splitlines() if f"`{error.code}`" in line)
            assert line.startswith(f"| {error.http_status} |")
