"""rerankers: its Jina and text-embeddings-inference types."""

from __future__ import annotations

from typing import ClassVar

from contract import Contract, Got, Server


class _Reranker(Contract):
    package = "rerankers"
    limits = False
    reads_errors = False  # every refusal becomes a KeyError or TypeError of its own
    kind: ClassVar[str]
    path: ClassVar[str]

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        assert top_n is None
        from rerankers import Reranker

        reranker = Reranker(
            server.model, model_type=self.kind, api_key=server.key, url=server.url + self.path, verbose=0
        )
        answer = reranker.rank(query, list(texts))
        return [Got(int(hit.doc_id), hit.score) for hit in answer.results]


class TestJina(_Reranker):
    client = "rerankers (jina)"
    kind = "jina"
    path = "/v1/rerank"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        """By the name alone, as its users call it."""
        assert top_n is None
        from rerankers import Reranker

        reranker = Reranker(server.model, api_key=server.key, url=server.url + self.path, verbose=0)
        answer = reranker.rank(query, list(texts))
        return [Got(int(hit.doc_id), hit.score) for hit in answer.results]


class TestTEI(_Reranker):
    client = "rerankers (text-embeddings-inference)"
    kind = "text-embeddings-inference"
    path = "/rerank"
    named = False
