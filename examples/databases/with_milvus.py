"""Milvus Lite: full text (Milvus' own BM25) and vectors, then rerank.

Needs: pip install pymilvus milvus-lite.
"""

from __future__ import annotations

from pathlib import Path

from common import VECTORS, WORDS, Collection, main
from pymilvus import DataType, Function, FunctionType, MilvusClient


def search(collection: Collection, folder: Path, depth: int) -> dict[str, dict[str, list[str]]]:
    """The best by BM25, and the nearest, of each query."""
    client = MilvusClient(str(folder / "texts.db"))
    fill(client, collection)
    words, near = {}, {}
    for query, vector in collection.query_vectors.items():
        words[query] = keys(client, "words", collection.queries[query], depth)
        near[query] = keys(client, "vector", vector.tolist(), depth)
    client.close()
    return {WORDS: {query: ids for query, ids in words.items() if ids}, VECTORS: near}


def fill(client: MilvusClient, collection: Collection) -> None:
    """One collection: texts, their words as BM25 weighs them, and their vectors."""
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("key", DataType.VARCHAR, max_length=200)
    # a Milvus server also stems: analyzer_params={"type": "english"}
    schema.add_field("text", DataType.VARCHAR, max_length=60_000, enable_analyzer=True)
    schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=collection.vectors.shape[1])
    schema.add_function(
        Function(
            name="bm25",
            function_type=FunctionType.BM25,
            input_field_names=["text"],
            output_field_names=["words"],
        )
    )
    index = client.prepare_index_params()
    index.add_index("words", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    index.add_index("vector", index_type="FLAT", metric_type="COSINE")
    client.create_collection("texts", schema=schema, index_params=index)
    rows = zip(collection.ids, collection.texts, collection.vectors.tolist(), strict=True)
    data = [
        {"id": i, "key": key, "text": text[:15_000], "vector": vector}  # a field holds 60,000 bytes
        for i, (key, text, vector) in enumerate(rows)
    ]
    for start in range(0, len(data), 1000):
        client.insert("texts", data[start : start + 1000])
    client.flush("texts")  # builds the indexes; without it every search reads all rows
    client.load_collection("texts")


def keys(client: MilvusClient, field: str, asked: str | list[float], depth: int) -> list[str]:
    """The ids that a search in one field finds."""
    [hits] = client.search("texts", data=[asked], anns_field=field, limit=depth, output_fields=["key"])
    return [hit["entity"]["key"] for hit in hits]


if __name__ == "__main__":
    raise SystemExit(main("Milvus Lite", search))
