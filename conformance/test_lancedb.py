"""LanceDB: the Jina reranker with its hard-coded host, and the Cohere one with its environment variable."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from connect_proxy import ConnectProxy
from contract import Case, Contract, Got, Server


def _table(texts: list[str]) -> Any:
    import pyarrow as pa

    n = len(texts)
    return pa.table({"text": texts, "i": list(range(n)), "_distance": pa.array([0.0] * n, type=pa.float32())})


def _got(table: Any) -> list[Got]:
    return [Got(row["i"], row["_relevance_score"]) for row in table.to_pylist()]


class TestJinaReranker(Contract):
    client = "LanceDB JinaReranker"
    package = "lancedb"

    @pytest.fixture(autouse=True)
    def _through(self, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proxy, self.environment = proxy, monkeypatch

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from lancedb.rerankers import JinaReranker

        reranker = JinaReranker(model_name=server.model, api_key=server.key, top_n=top_n)
        with self.proxy.towards(server.url, self.environment):
            return _got(reranker.rerank_vector(query, _table(texts)))

    def test_a_search_in_a_real_table_is_reranked(
        self, server: Server, cases: dict[str, Case], tmp_path: Path
    ) -> None:
        import lancedb
        from lancedb.rerankers import JinaReranker

        case = cases["basic"]
        rows = [{"vector": [float(i), 1.0], "text": text, "i": i} for i, text in enumerate(case.texts)]
        table = lancedb.connect(tmp_path).create_table("t", rows)
        reranker = JinaReranker(model_name=server.model, api_key=server.key)
        with self.proxy.towards(server.url, self.environment):
            found = table.search([0.0, 1.0]).limit(10).rerank(reranker, query_string=case.query).to_list()
        assert [row["i"] for row in found] == case.order()


class TestCohereReranker(Contract):
    client = "LanceDB CohereReranker"
    package = "lancedb"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from lancedb.rerankers import CohereReranker

        if os.environ.get("CO_API_URL") != server.url:  # read when cohere is imported; the runner sets it
            pytest.skip("this client knows one server a process: the one named before cohere is imported")
        reranker = CohereReranker(model_name=server.model, api_key=server.key, top_n=top_n)
        return _got(reranker.rerank_vector(query, _table(texts)))
