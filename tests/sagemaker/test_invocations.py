"""``POST /invocations``: every body that a SageMaker client sends, and what it reads in the answer."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("msgspec", reason="needs the extra serve")
from starlette.testclient import TestClient

from tinyrerank import Reranker
from tinyrerank.errors import TinyrerankError
from tinyrerank.serve.app import build_app
from tinyrerank.serve.models import load_models
from tinyrerank.serve.sagemaker.bodies import Job, parse_invocation
from tinyrerank.serve.service import Service
from tinyrerank.serve.settings import Settings

Q = "how do tides work?"
D = [
    "bread dough rises because yeast makes gas",
    "the tide rises when the moon pulls the sea toward it",
    "the sun pulls on the ocean",
]


@pytest.fixture(scope="module")
def app(tiny_folder: Path) -> Iterator[TestClient]:
    """A server with keys: the container's paths are open all the same."""
    options = Settings(
        models=(f"tiny={tiny_folder}",),
        threads=1,
        max_body_bytes=200_000,
        sagemaker=True,
        api_keys=("secret-of-the-test",),
    )
    with TestClient(build_app(Service(options, load_models(options, threads=1)))) as client:
        yield client


@pytest.fixture(scope="module")
def scores(tiny_folder: Path) -> list[float]:
    with Reranker(tiny_folder, threads=1) as reranker:
        logits = reranker.score(Q, D).astype(np.float64)
    return [float(score) for score in 1 / (1 + np.exp(-logits))]


def post(app: TestClient, body: object, kind: str = "application/json", **headers: str) -> Any:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return app.post("/invocations", content=data, headers={"content-type": kind, **headers})


def best(scores: list[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def test_ping_is_200_without_a_body(app: TestClient) -> None:
    answer = app.get("/ping")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_jina_body_is_answered_as_on_v1_rerank(app: TestClient, scores: list[float]) -> None:
    answer = post(app, {"query": Q, "documents": D, "top_n": 2}).json()
    assert [hit["index"] for hit in answer["results"]] == best(scores)[:2]


def test_the_content_type_may_be_missing_or_carry_a_charset(app: TestClient) -> None:
    body = json.dumps({"query": Q, "documents": D})
    assert app.post("/invocations", content=body).status_code == 200
    assert post(app, body, "application/json; charset=utf-8").status_code == 200


@pytest.mark.parametrize("several", [False, True])
def test_jina_sagemaker_reads_its_envelope(several: bool, app: TestClient, scores: list[float]) -> None:
    item = {"query": Q, "documents": [{"text": text, "id": f"d{i}"} for i, text in enumerate(D)], "top_n": 2}
    answer = post(app, {"data": [item, item] if several else item}).json()
    assert len(answer["data"]) == 1 + several
    assert answer["parameters"] == {}
    entry = answer["data"][0]
    assert entry["query_usage"]["id"] == entry["id"]
    assert [hit["index"] for hit in entry["results"]] == best(scores)[:2]
    for hit in entry["results"]:
        assert hit["document"] == {"id": f"d{hit['index']}", "text": D[hit["index"]]}
        assert hit["relevance_score"] == pytest.approx(scores[hit["index"]], abs=1e-6)
        assert hit["usage"]["id"] == hit["id"]


def test_text_pairs_give_scores_in_their_order(app: TestClient, scores: list[float]) -> None:
    answer = post(app, {"text_pairs": [[Q, text] for text in D]}).json()
    assert list(answer) == ["scores"]
    assert answer["scores"] == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize("shape", ["objects", "pairs"])
def test_pipeline_inputs_give_labels_and_scores_in_their_order(
    shape: str, app: TestClient, scores: list[float]
) -> None:
    inputs: list[Any] = [{"text": Q, "text_pair": t} if shape == "objects" else [Q, t] for t in D]
    answer = post(app, {"inputs": inputs}).json()
    assert [hit["score"] for hit in answer] == pytest.approx(scores, abs=1e-6)
    assert {hit["label"] for hit in answer} == {"LABEL_0"}


def test_function_to_apply_none_gives_logits(app: TestClient, scores: list[float]) -> None:
    body = {"inputs": {"text": Q, "text_pair": D[1]}, "parameters": {"function_to_apply": "none"}}
    (hit,) = post(app, body).json()
    assert 1 / (1 + np.exp(-hit["score"])) == pytest.approx(scores[1], abs=1e-6)


def test_json_lines_give_one_line_each_and_a_bad_one_fails_alone(
    app: TestClient, scores: list[float]
) -> None:
    lines = [
        json.dumps({"query": Q, "documents": [D[0], "a line\u2028separator is text"]}, ensure_ascii=False),
        "{not json",
        json.dumps({"text_pairs": [[Q, text] for text in D]}),
        json.dumps({"data": {"query": Q, "documents": D}}),
    ]
    answer = post(app, "\r\n".join(lines) + "\n\n", "application/jsonlines")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/jsonlines")
    first, second, third, fourth = (json.loads(line) for line in answer.text.split("\n")[:-1])
    assert len(first["results"]) == 2
    assert second["error_type"] == "Validation"
    assert third["scores"] == pytest.approx(scores, abs=1e-6)
    assert len(fourth["data"][0]["results"]) == 3
    assert "failed=1" in answer.headers["x-amzn-sagemaker-custom-attributes"]


def _csv(rows: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(rows)
    return out.getvalue()


def test_csv_rows_give_one_entry_each(app: TestClient, scores: list[float]) -> None:
    documents = json.dumps([{"text": text} for text in D])
    body = _csv([["a", Q, documents, "1"], ["b", Q, documents, ""], ["c", Q, "no array", "1"]])
    entries = post(app, body, "text/csv").json()["data"]
    assert [entry.get("id") for entry in entries] == ["a", "b", None]
    assert [hit["index"] for hit in entries[0]["results"]] == best(scores)[:1]
    assert [hit["index"] for hit in entries[1]["results"]] == best(scores)
    assert "row 3" in entries[2]["error"]


def test_csv_gives_lines_where_the_job_joins_lines(app: TestClient) -> None:
    body = _csv([["a", Q, json.dumps(D), "1"], ["b", Q, json.dumps(D), "1"]])
    answer = post(app, body, "text/csv", accept="application/jsonlines")
    assert [json.loads(line)["id"] for line in answer.text.splitlines()] == ["a", "b"]


def test_csv_without_ids_and_with_backslashes_is_read(app: TestClient) -> None:
    cell = json.dumps(D).replace('"', '\\"').replace(",", "\\,")
    entries = post(app, _csv([[Q, cell, "2"]]), "text/csv").json()["data"]
    assert len(entries[0]["results"]) == 2


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b"\xff\xfe", "text/csv", 400),
        (b"", "text/csv", 400),
        (b"x", "application/x-npy", 415),
        (b"[" * 100_000, "application/json", 400),
        (b'{"data": []}', "application/json", 422),
        (b'{"data": 3}', "application/json", 422),
        (b'{"inputs": ["one", "two"]}', "application/json", 422),
        (
            b'{"inputs": [["q", "d"]], "parameters": {"function_to_apply": "softmax"}}',
            "application/json",
            422,
        ),
        (b'{"text_pairs": []}', "application/json", 422),
        (b'{"text_pairs": [["q"]]}', "application/json", 422),
        (b'{"query": "q", "documents": ["d"], "top_n": NaN}', "application/json", 400),
        (b"x" * 200_001, "application/json", 413),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(
    body: bytes, kind: str, status: int, app: TestClient
) -> None:
    answer = post(app, body, kind)
    assert answer.status_code == status
    assert len(answer.json()["detail"]) > 10
    assert post(app, {"query": Q, "documents": D}).status_code == 200


def test_execution_parameters_stay_in_the_limits_of_batch_transform(app: TestClient) -> None:
    parameters = app.get("/execution-parameters").json()
    assert parameters["BatchStrategy"] == "MULTI_RECORD"
    assert 1 <= parameters["MaxPayloadInMB"] <= 100


def test_receipts_travel_in_the_custom_attributes(app: TestClient) -> None:
    answer = post(app, {"query": Q, "documents": D, "nonsense": 1})
    attributes = answer.headers["x-amzn-sagemaker-custom-attributes"]
    assert "warnings=1" in attributes
    assert len(attributes) <= 1024


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)),
    st.sampled_from(["application/json", "application/jsonlines", "text/csv", ""]),
    st.sampled_from(["", "application/jsonlines", "*/*"]),
)
def test_any_bytes_are_parsed_or_refused(data: bytes, kind: str, accept: str) -> None:
    try:
        invocation = parse_invocation(data, kind, accept, Settings())
    except TinyrerankError as error:
        assert 400 <= error.http_status < 500  # noqa: PT017 - either outcome is right
    else:
        assert all(isinstance(job, Job | TinyrerankError) for job in invocation.jobs)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["data", "query", "documents", "text_pairs", "inputs", "parameters", "text", "top_n", "x"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_any_json_is_parsed_or_refused(body: Any) -> None:
    try:
        parse_invocation(json.dumps(body).encode(), "application/json", "", Settings())
    except TinyrerankError as error:
        assert 400 <= error.http_status < 500  # noqa: PT017 - either outcome is right
