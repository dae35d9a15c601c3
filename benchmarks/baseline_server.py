"""What one writes in an afternoon: FastAPI, tokenizers and ONNX Runtime, to compare the server with.

    python benchmarks/baseline_server.py GRAPH.onnx TOKENIZER.json --port 8090 --threads 2

Needs fastapi, uvicorn, onnxruntime. ``benchmarks/load.py --baseline`` makes the graph and starts it. Batches
of 32 in the caller's order, padded to their longest; one batch computes at a time, the others wait.
"""

from __future__ import annotations

import argparse
import threading
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Tokenizer

BATCH = 32
MAX_LENGTH = 8192


class Body(BaseModel):  # type: ignore[misc]  # mypy is told to look past pydantic
    """The request."""

    query: str
    documents: list[str]
    top_n: int | None = None


def make_app(graph: str, tokenizer_json: str, threads: int) -> FastAPI:
    """The application."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(tokenizer_json)
    tokenizer.enable_truncation(MAX_LENGTH, strategy="only_second")
    tokenizer.enable_padding()
    lock = threading.Lock()
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/rerank")
    def rerank(body: Body) -> dict[str, Any]:
        scores: list[float] = []
        for start in range(0, len(body.documents), BATCH):
            pairs = [(body.query, document) for document in body.documents[start : start + BATCH]]
            encoded = tokenizer.encode_batch(pairs)
            ids = np.array([each.ids for each in encoded], np.int64)
            real = np.array([each.attention_mask for each in encoded], np.float32)
            mask = ((real - 1) * 1e9)[:, None, None, :]
            positions = np.arange(ids.shape[1], dtype=np.float32)
            with lock:
                (logits,) = session.run(None, {"ids": ids, "mask": mask, "positions": positions})
            scores += (1 / (1 + np.exp(-logits))).tolist()
        order = sorted(range(len(scores)), key=lambda i: -scores[i])[: body.top_n]
        return {"results": [{"index": i, "relevance_score": scores[i]} for i in order]}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("graph")
    parser.add_argument("tokenizer")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    uvicorn.run(make_app(args.graph, args.tokenizer, args.threads), port=args.port, log_level="warning")
