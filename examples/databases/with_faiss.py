"""FAISS: exact vector search, then rerank. Needs: pip install faiss-cpu."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
from common import VECTORS, Collection, main


def search(collection: Collection, folder: Path, depth: int) -> dict[str, dict[str, list[str]]]:
    """The nearest documents of each query."""
    index = faiss.IndexFlatIP(collection.vectors.shape[1])  # unit vectors: the inner product is the cosine
    index.add(collection.vectors)
    faiss.write_index(index, str(folder / "texts.faiss"))
    queries = np.stack(list(collection.query_vectors.values()))
    _, places = index.search(queries, min(depth, len(collection.ids)))
    rows = zip(collection.query_vectors, places, strict=True)
    return {VECTORS: {query: [collection.ids[i] for i in row] for query, row in rows}}


if __name__ == "__main__":
    raise SystemExit(main("FAISS", search))
