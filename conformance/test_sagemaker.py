"""SageMaker clients on loopback: boto3, sagemaker 2.x, jina-sagemaker, and LangChain's cross-encoder.

The clients call ``/endpoints/{name}/invocations``; the container answers ``/invocations``. In the cloud the
service stands between the two. Here ``shim.py`` does: it renames the path, strips the headers that the
service strips, and turns an error of the container into the ``ModelError`` that the service makes of it.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from contract import TOLERANCE, Case, Contract, Got, Server


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> None:
    shim = os.environ["CONFORMANCE_SHIM_URL"]
    for name, value in {
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_SAGEMAKER": shim,
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": shim,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)


class _Endpoint(Contract):
    keyed = False  # the service takes the caller's signature; no key reaches the container
    named = False

    @pytest.fixture
    def server(self) -> Server:
        return Server("ready", "", "")

    @pytest.fixture
    def busy(self) -> Server:
        return Server("busy", "", "")


class TestBoto3(_Endpoint):
    client = "boto3 sagemaker-runtime"
    package = "boto3"

    def invoke(self, endpoint: str, body: object, content_type: str = "application/json") -> bytes:
        import boto3

        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        answer = boto3.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=endpoint, ContentType=content_type, Accept=content_type, Body=data
        )
        read: bytes = answer["Body"].read()
        return read

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        body = {"query": query, "documents": texts, "top_n": top_n}
        answer = json.loads(self.invoke(server.url, body))
        return [Got(hit["index"], hit["relevance_score"]) for hit in answer["results"]]

    def test_text_embeddings_inference_body(self, cases: dict[str, Case]) -> None:
        case = cases["basic"]
        answer = json.loads(self.invoke("ready", {"query": case.query, "texts": case.texts}))
        assert [hit["index"] for hit in answer] == case.order()

    @pytest.mark.parametrize("shape", ["mapping", "pair"])
    def test_pipeline_bodies_answer_in_input_order(self, shape: str, cases: dict[str, Case]) -> None:
        case = cases["basic"]
        inputs: list[Any] = [
            {"text": case.query, "text_pair": text} if shape == "mapping" else [case.query, text]
            for text in case.texts
        ]
        answer = json.loads(self.invoke("ready", {"inputs": inputs}))
        assert [hit["score"] for hit in answer] == pytest.approx(case.scores, abs=TOLERANCE)
        assert all(isinstance(hit["label"], str) for hit in answer)

    def test_json_lines_answer_line_by_line(self, cases: dict[str, Case]) -> None:
        case = cases["basic"]
        lines = [
            json.dumps({"query": case.query, "documents": case.texts}),
            json.dumps({"query": case.query, "texts": case.texts}),
            json.dumps({"text_pairs": [[case.query, text] for text in case.texts]}),
        ]
        read = self.invoke("ready", "\n".join(lines) + "\n", "application/jsonlines").decode()
        first, second, third = (json.loads(line) for line in read.splitlines())
        assert [hit["index"] for hit in first["results"]] == case.order()
        assert [hit["index"] for hit in second] == case.order()
        assert third["scores"] == pytest.approx(case.scores, abs=TOLERANCE)

    def test_csv_of_batch_transform(self, cases: dict[str, Case]) -> None:
        case = cases["basic"]
        out = io.StringIO()
        documents = json.dumps([{"text": text} for text in case.texts])
        csv.writer(out, quoting=csv.QUOTE_ALL).writerows(
            [["7", case.query, documents, "2"], ["8", case.query, json.dumps(case.texts), "1"]]
        )
        answer = json.loads(self.invoke("ready", out.getvalue(), "text/csv"))
        best = case.order()
        assert [[hit["index"] for hit in row["results"]] for row in answer["data"]] == [best[:2], best[:1]]
        assert [row["id"] for row in answer["data"]] == ["7", "8"]


class TestLocalRuntimeClient(_Endpoint):
    client = "sagemaker LocalSagemakerRuntimeClient"
    package = "sagemaker"
    reads_errors = True

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from sagemaker.local.local_session import LocalSagemakerRuntimeClient

        port = int(os.environ[f"CONFORMANCE_{server.url.upper()}_PORT"])
        answer = LocalSagemakerRuntimeClient({"local": {"serving_port": port}}).invoke_endpoint(
            Body=json.dumps({"query": query, "documents": texts, "top_n": top_n}),
            EndpointName="any",
            ContentType="application/json",
        )
        body = json.loads(answer["Body"].read())
        if "results" not in body:
            raise RuntimeError(json.dumps(body))
        return [Got(hit["index"], hit["relevance_score"]) for hit in body["results"]]


class TestPredictor(_Endpoint):
    client = "sagemaker Predictor"
    package = "sagemaker"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        import boto3
        from sagemaker.deserializers import JSONDeserializer
        from sagemaker.predictor import Predictor
        from sagemaker.serializers import JSONSerializer

        from sagemaker import Session

        session = Session(
            sagemaker_client=boto3.client("sagemaker"),
            sagemaker_runtime_client=boto3.client("sagemaker-runtime"),
        )
        predictor = Predictor(
            server.url,
            sagemaker_session=session,
            serializer=JSONSerializer(),
            deserializer=JSONDeserializer(),
        )
        answer = predictor.predict({"query": query, "documents": texts, "top_n": top_n})
        return [Got(hit["index"], hit["relevance_score"]) for hit in answer["results"]]


class TestJinaSagemaker(_Endpoint):
    client = "jina-sagemaker"
    package = "jina-sagemaker"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from jina_sagemaker import Client

        client = Client(region_name="us-east-1")
        client.connect_to_endpoint(server.url, "arn:aws:sagemaker:model-package/jina-reranker-v1-tiny-en")
        (answer,) = client.rerank(documents=list(texts), query=query, top_n=top_n)
        assert [hit["document"]["text"] for hit in answer["results"]] == [
            texts[hit["index"]] for hit in answer["results"]
        ]
        assert answer["query_usage"]["total_tokens"] > 0
        return [Got(hit["index"], hit["relevance_score"]) for hit in answer["results"]]


class TestLangChainCrossEncoder(_Endpoint):
    client = "LangChain SagemakerEndpointCrossEncoder"
    package = "langchain-community"
    limits = False
    in_order = True

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from langchain_community.cross_encoders import SagemakerEndpointCrossEncoder

        assert top_n is None
        encoder = SagemakerEndpointCrossEncoder(endpoint_name=server.url, region_name="us-east-1")
        scores = encoder.score([(query, text) for text in texts])
        return [Got(i, score) for i, score in enumerate(scores)]


class TestDeployScript:
    client = "deploy.py (requests valid for boto3)"
    package = "boto3"

    @pytest.mark.parametrize("more", [[], ["--serverless", "2048"], ["--asynchronous", "s3://b/out"]])
    def test_every_request_is_one_that_the_service_knows(self, more: list[str]) -> None:
        import boto3
        from botocore.validate import validate_parameters

        path = Path(__file__).parents[1] / "src" / "tinyrerank" / "serve" / "sagemaker" / "deploy.py"
        spec = importlib.util.spec_from_file_location("deploy", path)
        assert spec is not None
        assert spec.loader is not None
        deploy = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(deploy)
        role = "arn:aws:iam::123456789012:role/reranker"
        args = ["--name", "reranker", "--image", "i", "--role", role, "--bucket", "b", *more]
        model = boto3.client("sagemaker").meta.service_model
        operations = {"create_model": "CreateModel", "create_endpoint_config": "CreateEndpointConfig"}
        for name, arguments in deploy.requests(deploy.parse(args)):
            operation = model.operation_model(operations.get(name, "CreateEndpoint"))
            validate_parameters(arguments, operation.input_shape)
