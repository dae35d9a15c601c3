"""xinference_client: the REST handle of a rerank model."""

from __future__ import annotations

from contract import Contract, Got, Server


class TestRerankHandle(Contract):
    client = "xinference_client"
    package = "xinference-client"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        from xinference_client.client.restful.restful_client import RESTfulRerankModelHandle

        handle = RESTfulRerankModelHandle(server.model, server.url, {"Authorization": f"Bearer {server.key}"})
        answer = handle.rerank(list(texts), query, top_n=top_n)
        return [Got(hit["index"], hit["relevance_score"]) for hit in answer["results"]]
