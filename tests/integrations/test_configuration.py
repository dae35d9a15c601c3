"""The configuration pages of products that cannot run here: each body, filled in as the product does, against
our server, and the answer read as the product reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("msgspec", reason="needs the extra serve")
from starlette.testclient import TestClient

from tinyrerank import Reranker
from tinyrerank.serve.app import build_app
from tinyrerank.serve.models import load_models
from tinyrerank.serve.service import Service
from tinyrerank.serve.settings import Settings

PAGES = Path(__file__).parents[2] / "docs" / "integrations"
QUERY = 'what "pulls" the sea?'
TEXTS = ["yeast makes gas", 'the "moon" pulls the sea\\', "", "the tide rises", "yeast makes gas"]
_FIXTURE = re.compile(r"^<!-- fixture: (\S+) -->\n```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def fixture(name: str) -> Any:
    """A JSON block of a page, by the name in the comment above it."""
    found = [
        block
        for page in PAGES.glob("*.md")
        for key, block in _FIXTURE.findall(page.read_text(encoding="utf-8"))
        if key == name
    ]
    assert len(found) == 1, name
    return json.loads(found[0])


@pytest.fixture(scope="module")
def client(tiny_folder: Path) -> Iterator[TestClient]:
    aliases = ("jina-reranker-v1-tiny-en=tiny",)
    settings = Settings(models=(f"tiny={tiny_folder}",), aliases=aliases, threads=1)
    with TestClient(build_app(Service(settings, load_models(settings, threads=1)))) as client:
        yield client


@pytest.fixture(scope="module")
def expected(tiny_folder: Path) -> dict[int, float]:
    """Our score of each text."""
    with Reranker(tiny_folder, threads=1) as reranker:
        return {hit.index: hit.score for hit in reranker.rank(QUERY, TEXTS)}


def json_path(path: str, value: Any) -> list[Any]:
    """What Elasticsearch's parser finds with ``$.a[*].b``."""
    matched = re.fullmatch(r"\$\.(\w+)\[\*\]\.(\w+)", path)
    assert matched, path
    return [each[matched[2]] for each in value[matched[1]]]


def path_of(url: str) -> str:
    assert url.startswith("http://HOST:8080")
    return urlsplit(url).path


def test_elasticsearch_custom_service(client: TestClient, expected: dict[int, float]) -> None:
    settings = fixture("elasticsearch-custom")["service_settings"]
    body = settings["request"].replace("${query}", json.dumps(QUERY)).replace("${input}", json.dumps(TEXTS))
    key = settings["secret_parameters"]["api_key"]
    headers = {name: value.replace("${api_key}", key) for name, value in settings["headers"].items()}
    answer = client.post(path_of(settings["url"]), content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    parser = settings["response"]["json_parser"]
    places = json_path(parser["reranked_index"], answer.json())
    scores = json_path(parser["relevance_score"], answer.json())
    assert dict(zip(places, scores, strict=True)) == pytest.approx(expected, abs=1e-6)


def test_elasticsearch_hugging_face_service(client: TestClient, expected: dict[int, float]) -> None:
    settings = fixture("elasticsearch-hugging-face")["service_settings"]
    body = {"query": QUERY, "texts": TEXTS, "return_text": True}
    headers = {"Authorization": f"Bearer {settings['api_key']}"}
    answer = client.post(path_of(settings["url"]), json=body, headers=headers)
    assert {each["index"]: each["score"] for each in answer.json()} == pytest.approx(expected, abs=1e-6)
    assert all(each["text"] == TEXTS[each["index"]] for each in answer.json())


def test_elasticsearch_search_names_the_endpoint() -> None:
    search = fixture("elasticsearch-search")["retriever"]["text_similarity_reranker"]
    page = (PAGES / "elasticsearch.md").read_text(encoding="utf-8")
    assert f"_inference/rerank/{search['inference_id']}`" in page
    assert search["rank_window_size"] <= 10_000  # what the server takes at once


def test_opensearch_connector(client: TestClient, expected: dict[int, float]) -> None:
    connector = fixture("opensearch-connector")
    [action] = connector["actions"]
    parameters = {  # from the function for Cohere; OpenSearch escapes strings into the quotes of the template
        **connector["parameters"],
        "documents": json.dumps(TEXTS),
        "query": json.dumps(QUERY)[1:-1],
        "top_n": str(len(TEXTS)),
    }
    body = action["request_body"]
    for name, value in parameters.items():
        body = body.replace(f"${{parameters.{name}}}", value)
    assert "${" not in body
    key = connector["credential"]["key"]
    headers = {name: value.replace("${credential.key}", key) for name, value in action["headers"].items()}
    headers["Content-Type"] = "application/json"
    answer = client.request(action["method"], path_of(action["url"]), content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    scores = {each["index"]: each["relevance_score"] for each in answer.json()["results"]}
    assert scores == pytest.approx(expected, abs=1e-6)


def test_opensearch_trusts_the_address_of_the_connector() -> None:
    settings = fixture("opensearch-settings")["persistent"]
    [action] = fixture("opensearch-connector")["actions"]
    trusted = settings["plugins.ml_commons.trusted_connector_endpoints_regex"]
    assert any(re.fullmatch(pattern, action["url"]) for pattern in trusted)
    assert fixture("opensearch-pipeline")["response_processors"][0]["rerank"]["ml_opensearch"]["model_id"]
    assert fixture("opensearch-search")["ext"]["rerank"]["query_context"]["query_text"]


def test_weaviate_at_its_start_and_in_a_search(client: TestClient, expected: dict[int, float]) -> None:
    base = path_of(fixture("weaviate-environment")["RERANKER_INFERENCE_API"])
    assert client.get(f"{base}/.well-known/ready").status_code < 300
    assert client.get(f"{base}/.well-known/live").status_code < 300
    assert isinstance(client.get(f"{base}/meta").json(), dict)
    answer = client.post(f"{base}/rerank", json={"query": QUERY, "documents": TEXTS, "property": ""}).json()
    assert [each["document"] for each in answer["scores"]] == TEXTS
    scores = {i: each["score"] for i, each in enumerate(answer["scores"])}
    assert scores == pytest.approx(expected, abs=1e-6)
    module = fixture("weaviate-environment")["ENABLE_MODULES"]
    assert module in fixture("weaviate-collection")["moduleConfig"]


def test_voyage_client_of_mongodb(client: TestClient, tiny_folder: Path) -> None:
    body = fixture("voyage-body")
    answer = client.post("/voyage/v1/rerank", json=body, headers={"Authorization": "Bearer KEY"}).json()
    with Reranker(tiny_folder, threads=1) as reranker:
        [best] = reranker.rank(body["query"], body["documents"], body["top_k"])
    [found] = answer["data"]
    assert found["index"] == best.index
    assert found["relevance_score"] == pytest.approx(best.score, abs=1e-6)
    assert answer["usage"]["total_tokens"] > 0


def test_vespa_puts_a_pair_together_as_our_template_does(tiny_folder: Path, tmp_path: Path) -> None:
    """What customTokenInputIds and tokenAttentionMask are documented to do, on the page's arguments."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    import numpy as np
    from tokenizers import Tokenizer

    from tinyrerank.engine.onnx_file import write_onnx

    page = (PAGES / "vespa.md").read_text(encoding="utf-8")
    matched = re.search(r"customTokenInputIds\((\d+), (\d+), (\d+), ([^)]*\)), ([^)]*\)), ([^)]*\))\)", page)
    assert matched
    start, separator, length = (int(matched[i]) for i in (1, 2, 3))
    mask = re.search(r"tokenAttentionMask\((\d+), ([^)]*\)), ([^)]*\)), ([^)]*\))\)", page)
    assert mask
    assert mask.groups() == (matched[3], matched[4], matched[5], matched[6])
    sizes = {
        name: int(size) for name, size in re.findall(r"(\w+)\)? (?:type )?tensor<float>\(d0\[(\d+)\]", page)
    }
    assert sum(sizes.values()) - sizes["nothing"] + 4 == length
    write_onnx(tiny_folder, tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])

    def tensor(name: str, text: str) -> list[int]:
        ids = tokenizer.encode(text).ids[: sizes[name]]
        return [*ids, *[0] * (sizes[name] - len(ids))]

    texts = ["the moon pulls the sea", "yeast makes gas " * 200]
    for text in texts:
        row = [start]
        for part in (tensor("q_tokens", QUERY), [0], tensor("tokens", text)):
            row += [*(token for token in part if token), separator]
        ids = np.array([[*row, *[0] * (length - len(row))]])
        (logits,) = session.run(
            None, {"input_ids": ids, "attention_mask": (np.arange(length) < len(row))[None] * 1}
        )
        query_tokens = sum(token != 0 for token in tensor("q_tokens", QUERY))
        with Reranker(tiny_folder, engine="onnx", max_length=query_tokens + 4 + sizes["tokens"]) as reranker:
            assert float(logits[0, 0]) == pytest.approx(float(reranker.score(QUERY, [text])[0]), abs=1e-5)
