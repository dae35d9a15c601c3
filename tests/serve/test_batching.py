"""Requests that meet in the queue: scores, shares, deadlines, failures."""

from __future__ import annotations

import asyncio
import ctypes
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import DOCUMENTS, Gate, Talk, running, talk_fixture, until

from tinyrerank.reranker import Reranker
from tinyrerank.serve.service import Service

talk = talk_fixture
QUERY = "how do tides work?"
TEXT = st.text(alphabet="abc moontide?.\n\U0001f600", max_size=60)


def body(documents: list[str], **extra: Any) -> dict[str, Any]:
    return {"query": QUERY, "documents": documents, "raw_scores": True, "return_documents": False, **extra}


def scores(response: httpx.Response) -> dict[int, float]:
    assert response.status_code == 200, response.text
    return {result["index"]: result["relevance_score"] for result in response.json()["results"]}


@settings(max_examples=15, deadline=None)
@given(
    requests=st.lists(st.lists(TEXT, min_size=1, max_size=12), min_size=1, max_size=6),
    batch=st.integers(64, 400),
)
def test_scores_are_those_of_the_library_whatever_requests_meet_in_a_batch(
    tiny_folder: Path, requests: list[list[str]], batch: int
) -> None:
    async def play() -> list[httpx.Response]:
        async with running(tiny_folder, batch_tokens=batch, cache_entries=0) as (client, _, _):
            return await asyncio.gather(*(client.post("/v1/rerank", json=body(texts)) for texts in requests))

    with Reranker(tiny_folder, threads=1) as reranker:
        for texts, response in zip(requests, asyncio.run(play()), strict=True):
            got = scores(response)
            expected = reranker.score(QUERY, texts)
            assert [np.float32(got[i]) for i in range(len(texts))] == expected.tolist()


def test_windows_of_a_long_document_are_computed_in_several_batches_with_the_librarys_result(
    talk: Talk,
) -> None:
    async def scene(client: httpx.AsyncClient, service: Service) -> None:
        texts = ["the moon pulls the sea toward it " * 60, "bread " * 300, "short"]
        policy = {"policy": "window", "max_length": 64}
        response = await client.post("/v1/rerank", json=body(texts, **policy))
        found = service.models.default.reranker.rank(QUERY, texts, policy="window", max_length=64)
        assert scores(response) == {hit.index: hit.logit for hit in found}
        receipts = {r["index"]: r.get("receipt") for r in response.json()["results"]}
        for hit in found:
            if hit.receipt.windows > 1:
                assert tuple(receipts[hit.index]["span"]) == hit.receipt.span
                assert receipts[hit.index]["windows"] == hit.receipt.windows
        assert service.runner(service.models.default).admission.waiting == 0

    talk(scene, batch_tokens=200)


def test_a_long_query_is_read_in_parts_with_the_librarys_result(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, service: Service) -> None:
        texts = ["the moon pulls the sea toward it " * 20, "bread " * 30, "short"]
        asked = {"query": "the moon pulls the sea toward it " * 3, "policy": "window", "max_length": 64}
        response = await client.post("/v1/rerank", json=body(texts, **asked))
        reranker = service.models.default.reranker
        assert reranker.query_window == 8
        found = reranker.rank(str(asked["query"]), texts, policy="window", max_length=64)
        assert max(hit.receipt.windows for hit in found) > 1
        assert scores(response) == {hit.index: hit.logit for hit in found}
        assert response.json()["usage"]["total_tokens"] == found.timings.tokens

    talk(scene, batch_tokens=200, query_window=8)


def test_a_thousand_documents_in_a_small_queue_all_come_back(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, service: Service) -> None:
        texts = [f"tide number {i} " * (i % 7) for i in range(1000)]
        got = scores(await client.post("/v1/rerank", json=body(texts)))
        reranker = service.models.default.reranker
        assert [np.float32(got[i]) for i in range(1000)] == reranker.score(QUERY, texts).tolist()
        assert service.runner(service.models.default).admission.waiting == 0

    talk(scene, max_queue_tokens=2000, batch_tokens=256)


def test_results_come_by_falling_score_and_equal_ones_in_the_callers_order(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        texts = ["same", *DOCUMENTS, "same", "same"]
        results = (await client.post("/v1/rerank", json=body(texts))).json()["results"]
        found = [result["relevance_score"] for result in results]
        assert found == sorted(found, reverse=True)
        assert [r["index"] for r in results if r["index"] in {0, 5, 6}] == [0, 5, 6]
        few = (await client.post("/v1/rerank", json=body(texts, top_n=2))).json()["results"]
        assert few == results[:2]
        many = (await client.post("/v1/rerank", json=body(texts, top_n=99))).json()["results"]
        assert many == results

    talk(scene)


def test_equal_pairs_are_computed_once_even_when_they_are_asked_at_the_same_time(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, service: Service, gate: Gate) -> None:
        requests = [
            asyncio.create_task(client.post("/v1/rerank", json=body(["a", "b", "a"]))) for _ in range(5)
        ]
        await gate.entered.wait()
        gate.open.set()
        answers = [scores(await request) for request in requests]
        assert answers == [answers[0]] * 5
        assert sum(gate.calls) == 2
        assert len(service.runner(service.models.default).cache) == 2  # readiness probes are not kept
        again = await client.post("/v1/rerank", json=body(["b", "a"]))
        assert again.headers["x-tinyrerank-cached"] == "2"
        assert sum(gate.calls) == 2
        assert scores(again) == {0: answers[0][1], 1: answers[0][0]}

    talk(scene, gated=True)


def test_limits_are_part_of_what_the_cache_knows_a_pair_by(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, service: Service) -> None:
        long = ["the moon " * 40]
        whole = scores(await client.post("/v1/rerank", json=body(long)))
        cut = scores(await client.post("/v1/rerank", json=body(long, max_length=32)))
        reranker = service.models.default.reranker
        assert np.float32(whole[0]) == reranker.score(QUERY, long)[0]
        assert np.float32(cut[0]) == reranker.score(QUERY, long, max_length=32)[0]
        assert whole != cut

    talk(scene)


def test_a_full_queue_refuses_and_says_when_to_come_back(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, service: Service, gate: Gate) -> None:
        big = [f"{i} " + "moon " * 60 for i in range(10)]
        requests = [
            asyncio.create_task(client.post("/v1/rerank", json=body([*big, str(n)]))) for n in range(9)
        ]
        done, waiting = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
        refused = done.pop().result()  # the engine does nothing yet, so only refusals are done
        assert refused.status_code == 429
        assert refused.json()["code"] == "overloaded"
        assert refused.json()["error_type"] == "Overloaded"
        assert int(refused.headers["retry-after"]) >= 1
        gate.open.set()
        assert 200 in {(await request).status_code for request in waiting}
        assert (await client.post("/v1/rerank", json=body(big))).status_code == 200
        assert service.runner(service.models.default).admission.waiting == 0

    talk(scene, gated=True, max_queue_tokens=3000)


def test_a_deadline_gives_what_is_scored_and_leaves_the_rest_in_its_order(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service, gate: Gate) -> None:
        gate.open.set()
        known = scores(await client.post("/v1/rerank", json=body(["known a", "known b"])))
        gate.open.clear()
        documents = ["late 1", "known b", "late 2", "known a"]
        answer = await client.post("/v1/rerank", json=body(documents, deadline_ms=200))
        results = answer.json()["results"]
        assert {r["index"]: r["relevance_score"] for r in results[:2]} == {1: known[1], 3: known[0]}
        assert [r["index"] for r in results[2:]] == [0, 2]
        assert all(r["error"].startswith("deadline:") for r in results[2:])
        assert answer.headers["x-tinyrerank-unscored"] == "2"
        nothing = await client.post("/v1/rerank", json=body(["late 3"], deadline_ms=50))
        assert (nothing.status_code, nothing.json()["code"]) == (504, "deadline_exceeded")
        gate.open.set()
        assert (await client.post("/v1/rerank", json=body(["late 1"]))).status_code == 200

    talk(scene, gated=True)


def test_work_of_a_client_that_hung_up_is_not_computed(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, service: Service, gate: Gate) -> None:
        first = asyncio.create_task(client.post("/v1/rerank", json=body(["first"])))
        await gate.entered.wait()
        leaver = asyncio.create_task(client.post("/v1/rerank", json=body([f"gone {i}" for i in range(30)])))
        runner = service.runner(service.models.default)
        before = runner.admission.waiting
        await until(lambda: runner.admission.waiting > before)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        await until(lambda: runner.admission.waiting == before)
        gate.open.set()
        assert (await first).status_code == 200
        await client.post("/v1/rerank", json=body(["last"]))
        assert sum(gate.calls) == 2

    talk(scene, gated=True)


def test_a_pair_that_another_request_wants_is_computed_though_its_first_client_left(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, service: Service, gate: Gate) -> None:
        first = asyncio.create_task(client.post("/v1/rerank", json=body(["first"])))
        await gate.entered.wait()
        leaver = asyncio.create_task(client.post("/v1/rerank", json=body(["shared"])))
        stayer = asyncio.create_task(client.post("/v1/rerank", json=body(["shared"])))
        flights = service.runner(service.models.default)._flights
        await until(lambda: any(len(item.waiters) == 2 for item in flights.values()))
        leaver.cancel()
        gate.open.set()
        assert (await stayer).status_code == 200
        assert (await first).status_code == 200

    talk(scene, gated=True)


def test_a_pair_that_breaks_the_engine_fails_alone(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, service: Service, gate: Gate) -> None:
        gate.open.set()
        tokenizer = service.models.default.reranker._tokenizer
        gate.poison = set(tokenizer.encode(["220"])[0].ids) - set(tokenizer.encode(DOCUMENTS)[3].ids)
        response = await client.post("/v1/rerank", json=body([*DOCUMENTS, "220"]))
        got = scores(response)
        expected = dict(enumerate(scores(await client.post("/v1/rerank", json=body(DOCUMENTS))).values()))
        assert {i: got[i] for i in range(4)}.keys() == expected.keys()
        bad = next(r for r in response.json()["results"] if r["index"] == 4)
        assert bad["error"].startswith("engine_failed:")
        assert "poisoned" not in response.text
        alone = await client.post("/v1/rerank", json=body(["220"]))
        assert (alone.status_code, alone.json()["code"]) == (500, "engine_failed")
        assert (await client.get("/health")).status_code == 200

    talk(scene, gated=True)


def test_a_killed_engine_thread_costs_its_batch_and_nothing_else(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, service: Service, gate: Gate) -> None:
        gate.raises = SystemExit()
        hit = asyncio.create_task(client.post("/v1/rerank", json=body(["a", "b"])))
        await gate.entered.wait()
        gate.open.set()
        answer = await hit
        assert (answer.status_code, answer.json()["code"]) == (500, "engine_failed")
        assert (await client.get("/health")).status_code == 200
        assert len(scores(await client.post("/v1/rerank", json=body(DOCUMENTS)))) == 4
        batcher = service.runner(service.models.default).batcher
        assert batcher.restarts == 1
        ident = batcher._thread.ident
        assert ident is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(SystemExit))
        while batcher.restarts == 1:  # the exception arrives with the next batch, or costs none
            response = await client.post("/v1/rerank", json=body([f"x{batcher.restarts}{id(object())}"]))
            assert response.status_code in {200, 500}
        assert len(scores(await client.post("/v1/rerank", json=body(["after"])))) == 1

    talk(scene, gated=True)


def test_stopping_answers_what_waits_with_a_clear_error(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, service: Service, gate: Gate) -> None:
        waiting = asyncio.create_task(client.post("/v1/rerank", json=body(["a"])))
        await gate.entered.wait()
        service.give_up()
        late = client.post("/v1/rerank", json=body(["b"]))
        for answer in (await waiting, await late):
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"]
        service.draining = True
        assert (await client.get("/health")).status_code == 503
        assert (await client.get("/live")).status_code == 200

    talk(scene, gated=True)


def test_a_pair_that_is_too_long_for_one_request_does_not_fail_another(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        strict = {"truncation": False}
        one = client.post("/v1/rerank", json=body(["shared", "the moon pulls " * 400], **strict))
        other = client.post("/v1/rerank", json=body(["shared"], **strict))
        too_long, fine = await asyncio.gather(one, other)
        assert (too_long.status_code, too_long.json()["code"]) == (422, "too_long")
        assert "document 1 makes" in too_long.json()["detail"]
        assert fine.status_code == 200

    talk(scene)
