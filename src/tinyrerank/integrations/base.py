"""What the integrations share: a reranker that opens on first use, and receipts in plain types."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, ClassVar, Self, TypedDict
from weakref import WeakValueDictionary

from tinyrerank.fusion import check_weight, fuse_with_list
from tinyrerank.reranker import Reranker
from tinyrerank.types import Document, Hit, Policy, Ranking, sigmoid

#: The key under which metadata carries the :class:`ReceiptDict`.
RECEIPT_KEY = "tinyrerank"


class ReceiptDict(TypedDict):
    """A hit's numbers as JSON types; see :class:`~tinyrerank.types.Receipt` for the meaning."""

    index: int
    logit: float
    score: float
    tokens_read: int
    tokens_total: int
    truncated: bool
    windows: int
    span: list[int]


def receipt_of(hit: Hit) -> ReceiptDict:
    """The numbers of a hit: its place in the caller's list, logit, score, and what was read."""
    receipt = hit.receipt
    return {
        "index": hit.index,
        "logit": hit.logit,
        "score": hit.score,
        "tokens_read": receipt.tokens_read,
        "tokens_total": receipt.tokens_total,
        "truncated": receipt.truncated,
        "windows": receipt.windows,
        "span": list(receipt.span),
    }


class LazyReranker:
    """A reranker that opens when it is first needed, so that settings can be stored, copied and sent.

    Objects with equal settings share one open reranker for as long as any of them lives. Copies share it,
    too; a pickle carries the settings and opens its own.

    Args:
        model: as in :class:`~tinyrerank.Reranker`: None, a folder, or a hub name.
        engine: name of the engine.
        max_length: tokens of a model input; None for the model's own limit.
        policy: what happens to longer pairs.
        threads: threads of the engine.
        reranker: an open reranker to use instead; the settings above are then not looked at.
        list_weight: of the place in the list, as in :func:`~tinyrerank.fuse_with_list`; 0 leaves it out.
        likeness: of the likeness to the best documents, likewise.

    Raises:
        InputError: a weight is out of range.
    """

    _open: ClassVar[WeakValueDictionary[tuple[Any, ...], Reranker]] = WeakValueDictionary()
    _lock = threading.Lock()

    def __init__(
        self,
        model: str | None = None,
        *,
        engine: str = "auto",
        max_length: int | None = None,
        policy: Policy = "truncate",
        threads: int | None = None,
        reranker: Reranker | None = None,
        list_weight: float = 0.0,
        likeness: float = 0.0,
    ) -> None:
        check_weight("list", list_weight)
        check_weight("likeness", likeness)
        self._weights = (list_weight, likeness)
        self._settings = (model, engine, max_length, policy, threads)
        self._given = reranker
        self._reranker = reranker

    def get(self) -> Reranker:
        """The open reranker.

        Raises:
            ModelError, InputError, MissingExtraError: as :class:`~tinyrerank.Reranker` does.
        """
        if self._reranker is None:
            with self._lock:
                opened = self._open.get(self._settings)
                if opened is None:
                    model, engine, max_length, policy, threads = self._settings
                    opened = Reranker(
                        model, engine=engine, max_length=max_length, policy=policy, threads=threads
                    )
                    self._open[self._settings] = opened
                self._reranker = opened
        return self._reranker

    def rank(self, query: str, documents: Sequence[Document], top_n: int | None = None) -> Ranking:
        """:meth:`~tinyrerank.Reranker.rank`, joined with list and likeness where they have a weight.

        No documents make an empty ranking without opening the model.
        """
        if not documents:
            return Ranking(query, (), 0)
        if not any(self._weights):
            return self.get().rank(query, documents, top_n)
        list_weight, likeness = self._weights
        return fuse_with_list(self.get().rank(query, documents), list_weight, top_n, likeness=likeness)

    def score_pairs(self, pairs: Sequence[tuple[str, Document]], *, raw: bool) -> list[float]:
        """One number a pair, in the order given: the logit if ``raw``, else its sigmoid in 0..1."""
        if not pairs:
            return []
        logits = self.get().score_pairs(pairs).tolist()
        return logits if raw else [sigmoid(logit) for logit in logits]

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        settings = self._settings
        if self._given is not None:
            settings = (*settings_of(self._given).values(), self._settings[-1])
        return _reopen, (settings, self._weights)


def settings_of(reranker: Reranker | None) -> dict[str, Any]:
    """Fields that say how to open this reranker again; none where none is given."""
    if reranker is None:
        return {}
    return {
        "model": str(reranker.folder),
        "engine": reranker.engine.name,
        "max_length": reranker.max_length,
        "policy": reranker.policy,
    }


def _reopen(settings: tuple[Any, ...], weights: tuple[float, float]) -> LazyReranker:
    model, engine, max_length, policy, threads = settings
    list_weight, likeness = weights
    return LazyReranker(
        model,
        engine=engine,
        max_length=max_length,
        policy=policy,
        threads=threads,
        list_weight=list_weight,
        likeness=likeness,
    )


def joined_text(text: str | None, metadata: dict[str, Any], fields: tuple[str, ...] | list[str]) -> str:
    r"""The named metadata values, then the text, one a line; what is missing or empty is passed over.

    Example:
        >>> joined_text("The moon pulls.", {"title": "Tides", "page": 3}, ["title", "author"])
        'Tides\nThe moon pulls.'
    """
    values = [metadata.get(field) for field in fields]
    parts = [str(value) for value in values if value is not None and value != ""]
    return "\n".join([*parts, text] if text else parts)
