"""Haystack: a ranker component."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Self

from tinyrerank.errors import InputError, MissingFrameworkError
from tinyrerank.integrations.base import RECEIPT_KEY, LazyReranker, joined_text, receipt_of
from tinyrerank.types import Policy

try:
    from haystack import Document, component, default_from_dict, default_to_dict
except ImportError as error:
    raise MissingFrameworkError("Haystack", "haystack") from error

__all__ = ["TinyrerankRanker"]


@component
class TinyrerankRanker:
    """Orders documents by how well they answer the query.

    The documents returned are copies with our ``score`` (the sigmoid of the logit) and, in ``meta``,
    ``tinyrerank``: logit, place before, tokens read of how many, and the retriever's score. Documents that
    share an id are all kept.

    Args:
        model: None for the model in the package, a folder, or a hub name.
        top_k: documents to return; None for all.
        score_threshold: drop documents with a score (0..1) below this; None drops none.
        meta_fields_to_embed: ``meta`` entries read before the content, such as ``["title"]``.
        engine: name of the engine.
        max_length: tokens of a model input; None for the model's own limit.
        policy: what happens to longer documents: ``truncate``, ``window`` or ``refuse``.
        threads: threads of the engine.
        list_weight: of the place among the documents given, for a retriever's order; 0.3 suits BM25, 1
            retrievers that rank as well as the model or better, 0 leaves it out.
        likeness: of the likeness to the best documents (0.1 is a good start), 0 leaves it out.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        top_k: int | None = None,
        score_threshold: float | None = None,
        meta_fields_to_embed: list[str] | None = None,
        engine: str = "auto",
        max_length: int | None = None,
        policy: Policy = "truncate",
        threads: int | None = None,
        list_weight: float = 0.0,
        likeness: float = 0.0,
    ) -> None:
        self.model = model
        self.top_k = _checked(top_k)
        self.score_threshold = score_threshold
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self.engine = engine
        self.max_length = max_length
        self.policy = policy
        self.threads = threads
        self.list_weight = list_weight
        self.likeness = likeness
        self._lazy = LazyReranker(
            model,
            engine=engine,
            max_length=max_length,
            policy=policy,
            threads=threads,
            list_weight=list_weight,
            likeness=likeness,
        )

    def warm_up(self) -> None:
        """Open the model now; otherwise the first ``run`` does."""
        self._lazy.get()

    def to_dict(self) -> dict[str, Any]:
        """Every setting, for a stored pipeline."""
        stored: dict[str, Any] = default_to_dict(
            self,
            model=self.model,
            top_k=self.top_k,
            score_threshold=self.score_threshold,
            meta_fields_to_embed=self.meta_fields_to_embed,
            engine=self.engine,
            max_length=self.max_length,
            policy=self.policy,
            threads=self.threads,
            list_weight=self.list_weight,
            likeness=self.likeness,
        )
        return stored

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The component that ``to_dict`` stored."""
        restored: Self = default_from_dict(cls, data)
        return restored

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, Any]:
        """Rank documents; ``top_k`` and ``score_threshold`` stand in for the component's.

        Returns:
            ``documents``, best first, and ``meta``: the model, how many documents were ranked, how many were
            read in part only, and the model's tokens.
        """
        limit = self.top_k if top_k is None else _checked(top_k)
        least = self.score_threshold if score_threshold is None else score_threshold
        texts = [joined_text(each.content, each.meta, self.meta_fields_to_embed) for each in documents]
        ranking = self._lazy.rank(query, texts)
        hits = [hit for hit in ranking if least is None or hit.score >= least][:limit]
        ranked = []
        for hit in hits:
            found = documents[hit.index]
            receipt = {**receipt_of(hit), "retrieval_score": found.score}
            ranked.append(replace(found, score=hit.score, meta={**found.meta, RECEIPT_KEY: receipt}))
        meta = {
            "model": self.model or "tinyrerank",
            "ranked": ranking.n_documents,
            "truncated": sum(hit.receipt.truncated for hit in ranking),
            "tokens": ranking.timings.tokens,
        }
        return {"documents": ranked, "meta": meta}

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, Any]:
        """:meth:`run` in a thread, so that the event loop goes on."""
        result: dict[str, Any] = await asyncio.to_thread(self.run, query, documents, top_k, score_threshold)
        return result


def _checked(top_k: int | None) -> int | None:
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}; give a whole number from 1, or None for all")
    return top_k
