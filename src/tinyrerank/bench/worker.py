"""The process that measures one engine on one workload: ``python -m tinyrerank.bench.worker JSON``.

It prints one JSON object on its last line of output. A process of its own, so that peak memory and first-call
times are the engine's, and threads and allocator settings of one library do not touch another.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinyrerank.engine.memory import peak_mib


def main(argv: list[str]) -> None:
    """Prepare or measure, as the job says."""
    job = json.loads(argv[0])
    result = _prepare(job) if job["task"] == "prepare" else _measure(job)
    print(json.dumps(result))  # noqa: T201 - this is the answer


def _prepare(job: dict[str, Any]) -> dict[str, Any]:
    from tinyrerank.bench.peers import parse
    from tinyrerank.bench.workload import Workload

    (peer,) = parse(job["peer"])
    peer.prepare(Path(job["model"]), Path(job["work"]), lambda: Workload.load(Path(job["workload"])))
    return {}


def _measure(job: dict[str, Any]) -> dict[str, Any]:
    """Load, call once, then call for about ``seconds``, at least once and at most ``max_calls`` times."""
    from tinyrerank.bench.workload import Workload

    workload = Workload.load(Path(job["workload"]))
    start = time.perf_counter()
    call, finish = _caller(job, workload)
    load_ms = 1e3 * (time.perf_counter() - start)
    wall: list[float] = []
    cpu: list[float] = []
    end = float("inf")
    while time.perf_counter() < end or len(wall) < 2:
        start, cpu_start = time.perf_counter(), time.process_time()
        call()
        wall.append(1e3 * (time.perf_counter() - start))
        cpu.append(1e3 * (time.process_time() - cpu_start))
        if len(wall) == 1:  # the first call is reported on its own
            end = time.perf_counter() + job["seconds"]
        if len(wall) > job["max_calls"]:
            break
    result = {
        "load_ms": load_ms,
        "first_ms": wall[0],
        "ms": wall[1:],
        "cpu_ms": cpu[1:],
        "peak_mb": peak_mib(),
    }
    return result | finish()


def _caller(
    job: dict[str, Any],
    workload: Any,  # noqa: ANN401 - imported on use
) -> tuple[Callable[[], None], Callable[[], dict[str, Any]]]:
    """What to time, and what to add to the result afterwards."""
    from tinyrerank.bench.peers import parse

    (peer,) = parse(job["peer"])
    model, work, threads = Path(job["model"]), Path(job["work"]), job["threads"]
    if peer.texts_only:
        from tinyrerank.bench.peer_cross_encoder import CrossEncoderPeer

        encoder = CrossEncoderPeer(peer.artefact(model, work), threads=threads)
        return lambda: encoder.rank(workload), dict
    engine = peer.load(model, work, threads=threads)
    if job["level"] == "engine":
        logits: list[Any] = []

        def score() -> None:
            logits[:] = [engine.score(workload.ids, workload.cu_seqlens)]

        return score, lambda: {"logits": logits[0].astype(float).round(6).tolist()[:1000]}
    from tinyrerank import Reranker

    reranker = Reranker(peer.folder(model, work), engine=engine)
    tokenize_ms: list[float] = []

    def rank() -> None:
        tokenize_ms.append(reranker.rank(workload.query, workload.documents).timings.tokenize_ms)

    return rank, lambda: {"tokenize_ms": sorted(tokenize_ms)[len(tokenize_ms) // 2]}


if __name__ == "__main__":
    main(sys.argv[1:])
