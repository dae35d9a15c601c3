"""A server whose queue is full: one request is in work and never ends, and nothing more may wait.

    python conformance/full_server.py PORT [--threads N]

Everything is the real server but for its engine, which stops for good once the server is ready.
"""

from __future__ import annotations

import argparse
import http.client
import json
import threading
import time

import numpy as np
import uvicorn
from numpy.typing import NDArray

from tinyrerank import Reranker
from tinyrerank.engine.base import Engine
from tinyrerank.serve.app import build_app
from tinyrerank.serve.models import DEFAULT_ALIASES, DEFAULT_NAME, Models, ServedModel
from tinyrerank.serve.service import Service
from tinyrerank.serve.settings import Settings


class StuckEngine:
    """An engine that works until it is told to stop, and then never returns."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.max_length = engine.name, engine.max_length
        self._engine = engine
        self.stuck = threading.Event()

    def score(self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Logits, or nothing ever."""
        if self.stuck.is_set():
            threading.Event().wait()
        return self._engine.score(ids, cu_seqlens)

    def close(self) -> None:
        """Close the engine inside."""
        self._engine.close()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    inner = Reranker(threads=args.threads)
    engine = StuckEngine(inner.engine)
    model = ServedModel(DEFAULT_NAME, Reranker(inner.folder, engine=engine), int(time.time()))
    settings = Settings(port=args.port, max_queue_tokens=1, sagemaker=True, drain_s=0.0)
    service = Service(settings, Models([model], [(alias, DEFAULT_NAME) for alias in DEFAULT_ALIASES]))
    threading.Thread(target=_fill, args=(args.port, engine), daemon=True).start()
    uvicorn.run(build_app(service), port=args.port, log_level="warning")


def _fill(port: int, engine: StuckEngine) -> None:
    """Send the request that never ends, as soon as the server answers."""
    while True:
        try:
            if _post(port, timeout_s=5.0) == 200:
                break
        except OSError:
            time.sleep(0.1)
    engine.stuck.set()
    while True:  # another request may be in the way at first
        _post(port, timeout_s=86_400.0, text="never answered")
        time.sleep(0.05)


def _post(port: int, *, timeout_s: float, text: str = "ready") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    body = json.dumps({"query": "is it ready?", "documents": [text]})
    connection.request("POST", "/v1/rerank", body, {"Content-Type": "application/json"})
    return connection.getresponse().status


if __name__ == "__main__":
    main()
