"""One function a framework, all of one form, so that the same claims can be made of every integration.

An adapter takes the settings of a reranker and gives a function from a query and documents to what came out.
A document of a test is a :class:`Doc`; its ``key`` travels through the framework as metadata.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Doc:
    """A document before it becomes a framework's own."""

    key: int
    text: str
    id: str = ""


@dataclass(frozen=True)
class Out:
    """What came back: the key, the score in 0..1, and the receipt where the framework can carry one."""

    key: int
    score: float
    receipt: dict[str, Any] | None = None


Rerank = Callable[[str, Sequence[Doc]], list[Out]]
Adapter = Callable[..., Rerank]


def llama_index(**settings: Any) -> Rerank:
    pytest.importorskip("llama_index.core", reason="LlamaIndex is not installed")
    from llama_index.core.schema import NodeWithScore, TextNode

    from tinyrerank.integrations.llama_index import TinyrerankPostprocessor

    processor = TinyrerankPostprocessor(**settings)

    def rerank(query: str, docs: Sequence[Doc]) -> list[Out]:
        nodes = [
            NodeWithScore(
                node=TextNode(
                    text=doc.text,
                    id_=doc.id or str(doc.key),
                    metadata={"key": doc.key},
                    excluded_embed_metadata_keys=["key"],
                ),
                score=0.5,
            )
            for doc in docs
        ]
        before = [node.to_json() for node in nodes]
        results = processor.postprocess_nodes(nodes, query_str=query)
        again = asyncio.run(processor.apostprocess_nodes(nodes, query_str=query))
        assert [r.to_json() for r in results] == [r.to_json() for r in again]
        assert before == [node.to_json() for node in nodes]
        return [Out(r.metadata["key"], float(r.score or 0), r.metadata["tinyrerank"]) for r in results]

    return rerank


def langchain(**settings: Any) -> Rerank:
    pytest.importorskip("langchain_core", reason="LangChain is not installed")
    from langchain_core.documents import Document

    from tinyrerank.integrations.langchain import TinyrerankCompressor

    compressor = TinyrerankCompressor(**settings)

    def rerank(query: str, docs: Sequence[Doc]) -> list[Out]:
        documents = [
            Document(page_content=doc.text, id=doc.id or str(doc.key), metadata={"key": doc.key})
            for doc in docs
        ]
        before = [document.model_dump() for document in documents]
        results = compressor.compress_documents(documents, query)
        assert results == asyncio.run(compressor.acompress_documents(documents, query))
        assert before == [document.model_dump() for document in documents]
        assert all(result.id == (docs[result.metadata["key"]].id or result.id) for result in results)
        return [
            Out(r.metadata["key"], r.metadata["relevance_score"], r.metadata["tinyrerank"]) for r in results
        ]

    return rerank


def haystack(**settings: Any) -> Rerank:
    pytest.importorskip("haystack", reason="Haystack is not installed")
    from haystack import Document

    from tinyrerank.integrations.haystack import TinyrerankRanker

    if "top_n" in settings:
        settings["top_k"] = settings.pop("top_n")
    ranker = TinyrerankRanker(**settings)

    def rerank(query: str, docs: Sequence[Doc]) -> list[Out]:
        documents = [
            Document(content=doc.text or None, id=doc.id or str(doc.key), meta={"key": doc.key}, score=0.5)
            for doc in docs
        ]
        before = [document.to_dict() for document in documents]
        results = ranker.run(query=query, documents=documents)
        assert results["documents"] == asyncio.run(ranker.run_async(query, documents))["documents"]
        assert before == [document.to_dict() for document in documents]
        assert results["meta"]["ranked"] == len(docs)
        return [Out(r.meta["key"], r.score, r.meta["tinyrerank"]) for r in results["documents"]]

    return rerank


def cross_encoder(**settings: Any) -> Rerank:
    from tinyrerank.integrations.cross_encoder import CrossEncoder

    top_k = settings.pop("top_n", None)
    encoder = CrossEncoder(settings.pop("model"), **settings)

    def rerank(query: str, docs: Sequence[Doc]) -> list[Out]:
        rows = encoder.rank(query, [doc.text for doc in docs], top_k=top_k, return_documents=True)
        assert all(row["text"] == docs[row["corpus_id"]].text for row in rows)
        scores = encoder.predict([(query, doc.text) for doc in docs])
        assert all(scores[row["corpus_id"]] == pytest.approx(row["score"], rel=1e-5) for row in rows)
        return [Out(docs[row["corpus_id"]].key, row["score"]) for row in rows]

    return rerank


ADAPTERS: dict[str, Adapter] = {
    "llama_index": llama_index,
    "langchain": langchain,
    "haystack": haystack,
    "cross_encoder": cross_encoder,
}
