"""LangChain in environment a: Cohere's own package, and the Jina class with its hard-coded host."""

from __future__ import annotations

from typing import Any

import pytest
from connect_proxy import ConnectProxy
from contract import Contract, Got, Server


def documents_of(texts: list[str]) -> list[Any]:
    """LangChain documents that know their position."""
    from langchain_core.documents import Document

    return [Document(page_content=text, metadata={"i": i}) for i, text in enumerate(texts)]


def got_of(compressed: list[Any]) -> list[Got]:
    """Positions and scores of what a compressor returned."""
    return [Got(d.metadata["i"], d.metadata["relevance_score"]) for d in compressed]


class TestCohereRerank(Contract):
    client = "LangChain CohereRerank"
    package = "langchain-cohere"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from langchain_cohere import CohereRerank

        reranker = CohereRerank(
            model=server.model, cohere_api_key=server.key, base_url=server.url, top_n=top_n or len(texts)
        )
        return got_of(list(reranker.compress_documents(documents_of(texts), query)))


class TestJinaRerank(Contract):
    client = "LangChain JinaRerank"
    package = "langchain-community"

    @pytest.fixture(autouse=True)
    def _through(self, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proxy, self.environment = proxy, monkeypatch

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from langchain_community.document_compressors import JinaRerank

        reranker = JinaRerank(model=server.model, jina_api_key=server.key, top_n=top_n or len(texts))
        with self.proxy.towards(server.url, self.environment):
            return got_of(list(reranker.compress_documents(documents_of(texts), query)))
