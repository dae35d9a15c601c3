"""Qdrant in local mode: full text (BM25 as sparse vectors) and vectors, then rerank.

Needs: pip install qdrant-client PyStemmer. Qdrant multiplies by the words' rarity (``Modifier.IDF``); the
sparse vectors below bring BM25's other factor.
"""

from __future__ import annotations

import zlib
from collections import Counter
from pathlib import Path

import Stemmer
from common import VECTORS, WORDS, Collection, main
from qdrant_client import QdrantClient
from qdrant_client.models import (
    Distance,
    Modifier,
    PointStruct,
    SparseVector,
    SparseVectorParams,
    VectorParams,
)

K1, B = 0.9, 0.4
stem = Stemmer.Stemmer("english").stemWord


def search(collection: Collection, folder: Path, depth: int) -> dict[str, dict[str, list[str]]]:
    """The best by BM25, and the nearest, of each query."""
    client = QdrantClient(path=str(folder))
    client.create_collection(
        "texts",
        vectors_config={"near": VectorParams(size=collection.vectors.shape[1], distance=Distance.COSINE)},
        sparse_vectors_config={"words": SparseVectorParams(modifier=Modifier.IDF)},
    )
    counts = [Counter(stemmed(text)) for text in collection.texts]
    usual = sum(count.total() for count in counts) / len(counts)
    rows = zip(collection.ids, collection.vectors.tolist(), counts, strict=True)
    points = [
        PointStruct(id=i, vector={"near": vector, "words": weighed(count, usual)}, payload={"id": key})
        for i, (key, vector, count) in enumerate(rows)
    ]
    client.upsert("texts", points)
    words, near = {}, {}
    for query, vector in collection.query_vectors.items():
        terms = sorted({number(word) for word in stemmed(collection.queries[query])})
        asked = SparseVector(indices=terms, values=[1.0] * len(terms))
        points = client.query_points("texts", query=asked, using="words", limit=depth).points
        words[query] = [point.payload["id"] for point in points]
        points = client.query_points("texts", query=vector.tolist(), using="near", limit=depth).points
        near[query] = [point.payload["id"] for point in points]
    client.close()
    return {WORDS: {query: ids for query, ids in words.items() if ids}, VECTORS: near}


def stemmed(text: str) -> list[str]:
    """The words of a text, reduced to their stems."""
    return [stem(word) for word in "".join(c if c.isalnum() else " " for c in text.lower()).split()]


def number(word: str) -> int:
    """Where a word stands in sparse vectors."""
    return zlib.crc32(word.encode())


def weighed(count: Counter[str], usual: float) -> SparseVector:
    """How much each word says of a text, by BM25: it saturates, and counts less in a long text."""
    base = K1 * (1 - B + B * count.total() / usual)
    weights = {number(word): n * (K1 + 1) / (n + base) for word, n in count.items()}
    return SparseVector(indices=list(weights), values=list(weights.values()))


if __name__ == "__main__":
    raise SystemExit(main("Qdrant", search))
