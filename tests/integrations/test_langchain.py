"""The LangChain classes inside LangChain."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("langchain_core", reason="LangChain is not installed")

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from tinyrerank import Reranker
from tinyrerank.integrations.langchain import TinyrerankCompressor, TinyrerankCrossEncoder

pytestmark = pytest.mark.filterwarnings("default")

TEXTS = ["yeast makes gas", "the moon pulls the sea", "the tide rises", "a reranker reads a query"]


class Everything(BaseRetriever):  # type: ignore[misc]  # untyped where the framework is absent
    """A retriever that finds all documents."""

    def _get_relevant_documents(self, _query: str, **_: object) -> list[Document]:
        return [Document(page_content=text) for text in TEXTS]


def test_a_compression_retriever_returns_the_reranked_documents(tiny_folder: Path) -> None:
    module = pytest.importorskip("langchain_classic.retrievers", reason="langchain-classic is not installed")
    retriever = module.ContextualCompressionRetriever(
        base_compressor=TinyrerankCompressor(model=str(tiny_folder), top_n=2), base_retriever=Everything()
    )
    with Reranker(str(tiny_folder)) as reranker:
        expected = [hit.text for hit in reranker.rank("tides", TEXTS, 2)]
    assert [document.page_content for document in retriever.invoke("tides")] == expected
    assert [document.page_content for document in asyncio.run(retriever.ainvoke("tides"))] == expected


def test_a_cross_encoder_reranker_takes_ours(tiny_folder: Path) -> None:
    name = "langchain_classic.retrievers.document_compressors"
    module = pytest.importorskip(name, reason="langchain-classic is not installed")
    compressor = module.CrossEncoderReranker(model=TinyrerankCrossEncoder(str(tiny_folder)), top_n=3)
    found = compressor.compress_documents([Document(page_content=text) for text in TEXTS], "tides")
    with Reranker(str(tiny_folder)) as reranker:
        assert [document.page_content for document in found] == [
            h.text for h in reranker.rank("tides", TEXTS, 3)
        ]


def test_cross_encoder_scores_keep_the_order_of_pairs_and_may_be_raw(tiny_folder: Path) -> None:
    pairs = [("tides", text) for text in TEXTS]
    with Reranker(str(tiny_folder)) as reranker:
        logits = reranker.score_pairs(pairs).tolist()
        raw = TinyrerankCrossEncoder(reranker=reranker, raw_scores=True)
        assert raw.score(pairs) == logits
        assert raw.score([]) == []
        scores = TinyrerankCrossEncoder(reranker=reranker).score(pairs)
    assert all(0 < score < 1 for score in scores)
    assert sorted(range(4), key=lambda i: scores[i]) == sorted(range(4), key=lambda i: logits[i])


def test_named_metadata_is_read_before_the_text(tiny_folder: Path) -> None:
    document = Document(page_content="", metadata={"title": "the tide rises", "page": 7})
    [plain] = TinyrerankCompressor(model=str(tiny_folder)).compress_documents([document], "tides")
    compressor = TinyrerankCompressor(model=str(tiny_folder), metadata_fields=["title", "absent"])
    [titled] = compressor.compress_documents([document], "tides")
    assert plain.metadata["tinyrerank"]["tokens_total"] == 0 < titled.metadata["tinyrerank"]["tokens_total"]
    assert titled.metadata["page"] == 7


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="top_k"):
        TinyrerankCompressor(top_k=3)
