"""``tinyrerank bench``: how fast the engines are here, beside other libraries on the same weights."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tinyrerank import __version__

if TYPE_CHECKING:
    from tinyrerank.bench.runner import Bench

SCHEMA_VERSION = 1
_DESCRIPTION = """\
Measure speed and memory of engines on the same weights and the same seeded requests. Every engine runs in a
process of its own, and the engines take turns, so that a machine whose speed drifts treats them alike. Ratios
of medians count; absolute times belong to the machine and the minute."""

_EPILOG = """\
workloads:
  mix     one query, 100 documents of lognormal length, median about 150 tokens, 16,200 tokens in all
  NxL     N documents that make pairs of exactly L tokens, such as 1x64 or 4x8192

examples:
  tinyrerank bench                                            this machine, our engine in its three modes
  tinyrerank bench --against onnxruntime,openvino             beside other libraries (extra: bench)
  tinyrerank bench --workloads mix --end-to-end               from texts to a ranking
  tinyrerank bench --engines native:int8,native:int8@base     against random weights of 12 layers of 768

engines: native:int8|bf16|fp32, onnx:int8|fp32 (ours on ONNX Runtime), onnxruntime:int8|fp32|in-order,
openvino:bf16|int8|fp32|sdpa-bf16, torch:sdpa-bf16|sdpa-fp32|eager-bf16|eager-fp32|compile-bf16|hf,
cross-encoder:minilm-l6|minilm-l12; @minilm-l6, @minilm-l12 or @base takes random weights of that geometry.

"of limit" is the time that the request needs at the speed of the bare product instructions, measured in the
same run, divided by the time it took. Exit code 0 if every engine was measured."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``bench``."""
    parser = subparsers.add_parser(
        "bench",
        help="measure speed and memory on this machine, beside other libraries",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", metavar="M", help="model folder or hub name (default: the embedded)")
    add("--engines", metavar="LIST", help="ours to measure (default: the native one, each mode of this CPU)")
    add("--against", default="", metavar="LIST", help="others to measure, by library or library:variant")
    add("--workloads", default="mix,1x64", metavar="LIST", help="mix, NxL (default: mix,1x64)")
    add("--end-to-end", action="store_true", help="from texts to a ranking, not from token ids to logits")
    add(
        "--threads", type=int, metavar="N", help="threads of a call (default: all cores this process may use)"
    )
    add("--rounds", type=int, default=3, metavar="N", help="processes for each engine (default: 3)")
    add("--seconds", type=float, default=2.0, metavar="S", help="time of a process after its first call")
    add("--cold-start", type=int, default=0, metavar="N", help="also time N cold starts to the first score")
    add("--seed", type=int, default=0, help="of the workloads (default: 0)")
    add("--work", type=Path, metavar="DIR", help="keep prepared models here (default: a temporary folder)")
    add("--out", type=Path, metavar="FILE", help="write all figures here as JSON, and a plot beside it")
    add("--json", action="store_true", help="print the figures as JSON instead of the table")
    add("--quiet", action="store_true", help="no progress on standard error")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write the files."""
    from tinyrerank.bench.report import plot, table

    with tempfile.TemporaryDirectory(prefix="tinyrerank-bench-") as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        figures = _measure(args, work)
    print(json.dumps(figures, indent=1) if args.json else table(figures["runs"]))
    if not args.json and "cold_start" in figures:
        cold = figures["cold_start"]
        print(
            f"\ncold start to the first score: median {cold['median_ms']:.0f} ms,"
            f" best {cold['best_ms']:.0f} ms"
        )
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        plot(figures["runs"], args.out.with_suffix(".png"))
    return 0 if not any(run["not_measured"] for run in figures["runs"]) else 1


def _measure(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """All that was asked for, as one JSON object."""
    from tinyrerank.bench.peers import parse
    from tinyrerank.bench.runner import Bench
    from tinyrerank.engine import thread_count
    from tinyrerank.errors import InputError
    from tinyrerank.model.hub import resolve_model

    peers = parse(f"{_own_modes() if args.engines is None else args.engines},{args.against}")
    if not peers or args.rounds < 1 or args.seconds < 0:
        raise InputError("give at least one engine, one round and no negative seconds")
    bench = Bench(
        resolve_model(args.model),
        work,
        thread_count(args.threads),
        rounds=args.rounds,
        seconds=args.seconds,
        seed=args.seed,
        say=(lambda _: None) if args.quiet else (lambda line: print(line, file=sys.stderr)),
    )
    level = "end-to-end" if args.end_to_end else "engine"
    peak: dict[str, float] = {}
    runs = []
    for name in filter(None, args.workloads.split(",")):
        _raise_peak(peak, bench.threads)
        runs.append(bench.compare(peers, name, level))
    _raise_peak(peak, bench.threads)
    for found in runs:
        _add_fractions(found, bench, peak)
    figures: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "command": "bench",
        "machine": _machine(),
        "settings": {
            "threads": bench.threads,
            "rounds": bench.rounds,
            "seconds": bench.seconds,
            "seed": args.seed,
        },
        "peak_gops": {mode: ops / 1e9 for mode, ops in peak.items()},
        "runs": runs,
    }
    if args.cold_start:
        figures["cold_start"] = bench.cold_start(args.cold_start)
    return figures


def _own_modes() -> str:
    """Our native engine in every mode that this processor has products for."""
    peak: dict[str, float] = {}
    _raise_peak(peak, threads=1)
    return ",".join(f"native:{mode}" for mode in peak) or "native:int8"


def _raise_peak(peak: dict[str, float], threads: int) -> None:
    """Measure the bare product instructions, operations a second by type; the best of all tries counts."""
    from tinyrerank.errors import EngineError

    try:
        from tinyrerank.engine.native import peak_ops
    except ImportError:
        return
    modes: tuple[Literal["int8", "bf16", "fp32"], ...] = ("int8", "bf16", "fp32")
    for mode in modes:
        try:
            tries = [peak_ops(mode, threads=threads, seconds=0.1) for _ in range(4)]
        except EngineError:  # this processor has no such instruction
            continue
        peak[mode] = max(peak.get(mode, 0.0), *tries)


def _add_fractions(found: dict[str, Any], bench: Bench, peak: dict[str, float]) -> None:
    """Add ``fraction_of_limit`` to our engine's figures on token ids."""
    from tinyrerank.bench.roofline import operations
    from tinyrerank.bench.workload import Workload
    from tinyrerank.model.config import ModelConfig

    if found["level"] != "engine":
        return
    workload = Workload.load(bench.work / f"workload-{found['workload']}-{bench.seed}.npz")
    needed = operations(ModelConfig.from_folder(bench.model), workload)
    found["gflop"] = {
        "linear": needed.linear / 1e9,
        "attention": needed.attention / 1e9,
        "head": needed.head / 1e9,
    }
    for name, f in found["engines"].items():
        library, _, mode = name.partition(":")
        if library == "native" and mode in peak:
            f["fraction_of_limit"] = 1e3 * needed.seconds(peak, mode) / f["median_ms"]
            f["best_fraction_of_limit"] = 1e3 * needed.seconds(peak, mode) / f["best_ms"]


def _machine() -> dict[str, Any]:
    from tinyrerank.cli.doctor import cpu
    from tinyrerank.engine.threads import usable_cpus

    model, features = cpu()
    names = ("numpy", "tokenizers", "onnxruntime", "openvino", "nncf", "torch", "sentence-transformers")
    versions = {"tinyrerank": __version__, "python": platform.python_version()}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": model or platform.processor(),
        "features": list(features),
        "cores": usable_cpus(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
    }
