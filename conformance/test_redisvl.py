"""redisvl: its Cohere and Voyage rerankers; documents are mappings without ``text``."""

from __future__ import annotations

import pytest
from contract import Contract, Got, Server


class TestCohereReranker(Contract):
    client = "redisvl CohereReranker"
    package = "redisvl"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        pytest.importorskip("cohere")
        from redisvl.utils.rerank import CohereReranker

        reranker = CohereReranker(
            model=server.model,
            rank_by=["content"],
            limit=top_n or len(texts),
            api_config={"api_key": server.key},
            base_url=server.url,
        )
        documents = [{"content": text, "i": str(i)} for i, text in enumerate(texts)]
        ranked, scores = reranker.rank(query, documents)
        return [Got(int(d["i"]), score) for d, score in zip(ranked, scores, strict=True)]


class TestVoyageAIReranker(Contract):
    client = "redisvl VoyageAIReranker"
    package = "redisvl"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        pytest.importorskip("voyageai")
        from redisvl.utils.rerank import VoyageAIReranker

        reranker = VoyageAIReranker(
            model=server.model,
            limit=top_n or len(texts),
            api_config={"api_key": server.key},
            base_url=f"{server.url}/voyage/v1",
        )
        documents = [{"content": text, "i": str(i)} for i, text in enumerate(texts)]
        ranked, scores = reranker.rank(query, documents)
        return [Got(int(d["i"]), score) for d, score in zip(ranked, scores, strict=True)]
