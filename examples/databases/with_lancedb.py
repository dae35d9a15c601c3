"""LanceDB: full text (BM25), and hybrid search; both reranked inside LanceDB.

Needs: pip install '.[lancedb]'. ``TinyrerankReranker`` goes into ``.rerank(...)`` of any LanceDB
search. To show the same candidates before and after, the hybrid list is first that of LanceDB's own fusion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
from common import BOTH, WORDS, Collection, main
from lancedb.index import FTS
from lancedb.rerankers import RRFReranker

from tinyrerank import Reranker
from tinyrerank.integrations.lancedb import TinyrerankReranker

rows_of: dict[str, dict[str, Any]] = {WORDS: {}, BOTH: {}}  # what each search found, for both stages


def search(collection: Collection, folder: Path, depth: int) -> dict[str, dict[str, list[str]]]:
    """Each query's list by words, and the one of words and vectors."""
    columns = {
        "id": pa.array(collection.ids),
        "text": pa.array(collection.texts),
        "vector": pa.FixedSizeListArray.from_arrays(
            pa.array(collection.vectors.ravel()), collection.vectors.shape[1]
        ),
    }
    table = lancedb.connect(folder).create_table("texts", pa.table(columns))
    table.create_index("text", config=FTS(with_position=False))
    for query, vector in collection.query_vectors.items():
        text = collection.queries[query]
        rows_of[WORDS][query] = table.search(text, query_type="fts").limit(depth).to_arrow()
        hybrid = table.search(query_type="hybrid").vector(vector).text(text).limit(depth)
        rows_of[BOTH][query] = hybrid.rerank(RRFReranker()).to_arrow()
    return {
        way: {query: rows["id"].to_pylist() for query, rows in found.items() if len(rows)}
        for way, found in rows_of.items()
    }


def rerank(
    collection: Collection, reranker: Reranker, found: dict[str, dict[str, list[str]]]
) -> dict[str, dict[str, list[str]]]:
    """The same rows through the LanceDB interface, as ``.rerank(TinyrerankReranker())`` calls it."""
    inside = TinyrerankReranker(reranker=reranker)
    ranked: dict[str, dict[str, list[str]]] = {way: {} for way in found}
    for way, run in found.items():
        for query in run:
            text, rows = collection.queries[query], rows_of[way][query]
            if way == WORDS:
                rows = inside.rerank_fts(text, rows)
            else:
                rows = inside.rerank_vector(text, rows.drop_columns(["_relevance_score"]))
            ranked[way][query] = rows["id"].to_pylist()
    return ranked


if __name__ == "__main__":
    raise SystemExit(main("LanceDB", search, rerank=rerank))
