"""SQLite: full text (FTS5) and vectors (sqlite-vec), fused by rank, then rerank.

Needs: pip install sqlite-vec. Some builds of Python cannot load extensions into SQLite; there,
pip install pysqlite3-binary, too.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import sqlite_vec
from common import Collection, main

FUSED = """
WITH by_words AS (
    SELECT rowid, row_number() OVER (ORDER BY rank) AS place
    FROM (SELECT rowid, rank FROM words WHERE words MATCH :words ORDER BY rank LIMIT :depth)
), by_vector AS (
    SELECT rowid, row_number() OVER (ORDER BY distance) AS place
    FROM (SELECT rowid, distance FROM vectors WHERE vector MATCH :vector AND k = :depth)
)
SELECT id FROM (SELECT * FROM by_words UNION ALL SELECT * FROM by_vector) AS listed
JOIN texts ON texts.rowid = listed.rowid
GROUP BY texts.rowid ORDER BY sum(1.0 / (60 + place)) DESC, texts.rowid LIMIT :depth
"""  # reciprocal rank fusion


def search(collection: Collection, folder: Path, depth: int) -> dict[str, list[str]]:
    """The documents that words and vectors agree on most."""
    database = connect(folder / "texts.sqlite")
    database.execute("CREATE TABLE texts (id TEXT)")
    database.execute("CREATE VIRTUAL TABLE words USING fts5(text, tokenize = 'porter')")
    database.execute("CREATE VIRTUAL TABLE vectors USING vec0(vector float[384])")
    rows = zip(collection.ids, collection.texts, collection.vectors, strict=True)
    for i, (key, text, vector) in enumerate(rows):
        database.execute("INSERT INTO texts (rowid, id) VALUES (?, ?)", (i, key))
        database.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (i, text))
        database.execute("INSERT INTO vectors (rowid, vector) VALUES (?, ?)", (i, vector.tobytes()))
    database.commit()
    found = {}
    for query, vector in collection.query_vectors.items():
        settings = {"words": any_word(collection.queries[query]), "vector": vector.tobytes(), "depth": depth}
        found[query] = [key for (key,) in database.execute(FUSED, settings)]
    database.close()
    return found


def any_word(query: str) -> str:
    """The query in FTS5's language: documents with any of its words, each quoted."""
    words = "".join(c if c.isalnum() else " " for c in query).split()
    return " OR ".join(f'"{word}"' for word in words) or '""'


def connect(path: Path) -> Any:  # noqa: ANN401 - of either module
    """A connection with sqlite-vec, on a SQLite that can load it."""
    module: Any = sqlite3
    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        import pysqlite3 as module  # type: ignore[no-redef]  # the same interface
    database = module.connect(path)
    database.enable_load_extension(True)
    sqlite_vec.load(database)
    return database


if __name__ == "__main__":
    raise SystemExit(main("SQLite, full text and vectors", search))
