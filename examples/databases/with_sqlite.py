"""SQLite: full text (FTS5's BM25), then the same fused with vectors (sqlite-vec) by rank; each reranked.

Needs: pip install sqlite-vec. Some builds of Python cannot load extensions into SQLite; there,
pip install pysqlite3-binary, too.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import sqlite_vec
from common import BOTH, WORDS, Collection, any_word, main

BY_WORDS = """
    SELECT rowid, row_number() OVER (ORDER BY rank) AS place
    FROM (SELECT rowid, rank FROM words WHERE words MATCH :words ORDER BY rank LIMIT :depth)
"""
NEAR = """
    SELECT rowid, row_number() OVER (ORDER BY distance) AS place
    FROM (SELECT rowid, distance FROM vectors WHERE vector MATCH :vector AND k = :depth)
"""
LISTED = """
    SELECT id FROM ({lists}) AS listed JOIN texts ON texts.rowid = listed.rowid
    GROUP BY texts.rowid ORDER BY sum(1.0 / (60 + place)) DESC, texts.rowid LIMIT :depth
"""  # reciprocal rank fusion; of one list: its own order


def search(collection: Collection, folder: Path, depth: int) -> dict[str, dict[str, list[str]]]:
    """The best by BM25, and those that words and vectors agree on most."""
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
    ways = {WORDS: BY_WORDS, BOTH: f"{BY_WORDS} UNION ALL {NEAR}"}
    found: dict[str, dict[str, list[str]]] = {way: {} for way in ways}
    for query, vector in collection.query_vectors.items():
        words = any_word(collection.queries[query], joined=" OR ", quote='"') or '""'
        asked = {"words": words, "vector": vector.tobytes(), "depth": depth}
        for way, lists in ways.items():
            ids = [key for (key,) in database.execute(LISTED.format(lists=lists), asked)]
            if ids:
                found[way][query] = ids
    database.close()
    return found


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
    raise SystemExit(main("SQLite", search))
