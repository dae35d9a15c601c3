"""Runs workers in turn and sums up what they measured."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinyrerank.bench.peers import Peer
from tinyrerank.bench.workload import Workload, make
from tinyrerank.errors import EngineError

Figures = dict[str, Any]
_TIMEOUT_S = 900
#: Other libraries free and take their buffers again at every call, and fresh memory is dear: glibc is told to
#: keep it, which makes them up to three times faster. Our engine keeps its buffers itself.
_KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
_COLD = """
import sys, time
from tinyrerank import Reranker
Reranker(sys.argv[1], threads=int(sys.argv[2])).rank("why are there tides?", ["The moon pulls on the sea."])
print(time.monotonic())
sys.exit("onnxruntime was imported" if "onnxruntime" in sys.modules else 0)
"""


@dataclass
class Bench:
    """Settings of a series of measurements.

    Attributes:
        model: the weights folder under test.
        work: where workloads and prepared models are kept.
        threads: threads for one call.
        rounds: processes for each engine; the engines take turns.
        seconds: time of a process, after its first call.
        max_calls: calls of a process at the most.
        seed: of the workloads.
        say: progress, a line at a time.
    """

    model: Path
    work: Path
    threads: int
    rounds: int = 3
    seconds: float = 2.0
    max_calls: int = 5000
    seed: int = 0
    say: Callable[[str], None] = field(default=lambda _: None)

    def compare(self, peers: Sequence[Peer], name: str, level: str) -> Figures:
        """Measure engines on one workload.

        Args:
            peers: what to measure; ratios are to the first one that works.
            name: the workload.
            level: ``engine``, token ids in and logits out, or ``end-to-end``, texts in and a ranking out.
        """
        path = self.work / f"workload-{name}-{self.seed}.npz"
        workload = make(name, self.model, seed=self.seed)
        workload.save(path)
        runs: dict[str, list[Figures]] = {}
        failed: dict[str, str] = {}
        for peer in peers:
            if peer.texts_only and level == "engine":
                failed[peer.name] = "takes texts only: measured end to end"
                continue
            try:
                self._worker(peer, path, "prepare", level)
                runs[peer.name] = []
            except EngineError as error:
                failed[peer.name] = str(error)
        for turn in range(self.rounds):
            for peer in [peer for peer in peers if peer.name in runs]:
                self.say(f"{name}, {level}, {self.threads} threads: round {turn + 1}, {peer.name}")
                try:
                    runs[peer.name].append(self._worker(peer, path, "measure", level))
                except EngineError as error:
                    failed[peer.name] = str(error)
                    del runs[peer.name]
        lengths = workload.lengths
        return {
            "workload": name,
            "level": level,
            "threads": self.threads,
            "documents": len(lengths),
            "tokens": int(lengths.sum()),
            "median_length": float(statistics.median(lengths.tolist())),
            "engines": _summaries(runs, workload),
            "not_measured": failed,
        }

    def cold_start(self, runs: int) -> Figures:
        """Milliseconds from the start of a Python process to its first score."""
        times = []
        for _ in range(runs):
            start = time.monotonic()
            command = [sys.executable, "-c", _COLD, str(self.model), str(self.threads)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own code
            if done.returncode:
                raise EngineError(f"the cold start failed: {done.stderr.strip()[-300:]}")
            times.append(1e3 * (float(done.stdout) - start))
        return {"median_ms": statistics.median(times), "best_ms": min(times), "runs": runs}

    def _worker(self, peer: Peer, workload: Path, task: str, level: str) -> Figures:
        job = {
            "task": task,
            "peer": peer.name,
            "level": level,
            "model": str(self.model),
            "work": str(self.work),
            "workload": str(workload),
            "threads": self.threads,
            "seconds": self.seconds,
            "max_calls": self.max_calls,
        }
        count = str(self.threads)
        threads = {"OMP_NUM_THREADS": count, "RAYON_NUM_THREADS": count, "OMP_WAIT_POLICY": "PASSIVE"}
        environment = {**os.environ, **threads, **({} if peer.ours else _KEEP_MEMORY)}
        command = [sys.executable, "-m", "tinyrerank.bench.worker", json.dumps(job)]
        try:
            done = subprocess.run(  # noqa: S603 - our own module
                command, capture_output=True, text=True, env=environment, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"{peer.name} took longer than {_TIMEOUT_S} s") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise EngineError(last.removeprefix("tinyrerank.errors."))
        result: Figures = json.loads(done.stdout.splitlines()[-1])
        return result


def _summaries(runs: dict[str, list[Figures]], workload: Workload) -> dict[str, Figures]:
    found = {name: _summary(results, workload) for name, results in runs.items() if results}
    if not found:
        return found
    first = next(iter(found.values()))
    exact = [f for name, f in found.items() if name.startswith("native:fp32")]
    median, reference = first["median_ms"], (exact or [first])[0].get("logits")
    for figures in found.values():
        figures["times_the_first"] = figures["median_ms"] / median
        logits = figures.pop("logits", None)
        if logits and reference:
            figures["agreement"] = agreement(logits, reference)
    return found


def _summary(runs: list[Figures], workload: Workload) -> Figures:
    times = sorted(t for run in runs for t in run["ms"])
    median = statistics.median(times)
    documents, tokens = len(workload.lengths), len(workload.ids)
    figures = {
        "median_ms": median,
        "best_ms": times[0],
        "p99_ms": times[min(len(times) - 1, int(0.99 * len(times)))],
        "cpu_ms": statistics.median(t for run in runs for t in run["cpu_ms"]),
        "documents_per_s": documents / median * 1e3,
        "tokens_per_s": tokens / median * 1e3,
        "load_ms": statistics.median(run["load_ms"] for run in runs),
        "first_ms": statistics.median(run["first_ms"] for run in runs),
        "peak_mb": max((run["peak_mb"] for run in runs if run["peak_mb"]), default=None),
        "calls": len(times),
        "processes": len(runs),
    }
    if "tokenize_ms" in runs[0]:
        figures["tokenize_ms"] = statistics.median(run["tokenize_ms"] for run in runs)
    if "logits" in runs[0]:
        figures["logits"] = runs[0]["logits"]
    return figures


def agreement(logits: Sequence[float], reference: Sequence[float]) -> Figures:
    """How far logits are from the reference (ours in fp32, or the first), and Kendall's tau of the orders."""
    n = len(reference)
    pairs = [(i, j) for i in range(n) for j in range(i)]
    order = [(logits[i] > logits[j]) - (logits[i] < logits[j]) for i, j in pairs]
    other = [(reference[i] > reference[j]) - (reference[i] < reference[j]) for i, j in pairs]
    tau = sum(a * b for a, b in zip(order, other, strict=True)) / len(pairs) if pairs else 1.0
    return {
        "largest_difference": max(abs(a - b) for a, b in zip(logits, reference, strict=True)),
        "kendall_tau": tau,
    }
