"""PostgreSQL: full text, then the same fused with vectors (pgvector) by rank; each reranked.

Needs: pip install 'psycopg[binary]'. The server is the one in ``DATABASE_URL``; a schema of our own is made
in it and dropped at the end. Without ``DATABASE_URL`` a server is started from the PyPI package ``pgserver``,
which brings pgvector. On a server without pgvector words alone find candidates.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import psycopg
from common import BOTH, WORDS, Collection, any_word, main
from numpy.typing import NDArray

BY_WORDS = """
SELECT id, row_number() OVER (ORDER BY ts_rank(words, query, 1) DESC, place) AS rank
FROM texts, to_tsquery('english', %(words)s) AS query WHERE words @@ query ORDER BY rank LIMIT %(depth)s
"""
NEAR = """
SELECT id, row_number() OVER (ORDER BY vector <=> %(vector)s::vector, place) AS rank
FROM texts ORDER BY rank LIMIT %(depth)s
"""
FUSED = """
SELECT id FROM ({lists}) AS listed GROUP BY id ORDER BY sum(1.0 / (60 + rank)) DESC, id LIMIT %(depth)s
"""  # reciprocal rank fusion; of one list: its own order


def search(collection: Collection, folder: Path, depth: int) -> dict[str, dict[str, list[str]]]:
    """The best by words, and those that words and vectors agree on most."""
    url = os.environ.get("DATABASE_URL")
    if url:
        return find(collection, url, depth)
    import pgserver

    server = pgserver.get_server(folder / "postgres", cleanup_mode="delete")
    try:
        return find(collection, server.get_uri(), depth)
    finally:
        server.cleanup()


def find(collection: Collection, url: str, depth: int) -> dict[str, dict[str, list[str]]]:
    """Fill a schema, ask it, drop it."""
    with psycopg.connect(url, autocommit=True) as database:
        row = database.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone()
        if row:
            database.execute("CREATE EXTENSION IF NOT EXISTS vector")
        database.execute("CREATE SCHEMA tinyrerank_example")
        try:
            database.execute("SET search_path TO tinyrerank_example, public")
            fill(database, collection, with_vectors=row is not None)
            ways = {WORDS: BY_WORDS} | ({BOTH: f"({BY_WORDS}) UNION ALL ({NEAR})"} if row else {})
            found: dict[str, dict[str, list[str]]] = {way: {} for way in ways}
            for query, vector in collection.query_vectors.items():
                words = any_word(collection.queries[query], joined=" | ") or "''"
                asked = {"words": words, "vector": text_of(vector), "depth": depth}
                for way, lists in ways.items():
                    ids = [key for (key,) in database.execute(FUSED.format(lists=lists), asked).fetchall()]
                    if ids:
                        found[way][query] = ids
        finally:
            database.execute("DROP SCHEMA tinyrerank_example CASCADE")
    return found


def fill(database: psycopg.Connection, collection: Collection, *, with_vectors: bool) -> None:
    """One table: texts, their words, and their vectors where pgvector is."""
    size = collection.vectors.shape[1]
    database.execute(
        "CREATE TABLE texts (place int, id text PRIMARY KEY, text text,"
        " words tsvector GENERATED ALWAYS AS (to_tsvector('english', text)) STORED"
        + (f", vector vector({size}))" if with_vectors else ")")
    )
    columns = "place, id, text" + (", vector" if with_vectors else "")
    with database.cursor().copy(f"COPY texts ({columns}) FROM STDIN") as copy:
        rows = zip(collection.ids, collection.texts, collection.vectors, strict=True)
        for i, (key, text, vector) in enumerate(rows):
            copy.write_row((i, key, text, text_of(vector)) if with_vectors else (i, key, text))
    database.execute("CREATE INDEX ON texts USING gin (words)")


def text_of(vector: NDArray[np.float32]) -> str:
    """A vector as pgvector reads it."""
    return "[" + ",".join(map(str, vector.tolist())) + "]"


if __name__ == "__main__":
    raise SystemExit(main("PostgreSQL", search))
