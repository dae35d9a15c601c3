"""What int8 and bf16 cost: NDCG@10 and order of the lists against float32, with the same weights and engine.

    python benchmarks/precision.py SET… [--model FOLDER] [--float-model FOLDER] [--queries 50]
    … --modes fp32 int8        on a CPU without bf16

Every list (top 100 as given) is scored by the native engine in each mode. ``--float-model`` names the
un-quantized form of the weights; without it all modes use ``--model``: float weights are rounded when loaded,
but int8 weights computed in float32 leave out what rounding them costs. Kendall's tau-b compares whole lists,
query by query. Scores are kept below ``--work``; ``results.json`` and ``report.md`` go to ``--out``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyrerank import Reranker
from tinyrerank.engine import load_engine
from tinyrerank.evaluate.first_stage import Task, load_task
from tinyrerank.evaluate.metrics import measure
from tinyrerank.evaluate.significance import randomization_test
from tinyrerank.model.config import ModelConfig
from tinyrerank.model.hub import resolve_model
from tinyrerank.train.manifest import sha256, surroundings

ROOT = Path(__file__).resolve().parents[1]
METRIC = "NDCG@10"
MODES = ("fp32", "bf16", "int8")
Scores = dict[str, list[float]]


def score(task: Task, queries: list[str], model: Path, mode: str, args: argparse.Namespace) -> Scores:
    """Logits of every list, by query; kept in a file."""
    keep: Path = (
        args.work / f"{task.name}.{mode}.{args.max_length}.{sha256(model / 'model.safetensors')[:12]}.json"
    )
    kept: Scores = json.loads(keep.read_text()) if keep.exists() else {}
    engine = load_engine(model, "native", threads=args.threads, mode=mode)
    with Reranker(model, engine=engine, max_length=args.max_length) as reranker:
        for query in queries:
            if query not in kept:
                documents = [dict(task.documents[d]) for d in task.run[query]]
                kept[query] = reranker.score(task.queries[query], documents).tolist()
    engine.close()
    keep.parent.mkdir(parents=True, exist_ok=True)
    keep.write_text(json.dumps(kept))
    return {query: kept[query] for query in queries}


def kendall_tau(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Tau-b of two scorings of one list; 1 where both order it alike (or it has no order).

    Example:
        >>> kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
        0.3333333333333333
    """
    first, second = (np.sign(x[:, None] - x[None, :]) for x in (a, b))
    norm = np.sqrt((first != 0).sum() * (second != 0).sum())
    return float((first * second).sum() / norm) if norm else 1.0


def one_set(task: Task, args: argparse.Namespace) -> dict[str, Any]:
    """NDCG@10 by mode and query, and tau against fp32."""
    queries = list(task.run)[: args.queries or None]
    qrels = {q: task.qrels[q] for q in queries}
    scores = {
        mode: score(task, queries, args.model if mode == "int8" else args.float_model, mode, args)
        for mode in args.modes
    }
    values, tau, largest = {}, {}, {}
    for mode in args.modes:
        run = {
            q: [task.run[q][i] for i in np.argsort(-np.array(logits), kind="stable")]
            for q, logits in scores[mode].items()
        }
        values[mode] = measure(qrels, run)[METRIC]
        pairs = [(np.array(scores[mode][q]), np.array(scores["fp32"][q])) for q in queries]
        tau[mode] = float(np.mean([kendall_tau(a, b) for a, b in pairs]))
        largest[mode] = float(max(np.abs(a - b).max() for a, b in pairs))
    return {"values": values, "tau": tau, "largest_difference": largest}


def report(results: dict[str, Any]) -> str:
    """Markdown tables."""
    modes: list[str] = results["settings"]["modes"]
    titles = ["set", "queries", *modes, *(f"tau {mode}" for mode in modes[1:])]
    lines = ["| " + " | ".join(titles) + " |", "| --- | " + "--: | " * (len(titles) - 1)]
    means: dict[str, list[float]] = {mode: [] for mode in modes}
    for name, found in results["sets"].items():
        value = {mode: float(np.mean(list(found["values"][mode].values()))) for mode in modes}
        for mode in modes:
            means[mode].append(value[mode])
        cells = [name, str(len(found["values"]["fp32"])), *(f"{value[m]:.4f}" for m in modes)]
        cells += [f"{found['tau'][m]:.4f}" for m in modes[1:]]
        lines.append("| " + " | ".join(cells) + " |")
    overall = {mode: float(np.mean(means[mode])) for mode in modes}
    taus = [float(np.mean([f["tau"][m] for f in results["sets"].values()])) for m in modes[1:]]
    cells = ["**mean**", "", *(f"{overall[m]:.4f}" for m in modes), *(f"{t:.4f}" for t in taus)]
    lines += ["| " + " | ".join(cells) + " |", ""]
    for mode in modes[1:]:
        groups = [
            [v - found["values"]["fp32"][q] for q, v in found["values"][mode].items()]
            for found in results["sets"].values()
        ]
        [test] = randomization_test(groups)
        lines.append(
            f"{mode} against fp32: mean difference {test.difference:+.4f} NDCG@10, p = {test.p:.4f}."
        )
        each = [
            f"{name} {t.difference:+.4f} (p = {t.p:.4f})"
            for name, group in zip(results["sets"], groups, strict=True)
            for t in randomization_test([group])
        ]
        lines.append("By set: " + ", ".join(each) + ".")
    lines += ["", "Lists as given, top 100; tau is Kendall's tau-b against fp32, averaged over queries."]
    if not results["settings"]["float_weights"]:
        lines.append("All modes start from the int8 weights: what rounding the weights costs is not in here.")
    return "# int8 and bf16 against float32\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("sets", nargs="+", type=Path, help="BEIR folders")
    add("--model", help="model folder (default: the model in the package)")
    add("--float-model", type=Path, help="its un-quantized form (default: the same folder)")
    add("--queries", type=int, default=0, help="of each set at most (default: all)")
    add("--max-length", type=int, default=512, help="tokens of a pair (default: 512)")
    add("--modes", nargs="+", choices=MODES, default=MODES, help="fp32 first; leave out what this CPU lacks")
    add("--threads", type=int, default=1)
    add("--work", type=Path, default=Path("runs/precision"))
    add("--out", type=Path, default=ROOT / "docs/results/precision")
    args = parser.parse_args()
    args.model = resolve_model(args.model)
    settings = {"queries": args.queries, "max_length": args.max_length, "modes": list(args.modes)}
    args.float_model = args.float_model or args.model
    settings |= {
        "model": sha256(args.model / "model.safetensors"),
        "float_weights": not ModelConfig.from_folder(args.float_model).quantized,
    }
    results: dict[str, Any] = {"settings": settings, **surroundings(), "sets": {}}
    for folder in args.sets:
        task = load_task(folder)
        results["sets"][task.name] = one_set(task, args)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (args.out / "report.md").write_text(report(results), encoding="utf-8")
    print(report(results))


if __name__ == "__main__":
    main()
