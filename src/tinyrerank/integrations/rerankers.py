"""The ``rerankers`` library: a ranker of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinyrerank.errors import InputError, MissingFrameworkError
from tinyrerank.integrations.base import RECEIPT_KEY, LazyReranker, receipt_of
from tinyrerank.reranker import Reranker
from tinyrerank.types import Policy

try:
    from rerankers.documents import Document
    from rerankers.models.ranker import BaseRanker
    from rerankers.results import RankedResults, Result
except ImportError as error:
    raise MissingFrameworkError("rerankers", "rerankers") from error

__all__ = ["TinyrerankRanker"]


class TinyrerankRanker(BaseRanker):
    """Ranks with this engine; ``rank_async`` and ``as_langchain_compressor`` come from the base class.

    The documents in the results are copies whose metadata has ``tinyrerank``: logit, place before, tokens
    read of how many.

    Args:
        model_name_or_path: None for the model in the package, a folder, or a hub name.
        engine: name of the engine.
        max_length: tokens of a model input; None for the model's own limit.
        policy: what happens to longer documents: ``truncate``, ``window`` or ``refuse``.
        threads: threads of the engine.
        reranker: an open :class:`~tinyrerank.Reranker` to use; the settings above are then not looked at.
        list_weight: of the place among the documents given, for a retriever's order; 0.3 suits BM25, 1
            retrievers that rank as well as the model or better, 0 leaves it out.
        likeness: of the likeness to the best documents (0.1 is a good start), 0 leaves it out.
    """

    ranking_type = "pointwise"

    def __init__(
        self,
        model_name_or_path: str | None = None,
        *,
        engine: str = "auto",
        max_length: int | None = None,
        policy: Policy = "truncate",
        threads: int | None = None,
        reranker: Reranker | None = None,
        list_weight: float = 0.0,
        likeness: float = 0.0,
    ) -> None:
        self._lazy = LazyReranker(
            model_name_or_path,
            engine=engine,
            max_length=max_length,
            policy=policy,
            threads=threads,
            reranker=reranker,
            list_weight=list_weight,
            likeness=likeness,
        )

    def score(self, query: str, doc: str) -> float:
        """The sigmoid of the pair's logit, in 0..1."""
        return self._lazy.score_pairs([(query, doc)], raw=False)[0]

    def rank(
        self,
        query: str,
        docs: str | Any | Sequence[str | Any],  # noqa: ANN401 - strings or documents of the library
        doc_ids: Sequence[str | int] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> Any:  # noqa: ANN401 - RankedResults
        """All documents as ``RankedResults``, best first, scores in 0..1.

        Ids are those given, else the documents' own, else places in the list.
        """
        listed = [docs] if isinstance(docs, str | Document) else list(docs)
        for name, values in (("doc_ids", doc_ids), ("metadata", metadata)):
            if values is not None and len(values) != len(listed):
                raise InputError(
                    f"{name} has {len(values)} entries for {len(listed)} documents; give one each"
                )
        texts = [each if isinstance(each, str) else each.text or "" for each in listed]
        results = []
        for rank, hit in enumerate(self._lazy.rank(query, texts), start=1):
            given, i = listed[hit.index], hit.index
            own_id = None if isinstance(given, str) else given.doc_id
            own_metadata = {} if isinstance(given, str) else given.metadata
            document = Document(
                text=hit.text,
                doc_id=doc_ids[i] if doc_ids is not None else i if own_id is None else own_id,
                metadata={
                    **(metadata[i] if metadata is not None else own_metadata),
                    RECEIPT_KEY: receipt_of(hit),
                },
            )
            results.append(Result(document=document, score=hit.score, rank=rank))
        return RankedResults(results=results, query=query, has_scores=True)
