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
    """What came back: the key, the score in 0..1, and the receipt where the framework can carry one.

    A receipt may lack the logit, where answers are for readers who need none (MCP).
    """

    key: int
    score: float
    receipt: dict[str, Any] | None = None


#: How many of a thousand documents are also looked at in full, which costs more than ranking them.
FEW = 20

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
        few = nodes[:FEW]
        before = [node.to_json() for node in few]
        results = processor.postprocess_nodes(nodes, query_str=query)
        again = asyncio.run(processor.apostprocess_nodes(nodes, query_str=query))
        assert [r.to_json() for r in results[:FEW]] == [r.to_json() for r in again[:FEW]]
        assert before == [node.to_json() for node in few]
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


def langchain_cross_encoder(**settings: Any) -> Rerank:
    pytest.importorskip("langchain_core", reason="LangChain is not installed")
    from tinyrerank.integrations.langchain import TinyrerankCrossEncoder

    top_n = settings.pop("top_n", None)
    encoder = TinyrerankCrossEncoder(settings.pop("model"), **settings)

    def rerank(query: str, docs: Sequence[Doc]) -> list[Out]:
        scores = encoder.score([(query, doc.text) for doc in docs])
        assert len(scores) == len(docs)
        assert {type(score) for score in scores} <= {float}
        order = sorted(range(len(docs)), key=lambda i: -scores[i])[:top_n]
        return [Out(docs[i].key, scores[i]) for i in order]

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


def lancedb(**settings: Any) -> Rerank:
    """A vector search."""
    return _lancedb(lambda reranker, query, table: reranker.rerank_vector(query, table), settings)


def lancedb_words(**settings: Any) -> Rerank:
    """A full-text search."""
    return _lancedb(lambda reranker, query, table: reranker.rerank_fts(query, table), settings)


def lancedb_hybrid(**settings: Any) -> Rerank:
    """A hybrid search: the vectors find the first two thirds of the documents, the words the last two."""

    def both(reranker: Any, query: str, table: Any) -> Any:
        third = len(table) // 3
        near = table.slice(0, len(table) - third)
        words = table.slice(third).rename_columns(
            ["_score" if n == "_distance" else n for n in table.column_names]
        )
        return reranker.rerank_hybrid(query, near, words)

    return _lancedb(both, settings)


def _lancedb(search: Callable[[Any, str, Any], Any], settings: dict[str, Any]) -> Rerank:
    pytest.importorskip("lancedb", reason="LanceDB is not installed")
    import pyarrow as pa

    from tinyrerank.integrations.lancedb import TinyrerankReranker

    reranker = TinyrerankReranker(return_score="all", **settings)

    def rerank(query: str, docs: Sequence[Doc]) -> list[Out]:
        columns = {
            "text": pa.array([doc.text or None for doc in docs], type=pa.string()),
            "key": pa.array([doc.key for doc in docs], type=pa.int64()),
            "_distance": pa.array([0.5] * len(docs), type=pa.float32()),
            "_rowid": pa.array(range(len(docs)), type=pa.uint64()),
        }
        rows = search(reranker, query, pa.table(columns)).to_pylist()
        return [
            Out(
                row["key"],
                row["_relevance_score"],
                {
                    "index": row["_rowid"],
                    "logit": row["_logit"],
                    "tokens_read": row["_tokens_read"],
                    "tokens_total": row["_tokens_total"],
                    "truncated": row["_tokens_read"] < row["_tokens_total"],
                },
            )
            for row in rows
        ]

    return rerank


def dspy(**settings: Any) -> Rerank:
    pytest.importorskip("dspy", reason="DSPy is not installed")
    from tinyrerank.integrations.dspy import TinyrerankModule

    module = TinyrerankModule(**settings)

    def rerank(query: str, docs: Sequence[Doc]) -> list[Out]:
        passages = [{"long_text": doc.text, "key": doc.key} for doc in docs]
        found = module(query=query, passages=passages)
        again = asyncio.run(module.acall(query=query, passages=passages))
        assert found.passages == again.passages
        assert [passages[i] for i in found.indices] == found.passages
        return [
            Out(passage["key"], score, receipt)
            for passage, score, receipt in zip(found.passages, found.scores, found.receipts, strict=True)
        ]

    return rerank


def fastembed(**settings: Any) -> Rerank:
    pytest.importorskip("fastembed", reason="fastembed is not installed")
    from tinyrerank.integrations.fastembed import TinyrerankTextCrossEncoder
    from tinyrerank.types import sigmoid

    top_n = settings.pop("top_n", None)
    encoder = TinyrerankTextCrossEncoder(settings.pop("model"), **settings)

    def rerank(query: str, docs: Sequence[Doc]) -> list[Out]:
        logits = list(encoder.rerank(query, [doc.text for doc in docs]))
        assert logits == pytest.approx(list(encoder.rerank_pairs([(query, doc.text) for doc in docs])))
        order = sorted(range(len(docs)), key=lambda i: -logits[i])[:top_n]
        return [Out(docs[i].key, sigmoid(logits[i])) for i in order]

    return rerank


def rerankers(**settings: Any) -> Rerank:
    pytest.importorskip("rerankers", reason="rerankers is not installed")
    from rerankers.documents import Document

    from tinyrerank.integrations.rerankers import TinyrerankRanker

    top_n = settings.pop("top_n", None)
    ranker = TinyrerankRanker(settings.pop("model"), **settings)

    def rerank(query: str, docs: Sequence[Doc]) -> list[Out]:
        documents = [
            Document(text=doc.text, doc_id=doc.id or doc.key, metadata={"key": doc.key}) for doc in docs
        ]
        found = ranker.rank(query, documents)
        again = asyncio.run(ranker.rank_async(query, documents))
        assert [result.score for result in found] == [result.score for result in again]
        assert all(document.metadata.keys() == {"key"} for document in documents)
        results = found.results if top_n is None else found.top_k(top_n)
        return [Out(r.document.metadata["key"], r.score, r.document.metadata["tinyrerank"]) for r in results]

    return rerank


def redisvl(**settings: Any) -> Rerank:
    pytest.importorskip("redisvl", reason="redisvl is not installed")
    from tinyrerank.integrations.redisvl import TinyrerankReranker

    if "top_n" in settings:
        settings["limit"] = settings.pop("top_n")
    reranker = TinyrerankReranker(**settings)

    def rerank(query: str, docs: Sequence[Doc]) -> list[Out]:
        rows = [{"content": doc.text, "key": doc.key} if doc.text else {"key": doc.key} for doc in docs]
        found = reranker.rank(query, rows)
        assert found == asyncio.run(reranker.arank(query, rows))
        assert all("tinyrerank" not in row for row in rows)
        return [Out(row["key"], score, row["tinyrerank"]) for row, score in zip(*found, strict=True)]

    return rerank


def mcp(**settings: Any) -> Rerank:
    pytest.importorskip("mcp.server.mcpserver", reason="MCP 2 is not installed")
    from mcp import Client

    from tinyrerank.integrations.mcp import build_server

    top_n = settings.pop("top_n", None)
    server = build_server(settings.pop("model"), **settings)

    async def call(arguments: dict[str, Any]) -> Any:
        async with Client(server) as client:
            result = await client.call_tool("rerank", arguments)
            assert not result.is_error
            return result.structured_content

    def rerank(query: str, docs: Sequence[Doc]) -> list[Out]:
        arguments = {"query": query, "documents": [doc.text for doc in docs], "top_n": top_n}
        found = asyncio.run(call(arguments))
        assert found["n_documents"] == len(docs)
        return [Out(docs[row["index"]].key, row["score"], row) for row in found["results"]]

    return rerank


ADAPTERS: dict[str, Adapter] = {
    "llama_index": llama_index,
    "langchain": langchain,
    "langchain_cross_encoder": langchain_cross_encoder,
    "haystack": haystack,
    "cross_encoder": cross_encoder,
    "lancedb": lancedb,
    "lancedb_words": lancedb_words,
    "lancedb_hybrid": lancedb_hybrid,
    "dspy": dspy,
    "fastembed": fastembed,
    "rerankers": rerankers,
    "redisvl": redisvl,
    "mcp": mcp,
}
