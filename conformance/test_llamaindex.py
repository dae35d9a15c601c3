"""LlamaIndex: five node postprocessors, and the retriever evaluator through one of them."""

from __future__ import annotations

from typing import Any

import pytest
from contract import Case, Contract, Got, Server


def _nodes(texts: list[str]) -> list[Any]:
    from llama_index.core.schema import NodeWithScore, TextNode

    return [NodeWithScore(node=TextNode(text=text, id_=str(i))) for i, text in enumerate(texts)]


def _got(ranked: list[Any]) -> list[Got]:
    return [Got(int(node.node.node_id), node.score) for node in ranked]


class TestJinaRerank(Contract):
    client = "LlamaIndex JinaRerank"
    package = "llama-index-postprocessor-jinaai-rerank"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from llama_index.postprocessor.jinaai_rerank import JinaRerank

        reranker = JinaRerank(
            base_url=f"{server.url}/v1", api_key=server.key, model=server.model, top_n=top_n or len(texts)
        )
        return _got(reranker.postprocess_nodes(_nodes(texts), query_str=query))

    def test_the_retriever_evaluator_accepts_it(self, server: Server, cases: dict[str, Case]) -> None:
        from llama_index.core.base.base_retriever import BaseRetriever
        from llama_index.core.evaluation import RetrieverEvaluator
        from llama_index.postprocessor.jinaai_rerank import JinaRerank

        case = cases["basic"]

        class Everything(BaseRetriever):  # type: ignore[misc]  # untyped where it is not installed
            def _retrieve(self, query_bundle: Any) -> list[Any]:  # noqa: ARG002 - the signature of its base
                return _nodes(case.texts)

        reranker = JinaRerank(base_url=f"{server.url}/v1", api_key=server.key, model=server.model, top_n=1)
        evaluator = RetrieverEvaluator.from_metric_names(
            ["hit_rate", "mrr"], retriever=Everything(), node_postprocessors=[reranker]
        )
        result = evaluator.evaluate(case.query, [str(case.order()[0])])
        assert result.metric_vals_dict == {"hit_rate": 1.0, "mrr": 1.0}


class TestTextEmbeddingInference(Contract):
    client = "LlamaIndex TextEmbeddingInference"
    package = "llama-index-postprocessor-tei-rerank"
    named = False
    reads_errors = False  # every refusal becomes an AssertionError without words
    path = "/tei"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

        reranker = TextEmbeddingInference(
            base_url=server.url + self.path, auth_token=f"Bearer {server.key}", top_n=top_n or len(texts)
        )
        return _got(reranker.postprocess_nodes(_nodes(texts), query_str=query))


class TestTextEmbeddingInferenceOnTheSharedPath(TestTextEmbeddingInference):
    path = ""


class TestCohereRerank(Contract):
    client = "LlamaIndex CohereRerank"
    package = "llama-index-postprocessor-cohere-rerank"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from llama_index.postprocessor.cohere_rerank import CohereRerank

        reranker = CohereRerank(
            base_url=server.url, api_key=server.key, model=server.model, top_n=top_n or len(texts)
        )
        return _got(reranker.postprocess_nodes(_nodes(texts), query_str=query))


class TestSiliconFlowRerank(Contract):
    client = "LlamaIndex SiliconFlowRerank"
    package = "llama-index-postprocessor-siliconflow-rerank"
    long = "long in windows"  # it always sends max_chunks_per_doc

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from llama_index.postprocessor.siliconflow_rerank import SiliconFlowRerank

        reranker = SiliconFlowRerank(
            base_url=f"{server.url}/v1/rerank",
            api_key=server.key,
            model=server.model,
            top_n=top_n or len(texts),
        )
        return _got(reranker.postprocess_nodes(_nodes(texts), query_str=query))


class TestXinferenceRerank(Contract):
    client = "LlamaIndex XinferenceRerank"
    package = "llama-index-postprocessor-xinference-rerank"
    keyed = False

    @pytest.fixture
    def server(self, open_server: Server) -> Server:
        """It cannot send a key: it talks to a server that wants none."""
        return open_server

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from llama_index.postprocessor.xinference_rerank import XinferenceRerank

        reranker = XinferenceRerank(base_url=server.url, model=server.model, top_n=top_n or len(texts))
        return _got(reranker.postprocess_nodes(_nodes(texts), query_str=query))
