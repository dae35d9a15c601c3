"""The vendor's SDK, both client generations, in every environment that has it."""

from __future__ import annotations

from contract import Case, Contract, Got, Server


class TestClient(Contract):
    client = "cohere.Client (v1)"
    package = "cohere"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        import cohere

        client = cohere.Client(server.key, base_url=server.url)
        answer = client.rerank(query=query, documents=list(texts), model=server.model, top_n=top_n)
        return [Got(hit.index, hit.relevance_score) for hit in answer.results]

    def test_rank_fields_choose_what_is_scored(self, server: Server, cases: dict[str, Case]) -> None:
        import cohere

        case = cases["basic"]
        answer = cohere.Client(server.key, base_url=server.url).rerank(
            query=case.query,
            documents=[{"title": "not this", "body": text} for text in case.texts],
            rank_fields=["body"],
            model=server.model,
            return_documents=True,
        )
        assert [hit.index for hit in answer.results] == case.order()
        assert all(hit.document is not None for hit in answer.results)

    def test_documents_come_back_only_when_asked_for(self, server: Server, cases: dict[str, Case]) -> None:
        """On its own prefix: on the shared path nothing tells it from a Jina body, which wants them."""
        import cohere

        case = cases["basic"]
        client = cohere.Client(server.key, base_url=f"{server.url}/cohere")
        answer = client.rerank(query=case.query, documents=list(case.texts), model=server.model)
        assert all(hit.document is None for hit in answer.results)
        answer = client.rerank(
            query=case.query, documents=list(case.texts), model=server.model, return_documents=True
        )
        assert [hit.document.text for hit in answer.results if hit.document] == [
            case.texts[i] for i in case.order()
        ]


class TestClientV2(Contract):
    client = "cohere.ClientV2"
    package = "cohere"

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        import cohere

        client = cohere.ClientV2(server.key, base_url=server.url)
        answer = client.rerank(query=query, documents=list(texts), model=server.model, top_n=top_n)
        return [Got(hit.index, hit.relevance_score) for hit in answer.results]
