"""LanceDB: hybrid search (vectors and full text), reranked inside LanceDB.

Needs: pip install 'tinyrerank[lancedb]'. ``TinyrerankReranker`` goes into ``.rerank(...)`` of any LanceDB
search. To show the same candidates before and after, the first stage here is the hybrid list in the order of
LanceDB's own fusion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
from common import Collection, main
from lancedb.index import FTS
from lancedb.rerankers import RRFReranker

from tinyrerank import Reranker
from tinyrerank.integrations.lancedb import TinyrerankReranker

fused: dict[str, Any] = {}  # what each hybrid search found, for both stages


def search(collection: Collection, folder: Path, depth: int) -> dict[str, list[str]]:
    """Each query's hybrid list, half from vectors and half from words."""
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
        hybrid = table.search(query_type="hybrid").vector(vector).text(collection.queries[query])
        fused[query] = hybrid.limit(depth).rerank(RRFReranker()).to_arrow()
    return {query: rows["id"].to_pylist() for query, rows in fused.items()}


def rerank(collection: Collection, reranker: Reranker, _depth: int) -> dict[str, list[str]]:
    """The same rows through the LanceDB interface, as ``.rerank(TinyrerankReranker())`` calls it."""
    inside = TinyrerankReranker(reranker=reranker)
    return {
        query: inside.rerank_vector(collection.queries[query], rows.drop_columns(["_relevance_score"]))[
            "id"
        ].to_pylist()
        for query, rows in fused.items()
    }


if __name__ == "__main__":
    raise SystemExit(main("LanceDB, hybrid", search, rerank=rerank))
