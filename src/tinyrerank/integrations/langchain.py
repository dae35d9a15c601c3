"""LangChain: a document compressor and a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinyrerank.errors import MissingFrameworkError
from tinyrerank.integrations.base import RECEIPT_KEY, LazyReranker, joined_text, receipt_of, settings_of
from tinyrerank.reranker import Reranker
from tinyrerank.types import Hit, Policy

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.cross_encoders import BaseCrossEncoder
    from langchain_core.documents import BaseDocumentCompressor, Document
    from pydantic import ConfigDict, Field, PrivateAttr
except ImportError as error:
    raise MissingFrameworkError("LangChain", "langchain") from error

__all__ = ["TinyrerankCompressor", "TinyrerankCrossEncoder"]


class TinyrerankCompressor(BaseDocumentCompressor):
    """Orders documents by how well they answer the query; for ``ContextualCompressionRetriever``.

    The documents returned are copies with two more metadata entries: ``relevance_score`` (the sigmoid of the
    logit) and ``tinyrerank`` (logit, place before, tokens read of how many). ``acompress_documents`` does the
    same in a thread.

    Args:
        top_n: documents to return; None for all.
        model: None for the model in the package, a folder, or a hub name.
        engine: name of the engine.
        max_length: tokens of a model input; None for the model's own limit.
        policy: what happens to longer documents: ``truncate``, ``window`` or ``refuse``.
        threads: threads of the engine.
        metadata_fields: metadata entries read before the text, such as ``["title"]``.
        reranker: an open :class:`~tinyrerank.Reranker` to use; model, engine, max_length and policy are then
            its own.
        list_weight: of the place among the documents given, for a retriever's order; 0.3 suits BM25, 1
            retrievers that rank as well as the model or better, 0 leaves it out.
        likeness: of the likeness to the best documents (0.1 is a good start), 0 leaves it out.
    """

    model_config = ConfigDict(extra="forbid")

    top_n: int | None = Field(default=None, ge=1)
    model: str | None = None
    engine: str = "auto"
    max_length: int | None = None
    policy: Policy = "truncate"
    threads: int | None = None
    metadata_fields: list[str] = Field(default_factory=list)
    list_weight: float = 0.0
    likeness: float = 0.0

    _lazy: LazyReranker = PrivateAttr()

    def __init__(self, *, reranker: Reranker | None = None, **fields: Any) -> None:  # noqa: ANN401 - pydantic checks them
        super().__init__(**fields | settings_of(reranker))
        self._lazy = LazyReranker(
            self.model,
            engine=self.engine,
            max_length=self.max_length,
            policy=self.policy,
            threads=self.threads,
            reranker=reranker,
            list_weight=self.list_weight,
            likeness=self.likeness,
        )

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks = None,  # noqa: ARG002 - of the interface; there is nothing to call back
    ) -> list[Document]:
        """The best ``top_n`` documents, best first."""
        texts = [joined_text(each.page_content, each.metadata, self.metadata_fields) for each in documents]
        ranking = self._lazy.rank(query, texts, self.top_n)
        return [_scored(documents[hit.index], hit) for hit in ranking]


class TinyrerankCrossEncoder(BaseCrossEncoder):
    """Scores pairs of texts; for ``CrossEncoderReranker`` and whatever else takes a ``BaseCrossEncoder``.

    Args:
        model: None for the model in the package, a folder, or a hub name.
        raw_scores: give logits; the default is their sigmoid, in 0..1.
        engine: name of the engine.
        max_length: tokens of a model input; None for the model's own limit.
        policy: what happens to longer pairs.
        threads: threads of the engine.
        reranker: an open :class:`~tinyrerank.Reranker` to use; model, engine and so on are then not looked
            at.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        raw_scores: bool = False,
        engine: str = "auto",
        max_length: int | None = None,
        policy: Policy = "truncate",
        threads: int | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self._raw = raw_scores
        self._lazy = LazyReranker(
            model, engine=engine, max_length=max_length, policy=policy, threads=threads, reranker=reranker
        )

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """One score a pair of (query, document), in the order given."""
        return self._lazy.score_pairs(text_pairs, raw=self._raw)


def _scored(document: Document, hit: Hit) -> Document:
    """A copy of a document with our score and receipt."""
    metadata = {**document.metadata, "relevance_score": hit.score, RECEIPT_KEY: receipt_of(hit)}
    return document.model_copy(update={"metadata": metadata})
