"""Qdrant in local mode: vector search, then rerank. Needs: pip install qdrant-client."""

from __future__ import annotations

from pathlib import Path

from common import Collection, main
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, PointStruct, VectorParams


def search(collection: Collection, folder: Path, depth: int) -> dict[str, list[str]]:
    """The nearest documents of each query."""
    client = QdrantClient(path=str(folder))
    size = collection.vectors.shape[1]
    client.create_collection("texts", vectors_config=VectorParams(size=size, distance=Distance.COSINE))
    rows = zip(collection.ids, collection.vectors.tolist(), strict=True)
    points = [PointStruct(id=i, vector=vector, payload={"id": key}) for i, (key, vector) in enumerate(rows)]
    client.upsert("texts", points)
    found = {}
    for query, vector in collection.query_vectors.items():
        points = client.query_points("texts", query=vector.tolist(), limit=depth).points
        found[query] = [point.payload["id"] for point in points]
    client.close()
    return found


if __name__ == "__main__":
    raise SystemExit(main("Qdrant, vectors", search))
