"""litellm: seven providers; each sends another dialect."""

from __future__ import annotations

from typing import ClassVar

from contract import Case, Contract, Got, Server


class _Provider(Contract):
    package = "litellm"
    provider: ClassVar[str]
    prefix: ClassVar[str] = ""

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        import litellm

        litellm.suppress_debug_info = True
        answer = litellm.rerank(
            model=f"{self.provider}/{server.model}",
            query=query,
            documents=texts,
            top_n=top_n,
            api_key=server.key,
            api_base=server.url + self.prefix,
            max_retries=0,
        )
        return [Got(hit["index"], hit["relevance_score"]) for hit in answer.results]


class TestJinaAI(_Provider):
    client = "litellm jina_ai"
    provider = "jina_ai"


class TestHostedVllm(_Provider):
    client = "litellm hosted_vllm"
    provider = "hosted_vllm"
    prefix = "/vllm"


class TestInfinity(_Provider):
    client = "litellm infinity"
    provider = "infinity"
    prefix = "/infinity"


class TestCohere(_Provider):
    client = "litellm cohere"
    provider = "cohere"


class TestHuggingFace(_Provider):
    client = "litellm huggingface"
    provider = "huggingface"
    named = False

    def test_a_document_longer_than_the_model_reads(self, server: Server, cases: dict[str, Case]) -> None:
        """It always sends ``truncate: false``, so the server refuses, and says how to change that."""
        self.refused(server, cases["long"].query, cases["long"].texts, "truncat")


class TestVoyage(_Provider):
    client = "litellm voyage"
    provider = "voyage"
    prefix = "/voyage"


class TestLitellmProxy(_Provider):
    client = "litellm litellm_proxy"
    provider = "litellm_proxy"
