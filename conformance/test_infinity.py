"""infinity_client, and the LangChain class on top of it."""

from __future__ import annotations

from typing import Any

from contract import Contract, Got, Server
from test_langchain import documents_of, got_of


class TestClient(Contract):
    client = "infinity_client"
    package = "infinity-client"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from infinity_client import AuthenticatedClient
        from infinity_client.api.default import rerank
        from infinity_client.models import RerankInput
        from infinity_client.types import UNSET

        body = RerankInput(
            query=query, documents=list(texts), model=server.model, top_n=UNSET if top_n is None else top_n
        )
        client = AuthenticatedClient(base_url=f"{server.url}/infinity", token=server.key)
        answer: Any = rerank.sync_detailed(client=client, body=body)
        if answer.status_code != 200:
            raise RuntimeError(answer.content.decode())
        assert answer.parsed.usage.prompt_tokens == answer.parsed.usage.total_tokens > 0
        return [Got(hit.index, hit.relevance_score) for hit in answer.parsed.results]


class TestInfinityRerank(Contract):
    client = "LangChain InfinityRerank"
    package = "langchain-community"
    reads_errors = False  # a refusal becomes a TypeError of the class

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from infinity_client import Client
        from langchain_community.document_compressors.infinity_rerank import InfinityRerank

        client = Client(base_url=f"{server.url}/infinity", headers={"Authorization": f"Bearer {server.key}"})
        reranker = InfinityRerank(client=client, model=server.model, top_n=top_n or len(texts))
        return got_of(list(reranker.compress_documents(documents_of(texts), query)))
