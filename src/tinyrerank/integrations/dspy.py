"""DSPy: a module that orders passages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from tinyrerank.errors import InputError, MissingFrameworkError
from tinyrerank.integrations.base import LazyReranker, receipt_of
from tinyrerank.reranker import Reranker
from tinyrerank.types import Policy

try:
    import dspy
except ImportError as error:
    raise MissingFrameworkError("DSPy", "dspy") from error

__all__ = ["TinyrerankModule"]


class TinyrerankModule(dspy.Module):
    """Orders passages by how well they answer the query; has no prompt and calls no language model.

    Args:
        top_n: passages to return; None for all.
        model: None for the model in the package, a folder, or a hub name.
        engine: name of the engine.
        max_length: tokens of a model input; None for the model's own limit.
        policy: what happens to longer passages: ``truncate``, ``window`` or ``refuse``.
        threads: threads of the engine.
        reranker: an open :class:`~tinyrerank.Reranker` to use; model, engine and so on are then not looked
            at.
        list_weight: of the place among the passages given, for a retriever's order; 0.3 suits BM25, 1
            retrievers that rank as well as the model or better, 0 leaves it out.
        likeness: of the likeness to the best passages (0.1 is a good start), 0 leaves it out.
    """

    def __init__(
        self,
        top_n: int | None = None,
        *,
        model: str | None = None,
        engine: str = "auto",
        max_length: int | None = None,
        policy: Policy = "truncate",
        threads: int | None = None,
        reranker: Reranker | None = None,
        list_weight: float = 0.0,
        likeness: float = 0.0,
    ) -> None:
        super().__init__()
        self.top_n = top_n
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

    def forward(self, query: str, passages: Sequence[Any], top_n: int | None = None) -> Any:  # noqa: ANN401 - a Prediction
        """Rank passages: strings, or mappings with ``long_text`` (as retrievers give them) or ``text``.

        Returns:
            A ``dspy.Prediction`` of ``passages`` (as they were given, best first), ``scores`` in 0..1,
            ``indices`` (places in the list given) and ``receipts``.
        """
        texts = [_text_of(passage, i) for i, passage in enumerate(passages)]
        hits = self._lazy.rank(query, texts, self.top_n if top_n is None else top_n).hits
        return dspy.Prediction(
            passages=[passages[hit.index] for hit in hits],
            scores=[hit.score for hit in hits],
            indices=[hit.index for hit in hits],
            receipts=[receipt_of(hit) for hit in hits],
        )

    async def aforward(self, query: str, passages: Sequence[Any], top_n: int | None = None) -> Any:  # noqa: ANN401 - a Prediction
        """:meth:`forward` in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.forward, query, passages, top_n)


def _text_of(passage: object, index: int) -> str:
    if isinstance(passage, str):
        return passage
    if isinstance(passage, Mapping):
        text = passage.get("long_text", passage.get("text"))
        if isinstance(text, str):
            return text
    raise InputError(
        f"passage {index} is of type {type(passage).__name__} and has no text; give a str, or a mapping with"
        " 'long_text' or 'text'"
    )
