"""Haystack: the Jina, Cohere and text-embeddings-inference rankers."""

from __future__ import annotations

from typing import Any

from contract import Contract, Got, Server


def _documents(texts: list[str]) -> list[Any]:
    from haystack import Document

    return [Document(id=str(i), content=text) for i, text in enumerate(texts)]


def _got(answer: dict[str, Any]) -> list[Got]:
    return [Got(int(document.id), document.score) for document in answer["documents"]]


class TestJinaRanker(Contract):
    client = "Haystack JinaRanker"
    package = "jina-haystack"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from haystack.utils import Secret
        from haystack_integrations.components.rankers.jina import JinaRanker

        ranker = JinaRanker(
            model=server.model, api_key=Secret.from_token(server.key), base_url=f"{server.url}/v1/rerank"
        )
        return _got(ranker.run(query=query, documents=_documents(texts), top_k=top_n))


class TestCohereRanker(Contract):
    client = "Haystack CohereRanker"
    package = "cohere-haystack"
    long = "long, 4096 tokens of it"  # it always sends max_tokens_per_doc

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from haystack.utils import Secret
        from haystack_integrations.components.rankers.cohere import CohereRanker

        ranker = CohereRanker(
            model=server.model, api_key=Secret.from_token(server.key), api_base_url=server.url
        )
        return _got(ranker.run(query=query, documents=_documents(texts), top_k=top_n or len(texts)))


class TestHuggingFaceTEIRanker(Contract):
    client = "Haystack HuggingFaceTEIRanker"
    package = "huggingface-api-haystack"
    named = False

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from haystack.utils import Secret
        from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

        ranker = HuggingFaceTEIRanker(
            url=server.url, token=Secret.from_token(server.key), top_k=top_n or len(texts), max_retries=0
        )
        return _got(ranker.run(query=query, documents=_documents(texts)))
