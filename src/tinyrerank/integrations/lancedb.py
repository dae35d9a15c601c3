"""LanceDB: a reranker for vector, full-text and hybrid search."""

from __future__ import annotations

from typing import Any

from tinyrerank.errors import InputError, MissingFrameworkError
from tinyrerank.fusion import reciprocal_rank_fusion
from tinyrerank.integrations.base import LazyReranker
from tinyrerank.reranker import Reranker
from tinyrerank.types import Policy

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    from lancedb.rerankers import Reranker as LanceReranker
except ImportError as error:
    raise MissingFrameworkError("LanceDB", "lancedb") from error

__all__ = ["TinyrerankReranker"]


class TinyrerankReranker(LanceReranker):
    """Orders the rows of a search by how well a text column answers the query.

    The result has all rows and columns of the search plus ``_relevance_score``, the float32 sigmoid of the
    logit. ``return_score="all"`` keeps ``_distance`` and ``_score`` and adds ``_logit``, ``_tokens_read`` and
    ``_tokens_total``.

    Args:
        model: None for the model in the package, a folder, or a hub name.
        column: the text column; null counts as empty text.
        top_n: rows to return; None for all.
        return_score: ``relevance`` or ``all``.
        engine: name of the engine.
        max_length: tokens of a model input; None for the model's own limit.
        policy: what happens to longer texts: ``truncate``, ``window`` or ``refuse``.
        threads: threads of the engine.
        reranker: an open :class:`~tinyrerank.Reranker` to use; model, engine and so on are then not looked
            at.
        list_weight: of the place among the rows given, for a retriever's order; 0.3 suits BM25, 1
            retrievers that rank as well as the model or better, 0 leaves it out.
        likeness: of the likeness to the best rows (0.1 is a good start), 0 leaves it out.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        column: str = "text",
        top_n: int | None = None,
        return_score: str = "relevance",
        engine: str = "auto",
        max_length: int | None = None,
        policy: Policy = "truncate",
        threads: int | None = None,
        reranker: Reranker | None = None,
        list_weight: float = 0.0,
        likeness: float = 0.0,
    ) -> None:
        super().__init__(return_score)
        self.column = column
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

    def rerank_vector(self, query: str, vector_results: Any) -> Any:  # noqa: ANN401 - Arrow tables
        """Rerank what a vector search found; the search needs ``query_string`` in its ``rerank``."""
        return self._ranked(query, vector_results)

    def rerank_fts(self, query: Any, fts_results: Any) -> Any:  # noqa: ANN401 - a string or LanceDB's query
        """Rerank what a full-text search found."""
        return self._ranked(query, fts_results)

    def rerank_hybrid(self, query: Any, vector_results: Any, fts_results: Any) -> Any:  # noqa: ANN401 - same
        """Rerank what either search found; a row that both found counts once."""
        return self._ranked(query, _merged(self, vector_results, fts_results))

    def _ranked(self, query: Any, table: Any) -> Any:  # noqa: ANN401 - Arrow tables
        if self.column not in table.column_names:
            raise InputError(
                f"the search result has no column {self.column!r}; it has {', '.join(table.column_names)}:"
                " select it, or name another with column="
            )
        texts = [text or "" for text in table[self.column].to_pylist()]
        hits = self._lazy.rank(_query_text(query), texts, self.top_n).hits
        ranked = table.take(pa.array([hit.index for hit in hits], type=pa.int64()))
        if self.score == "all":
            read = [hit.receipt.tokens_read for hit in hits]
            total = [hit.receipt.tokens_total for hit in hits]
            ranked = ranked.append_column("_logit", pa.array([hit.logit for hit in hits], type=pa.float32()))
            ranked = ranked.append_column("_tokens_read", pa.array(read, type=pa.int32()))
            ranked = ranked.append_column("_tokens_total", pa.array(total, type=pa.int32()))
        else:
            ranked = ranked.drop_columns(
                [name for name in ("_distance", "_score") if name in ranked.column_names]
            )
        scores = pa.array([hit.score for hit in hits], type=pa.float32())
        return ranked.append_column("_relevance_score", scores)


def _merged(reranker: TinyrerankReranker, vector_results: Any, fts_results: Any) -> Any:  # noqa: ANN401 - Arrow tables
    """The rows of both searches, each once, with the distance and the score that it has, fused."""
    if fts_results.num_rows == 0 or vector_results.num_rows == 0:
        return vector_results if fts_results.num_rows == 0 else fts_results
    merged = reranker.merge_results(vector_results, fts_results)
    order = reciprocal_rank_fusion([found["_rowid"].to_pylist() for found in (vector_results, fts_results)])
    place_of = {row: place for place, row in enumerate(merged["_rowid"].to_pylist())}
    merged = merged.take(pa.array([place_of[row] for row in order], type=pa.int64()))
    if "_score" in fts_results.column_names:
        places = pc.index_in(merged["_rowid"], value_set=fts_results["_rowid"].combine_chunks())
        scores = fts_results["_score"].combine_chunks().take(places.combine_chunks())
        merged = merged.set_column(merged.column_names.index("_score"), "_score", scores)
    return merged


def _query_text(query: Any) -> str:  # noqa: ANN401 - a string or a query object of LanceDB
    text = query if isinstance(query, str) else getattr(query, "query", None)
    if not isinstance(text, str):
        raise InputError(
            f"the reranker got a query of type {type(query).__name__}; give the text, as in"
            " .rerank(reranker, query_string='...') after a vector search"
        )
    return text
