"""Milvus Lite: vector search, then rerank. Needs: pip install pymilvus milvus-lite."""

from __future__ import annotations

from pathlib import Path

from common import Collection, main
from pymilvus import MilvusClient


def search(collection: Collection, folder: Path, depth: int) -> dict[str, list[str]]:
    """The nearest documents of each query."""
    client = MilvusClient(str(folder / "texts.db"))
    client.create_collection("texts", dimension=collection.vectors.shape[1], metric_type="COSINE")
    rows = zip(collection.ids, collection.vectors.tolist(), strict=True)
    data = [{"id": i, "vector": vector, "key": key} for i, (key, vector) in enumerate(rows)]
    for start in range(0, len(data), 1000):
        client.insert("texts", data[start : start + 1000])
    found = {}
    for query, vector in collection.query_vectors.items():
        [hits] = client.search("texts", data=[vector.tolist()], limit=depth, output_fields=["key"])
        found[query] = [hit["entity"]["key"] for hit in hits]
    client.close()
    return found


if __name__ == "__main__":
    raise SystemExit(main("Milvus Lite, vectors", search))
