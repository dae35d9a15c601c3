"""Chroma: vector search, then rerank. Needs: pip install chromadb."""

from __future__ import annotations

from pathlib import Path

import chromadb
from chromadb.config import Settings
from common import VECTORS, Collection, main


def search(collection: Collection, folder: Path, depth: int) -> dict[str, dict[str, list[str]]]:
    """The nearest documents of each query."""
    client = chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
    texts = client.create_collection(
        "texts", embedding_function=None, configuration={"hnsw": {"space": "cosine", "ef_search": 4 * depth}}
    )
    for start in range(0, len(collection.ids), 1000):
        part = slice(start, start + 1000)
        texts.add(collection.ids[part], collection.vectors[part], documents=collection.texts[part])
    found = {}
    for query, vector in collection.query_vectors.items():
        found[query] = texts.query(vector, n_results=min(depth, len(collection.ids)))["ids"][0]
    return {VECTORS: found}


if __name__ == "__main__":
    raise SystemExit(main("Chroma", search))
