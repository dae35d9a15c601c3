"""redisvl: a reranker for the rows of a Redis search."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tinyrerank.errors import InputError, MissingFrameworkError
from tinyrerank.integrations.base import RECEIPT_KEY, LazyReranker, joined_text, receipt_of
from tinyrerank.reranker import Reranker
from tinyrerank.types import Policy

try:
    from pydantic import PrivateAttr
    from redisvl.utils.rerank.base import BaseReranker
except ImportError as error:
    raise MissingFrameworkError("redisvl", "redisvl") from error

__all__ = ["TinyrerankReranker"]

_ALL = sys.maxsize


class TinyrerankReranker(BaseReranker):
    """Orders search results by how well they answer the query.

    The rows returned are copies with one more key, ``tinyrerank``: logit, place before, tokens read of how
    many. A row without the field is scored as empty text, not dropped.

    Args:
        model: None for the model in the package, a folder, or a hub name.
        rank_by: fields that are read, in this order; None reads ``content``.
        limit: rows to return; all if not given.
        return_score: return the scores (0..1), too.
        engine: name of the engine.
        max_length: tokens of a model input; None for the model's own limit.
        policy: what happens to longer rows: ``truncate``, ``window`` or ``refuse``.
        threads: threads of the engine.
        reranker: an open :class:`~tinyrerank.Reranker` to use; model, engine and so on are then not looked
            at.
        list_weight: of the place among the rows given, for a retriever's order; 0.3 suits BM25, 1
            retrievers that rank as well as the model or better, 0 leaves it out.
        likeness: of the likeness to the best rows (0.1 is a good start), 0 leaves it out.
    """

    _lazy: LazyReranker = PrivateAttr()

    def __init__(
        self,
        model: str | None = None,
        *,
        rank_by: list[str] | None = None,
        limit: int = _ALL,
        return_score: bool = True,
        engine: str = "auto",
        max_length: int | None = None,
        policy: Policy = "truncate",
        threads: int | None = None,
        reranker: Reranker | None = None,
        list_weight: float = 0.0,
        likeness: float = 0.0,
    ) -> None:
        super().__init__(model=model or "tinyrerank", rank_by=rank_by, limit=limit, return_score=return_score)
        self._lazy = LazyReranker(
            model,
            engine=engine,
            max_length=max_length,
            policy=policy,
            threads=threads,
            reranker=reranker,
            list_weight=list_weight,
            likeness=likeness,
        )

    def rank(
        self,
        query: str,
        docs: Sequence[dict[str, Any]] | Sequence[str],
        *,
        limit: int | None = None,
        return_score: bool | None = None,
        rank_by: list[str] | None = None,
    ) -> tuple[list[dict[str, Any]], list[float]] | list[dict[str, Any]]:
        """Rows best first and, unless turned off, their scores; the keywords stand in for the reranker's.

        Strings come back as ``{"content": text}``.
        """
        limit = self.limit if limit is None else limit
        if limit < 1:
            raise InputError(f"limit is {limit}; give a whole number from 1")
        fields = rank_by or self.rank_by or ["content"]
        rows = [_row(doc, i) for i, doc in enumerate(docs)]
        texts = [joined_text(None, row, fields) for row in rows]
        hits = self._lazy.rank(query, texts, limit).hits
        ranked = [{**rows[hit.index], RECEIPT_KEY: receipt_of(hit)} for hit in hits]
        if self.return_score if return_score is None else return_score:
            return ranked, [hit.score for hit in hits]
        return ranked

    async def arank(
        self,
        query: str,
        docs: Sequence[dict[str, Any]] | Sequence[str],
        **settings: Any,  # noqa: ANN401 - the keywords of rank
    ) -> tuple[list[dict[str, Any]], list[float]] | list[dict[str, Any]]:
        """:meth:`rank` in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(lambda: self.rank(query, docs, **settings))


def _row(doc: object, index: int) -> dict[str, Any]:
    if isinstance(doc, str):
        return {"content": doc}
    if isinstance(doc, Mapping):
        return dict(doc)
    raise InputError(f"document {index} is of type {type(doc).__name__}; give a str or a dict")
