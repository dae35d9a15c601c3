"""voyageai and the LangChain class on top of it."""

from __future__ import annotations

import pytest
from contract import Contract, Got, Server
from test_langchain import documents_of, got_of


class TestClient(Contract):
    client = "voyageai.Client"
    package = "voyageai"
    path = "/voyage/v1"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        import voyageai

        client = voyageai.Client(api_key=server.key, base_url=server.url + self.path, max_retries=0)
        answer = client.rerank(query, list(texts), server.model, top_k=top_n)
        assert answer.total_tokens > 0
        assert [hit.document for hit in answer.results] == [texts[hit.index] for hit in answer.results]
        return [Got(hit.index, hit.relevance_score) for hit in answer.results]


class TestClientOnTheSharedPath(TestClient):
    client = "voyageai.Client, shared path"
    path = "/v1"


class TestVoyageAIRerank(Contract):
    client = "LangChain VoyageAIRerank"
    package = "langchain-voyageai"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        pytest.importorskip("langchain_voyageai")
        from langchain_voyageai import VoyageAIRerank

        reranker = VoyageAIRerank(
            api_key=server.key, model=server.model, base_url=f"{server.url}/voyage/v1", top_k=top_n
        )
        return got_of(list(reranker.compress_documents(documents_of(texts), query)))
