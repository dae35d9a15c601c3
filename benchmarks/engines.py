"""Speed and memory of the engines on the same weights and the same token ids.

Each engine runs in a process of its own, and the engines take turns, so that a machine whose speed drifts
treats them alike. Ratios of medians count; absolute times belong to the machine and the minute.

    python benchmarks/engines.py MODEL --engines native:int8,native:bf16,onnx:int8 --workloads mix,1x64

A workload is ``mix`` (100 pairs, lognormal lengths, about 16,000 tokens) or ``NxL``, N pairs of L tokens.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIX_TOKENS = 16_200


def lengths(workload: str, rng: np.random.Generator) -> NDArray[np.int64]:
    """Tokens in each pair of a workload."""
    if workload != "mix":
        count, length = (int(n) for n in workload.split("x"))
        return np.full(count, length, dtype=np.int64)
    sizes = np.exp(rng.normal(np.log(148), 0.6, 100)).clip(16, 1024)
    scaled: NDArray[np.int64] = (sizes * MIX_TOKENS / sizes.sum()).astype(np.int64).clip(8)
    return scaled


def make(workload: str, vocab_size: int, seed: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Packed ids and bounds; ids repeat as words do (Zipf), in random order of ids."""
    rng = np.random.default_rng(seed)
    cu = np.concatenate([[0], np.cumsum(lengths(workload, rng))]).astype(np.int32)
    ranks = rng.zipf(1.15, int(cu[-1])) % (vocab_size - 5)
    return (rng.permutation(vocab_size - 5)[ranks] + 5).astype(np.int32), cu


def measure(engine: str, workload: str, args: argparse.Namespace) -> dict[str, Any]:
    """Load one engine in this process and time it for about ``args.seconds``, three calls at least."""
    from tinyrerank.engine import load_engine
    from tinyrerank.model.config import ModelConfig

    name, _, mode = engine.partition(":")
    ids, cu = make(workload, ModelConfig.from_folder(args.model).vocab_size, args.seed)
    start = time.perf_counter()
    loaded = load_engine(args.model, name, threads=args.threads, **({"mode": mode} if mode else {}))
    load_ms = (time.perf_counter() - start) * 1e3
    wall: list[float] = []
    cpu: list[float] = []
    end = time.perf_counter() + args.seconds
    while len(wall) < 4 or time.perf_counter() < end:  # the first call does not count below
        start, cpu_start = time.perf_counter(), time.process_time()
        loaded.score(ids, cu)
        wall.append((time.perf_counter() - start) * 1e3)
        cpu.append((time.process_time() - cpu_start) * 1e3)
    return {"load_ms": load_ms, "first_ms": wall[0], "ms": wall[1:], "cpu_ms": cpu[1:], "peak_mb": peak_mb()}


def peak_mb() -> float | None:
    """Largest resident memory of this process so far; None where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def summary(runs: list[dict[str, Any]], documents: int, tokens: int) -> dict[str, Any]:
    """Figures of one engine on one workload over all its processes."""
    times = sorted(t for run in runs for t in run["ms"])
    median = statistics.median(times)
    return {
        "median_ms": median,
        "best_ms": times[0],
        "p99_ms": times[min(len(times) - 1, int(0.99 * len(times)))],
        "median_cpu_ms": statistics.median(t for run in runs for t in run["cpu_ms"]),
        "documents_per_s": documents / median * 1e3,
        "tokens_per_s": tokens / median * 1e3,
        "load_ms": statistics.median(run["load_ms"] for run in runs),
        "first_ms": statistics.median(run["first_ms"] for run in runs),
        "peak_mb": max((run["peak_mb"] for run in runs if run["peak_mb"]), default=None),
        "calls": len(times),
    }


def spawn(engine: str, workload: str, args: argparse.Namespace) -> dict[str, Any]:
    """``measure`` in a fresh process."""
    command = [sys.executable, __file__, args.model, "--worker", engine, "--workloads", workload]
    command += ["--threads", str(args.threads), "--seconds", str(args.seconds), "--seed", str(args.seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own script
    if done.returncode:
        raise SystemExit(f"{engine} on {workload} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Compare engines, print a table, and write all figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a model folder")
    parser.add_argument("--engines", default="native:int8,native:bf16,native:fp32,onnx:int8,onnx:fp32,torch")
    parser.add_argument("--workloads", default="mix,1x64")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="processes for each engine and workload")
    parser.add_argument("--seconds", type=float, default=2.0, help="time of a process, three calls at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the figures here")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(measure(args.worker, args.workloads, args)))
        return
    figures: dict[str, dict[str, Any]] = {}
    for workload in args.workloads.split(","):
        runs: dict[str, list[dict[str, Any]]] = {engine: [] for engine in args.engines.split(",")}
        for _ in range(args.rounds):
            for engine, results in runs.items():
                results.append(spawn(engine, workload, args))
        sizes = lengths(workload, np.random.default_rng(args.seed))
        figures[workload] = {e: summary(found, len(sizes), int(sizes.sum())) for e, found in runs.items()}
        first = next(iter(figures[workload].values()))["median_ms"]
        print(f"{workload}: {len(sizes)} pairs, {sizes.sum()} tokens, {args.threads} threads")
        for engine, f in figures[workload].items():
            peak = f"{f['peak_mb']:.0f}" if f["peak_mb"] else "?"
            print(
                f"  {engine:12} median {f['median_ms']:9.2f} ms ({f['median_ms'] / first:5.2f}x)"
                f"  best {f['best_ms']:9.2f}  cpu {f['median_cpu_ms']:9.2f}  p99 {f['p99_ms']:9.2f}"
                f"  {f['documents_per_s']:8.1f} docs/s  {peak} MB"
            )
    if args.out:
        settings = {key: getattr(args, key) for key in ("threads", "rounds", "seconds", "seed")}
        machine = {"machine": platform.machine(), "python": platform.python_version()}
        args.out.write_text(
            json.dumps({"settings": settings, **machine, "figures": figures}, indent=2) + "\n", "utf-8"
        )


if __name__ == "__main__":
    main()
