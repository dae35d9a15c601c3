"""Products that cannot run here, by the bodies they send; answers are read the way each product reads them.

The bodies in ``bodies/`` were written from the source or the documentation that each file names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("msgspec", reason="needs the extra serve")
from starlette.testclient import TestClient

from tinyrerank import Reranker
from tinyrerank.serve.app import build_app
from tinyrerank.serve.models import load_models
from tinyrerank.serve.service import Service
from tinyrerank.serve.settings import Settings

MODEL = "jina-reranker-v1-tiny-en"
CALLS = [
    pytest.param(call, id=f"{path.stem}: {call['name']}")
    for path in sorted((Path(__file__).parent / "bodies").glob("*.json"))
    for call in json.loads(path.read_text(encoding="utf-8"))["calls"]
]


@pytest.fixture(scope="module")
def client(tiny_folder: Path) -> Iterator[TestClient]:
    settings = Settings(models=(f"tiny={tiny_folder}",), aliases=(f"{MODEL}=tiny",), threads=1)
    with TestClient(build_app(Service(settings, load_models(settings, threads=1)))) as client:
        yield client


def _pairs(results: Any, score: str) -> dict[int, float]:
    """Score by index of results in falling order."""
    assert [hit[score] for hit in results] == sorted((hit[score] for hit in results), reverse=True)
    return {hit["index"]: hit[score] for hit in results}


def _results(answer: Any) -> dict[int, float]:
    """As Elasticsearch, OpenSearch, Dify and LightRAG do."""
    return _pairs(answer["results"], "relevance_score")


def _results_and_usage(answer: Any) -> dict[int, float]:
    """As Milvus does for vLLM, and RAGFlow."""
    assert answer["usage"]["total_tokens"] > 0
    return _results(answer)


def _by_index(answer: Any) -> dict[int, float]:
    """As Open WebUI does: it sorts by index and takes the scores, so none may be missing."""
    ordered = sorted(answer["results"], key=lambda hit: hit["index"])
    return {i: hit["relevance_score"] for i, hit in enumerate(ordered)}


def _tei(answer: Any) -> dict[int, float]:
    """As Milvus, Elasticsearch and RAGFlow do for text-embeddings-inference: a bare array."""
    return _pairs(answer, "score")


def _voyage(answer: Any) -> dict[int, float]:
    """As Milvus does for Voyage."""
    assert answer["usage"]["total_tokens"] > 0
    return _pairs(answer["data"], "relevance_score")


def _weaviate(answer: Any) -> dict[int, float]:
    """As Weaviate does: by position."""
    return {i: hit["score"] for i, hit in enumerate(answer["scores"])}


READERS: dict[str, Callable[[Any], dict[int, float]]] = {
    "results": _results,
    "results+usage": _results_and_usage,
    "by_index": _by_index,
    "tei": _tei,
    "voyage": _voyage,
    "weaviate": _weaviate,
}


@pytest.mark.parametrize("call", CALLS)
def test_the_product_can_read_the_answer(call: dict[str, Any], client: TestClient, tiny_folder: Path) -> None:
    body = json.dumps(call["body"]).encode() if "body" in call else None
    answer = client.request(call["method"], call["path"], headers=call["headers"], content=body)
    assert 200 <= answer.status_code < 300, answer.text
    if call["read"] == "status":
        return
    assert answer.headers["content-type"].startswith("application/json")
    if call["read"] == "object":
        assert isinstance(answer.json(), dict)
        return
    scores = READERS[call["read"]](answer.json())
    texts = call["body"].get("texts") or call["body"]["documents"]
    with Reranker(tiny_folder, threads=1) as reranker:
        logits = reranker.score(call["body"]["query"], texts).astype(np.float64)
    expected = 1 / (1 + np.exp(-logits))
    assert len(scores) == call["n"]
    best = sorted(range(len(texts)), key=lambda i: -logits[i])[: call["n"]]
    assert sorted(scores) == sorted(best)
    assert [scores[i] for i in best] == pytest.approx([expected[i] for i in best], abs=1e-6)


def test_weaviate_gets_its_documents_back_in_its_order(client: TestClient) -> None:
    documents = ["b", "a", "b", ""]
    answer = client.post("/rerank", json={"query": "q", "documents": documents, "property": ""}).json()
    assert [hit["document"] for hit in answer["scores"]] == documents
    assert answer["query"] == "q"


def test_weaviate_reads_errors_as_json_with_error(client: TestClient) -> None:
    answer = client.post("/rerank", json={"query": "q", "documents": "no list", "property": ""})
    assert answer.status_code >= 400
    assert isinstance(answer.json()["error"], str)
