"""DuckDB: full text (BM25), then the same fused with vectors by rank; each reranked.

Needs: pip install duckdb. The full-text extension is fetched by DuckDB itself on first use; without a network
install it from PyPI:
``pip install duckdb==1.5.5 duckdb-extensions duckdb-extension-fts==1.5.5``.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
from common import BOTH, WORDS, Collection, main

BY_WORDS = """
    SELECT id, row_number() OVER (ORDER BY score DESC, place) AS rank
    FROM (SELECT id, place, fts_main_texts.match_bm25(id, $words, k := 0.9, b := 0.4) AS score FROM texts)
    WHERE score IS NOT NULL ORDER BY rank LIMIT $depth
"""
NEAR = """
    SELECT id, row_number() OVER (ORDER BY cosine DESC, place) AS rank
    FROM (SELECT id, place, array_cosine_similarity(vector, $vector::FLOAT[384]) AS cosine FROM texts)
    ORDER BY rank LIMIT $depth
"""
FUSED = """
    SELECT id FROM (({words}) UNION ALL ({near}))
    GROUP BY id ORDER BY sum(1 / (60 + rank)) DESC, id LIMIT $depth
"""  # reciprocal rank fusion


def search(collection: Collection, folder: Path, depth: int) -> dict[str, dict[str, list[str]]]:
    """The best by BM25, and those that words and vectors agree on most."""
    database = duckdb.connect(str(folder / "texts.duckdb"))
    load_full_text(database)
    database.execute(
        "CREATE TABLE texts (place INT, id VARCHAR PRIMARY KEY, text VARCHAR, vector FLOAT[384])"
    )
    rows = zip(range(len(collection.ids)), collection.ids, collection.texts, collection.vectors, strict=True)
    database.execute("BEGIN")
    database.executemany(
        "INSERT INTO texts VALUES (?, ?, ?, ?)",
        [(i, key, text, vector.tolist()) for i, key, text, vector in rows],
    )
    database.execute("COMMIT")
    database.execute("PRAGMA create_fts_index('texts', 'id', 'text', stemmer = 'porter')")
    fused = FUSED.format(words=BY_WORDS, near=NEAR)
    words, both = {}, {}
    for query, vector in collection.query_vectors.items():
        asked = {"words": collection.queries[query], "depth": depth}
        words[query] = [key for key, _ in database.execute(BY_WORDS, asked).fetchall()]
        asked["vector"] = vector.tolist()
        both[query] = [key for (key,) in database.execute(fused, asked).fetchall()]
    database.close()
    return {WORDS: {query: ids for query, ids in words.items() if ids}, BOTH: both}


def load_full_text(database: duckdb.DuckDBPyConnection) -> None:
    """Load the extension from the PyPI package, else as DuckDB does."""
    try:
        from duckdb_extensions import import_extension
    except ImportError:
        database.execute("INSTALL fts")
    else:
        import_extension("fts", con=database)
    database.execute("LOAD fts")


if __name__ == "__main__":
    raise SystemExit(main("DuckDB", search))
