"""pymilvus-model: the text-embeddings-inference function, and the Jina one with its hard-coded host."""

from __future__ import annotations

import pytest
from connect_proxy import ConnectProxy
from contract import Contract, Got, Server


class TestTEIRerankFunction(Contract):
    client = "pymilvus TEIRerankFunction"
    package = "pymilvus-model"
    keyed = False
    named = False
    limits = False
    cap = 5  # it keeps the first five, whatever was asked

    @pytest.fixture
    def server(self, open_server: Server) -> Server:
        """It cannot send a key: it talks to a server that wants none."""
        return open_server

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from pymilvus.model.reranker import TEIRerankFunction

        assert top_n is None
        return [Got(r.index, r.score) for r in TEIRerankFunction(api_url=server.url)(query, texts)]


class TestJinaRerankFunction(Contract):
    client = "pymilvus JinaRerankFunction"
    package = "pymilvus-model"

    @pytest.fixture(autouse=True)
    def _through(self, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proxy, self.environment = proxy, monkeypatch

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from pymilvus.model.reranker import JinaRerankFunction

        function = JinaRerankFunction(model_name=server.model, api_key=server.key)
        with self.proxy.towards(server.url, self.environment):
            results = function(query, texts, top_k=top_n or len(texts))
        assert [r.text for r in results] == [texts[r.index] for r in results]
        return [Got(r.index, r.score) for r in results]
