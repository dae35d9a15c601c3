"""What fine-tuning and adapting bring on a real domain, measured on queries that they never saw.

    python benchmarks/finetuning.py SET… --teacher all-MiniLM-L6-v2 [--elsewhere SET] [--folds 5]

For every BEIR folder the judged queries are cut into folds. ``tinyrerank finetune`` learns from the answers
of all folds but one, and the queries of that one are ranked (first-stage list as given, top 100); so every
query is ranked by a model that knew nothing of it. ``tinyrerank adapt`` sees the documents alone, no query
and no answer. ``--elsewhere`` ranks another set with the same models: what did they forget?

Everything is kept below ``--work``, apart for each start, and not done again: for other settings, name
another folder. Writes ``results.json`` to ``--out`` and the tables into ``docs/finetuning.md``, between its
markers.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from page import DOCS, fill

from tinyrerank import Reranker
from tinyrerank.cli import main as command
from tinyrerank.evaluate.beir import read_corpus, whole_text
from tinyrerank.evaluate.first_stage import Task, load_task
from tinyrerank.evaluate.metrics import measure
from tinyrerank.evaluate.significance import randomization_test
from tinyrerank.model.hub import resolve_model
from tinyrerank.train.manifest import sha256, surroundings

METRIC = "NDCG@10"
NOTHING_GAINED = 3  # exit code of finetune
Values = dict[str, float]


def ndcg(task: Task, queries: list[str], model: Path, keep: Path, threads: int) -> Values:
    """NDCG@10 of each query by a model; kept in a file."""
    if keep.exists():
        found: Values = json.loads(keep.read_text())
        return found
    run = {}
    with Reranker(model, threads=threads) as reranker:
        for query in queries:
            listed = task.run.get(query, [])
            documents = [dict(task.documents[d]) for d in listed]
            ranking = reranker.rank(task.queries[query], documents, max_length=512)
            run[query] = [listed[hit.index] for hit in ranking]
    values = measure({q: task.qrels[q] for q in queries}, run)[METRIC]
    keep.parent.mkdir(parents=True, exist_ok=True)
    keep.write_text(json.dumps(values))
    return values


def folds(queries: list[str], n: int) -> Iterator[tuple[list[str], list[str]]]:
    """Queries to learn from and to be ranked, n times; every query is ranked once."""
    order = sorted(queries)
    random.Random(0).shuffle(order)
    for k in range(n):
        ranked = order[k::n]
        yield [q for q in order if q not in set(ranked)], ranked


def write_corpus(folder: Path, path: Path) -> dict[str, str]:
    """The set's documents as a file for the command line; title and text joined, by id."""
    documents, _ = read_corpus(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(d) + "\n" for d in documents.values()))
    return {key: whole_text(d) for key, d in documents.items()}


def tune(arguments: list[str], out: Path) -> float:
    """Run a command that makes the model folder ``out``; seconds, 0 where it gained nothing."""
    report = out / "seconds.json"
    if not report.exists():
        shutil.rmtree(out, ignore_errors=True)
        start = time.monotonic()
        code = command([*arguments, "--out", str(out)])
        if code not in {0, NOTHING_GAINED}:
            sys.exit(code)
        out.mkdir(exist_ok=True)
        report.write_text(json.dumps(round(time.monotonic() - start) if code == 0 else 0))
    return float(json.loads(report.read_text()))


def one_set(folder: Path, args: argparse.Namespace, start: Path) -> dict[str, Any]:
    """All figures of one set: values by query of every system, and seconds of every run."""
    kept = args.work / sha256(start / "model.safetensors")[:12]  # other weights, other figures
    task, work = load_task(folder), kept / folder.name
    queries = list(task.queries)
    texts = write_corpus(folder, work / "corpus.jsonl")
    common = ["--cache", str(args.work / "cache"), "--model", str(start)]
    for name in ("minutes", "epochs", "learning_rate", "max_length", "forget", "threads"):
        common += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    listed = measure(task.qrels, task.run)[METRIC]
    values = {"list": listed, "start": ndcg(task, queries, start, work / "start.json", args.threads)}
    seconds: dict[str, list[float]] = {}
    models: dict[str, list[Path]] = {}
    teachers = {"finetune": [], "finetune, teacher": ["--teacher", str(args.teacher)]}
    for system in args.systems:
        values[system] = {}
        if system == "adapt":
            out = work / "adapt"
            made = ["adapt", str(work / "corpus.jsonl"), "--teacher", str(args.teacher), *common]
            seconds[system] = [tune([*made, "--n-queries", str(args.n_queries)], out)]
            models[system] = [out if seconds[system][0] else start]
            values[system] = ndcg(task, queries, models[system][0], work / "adapt.json", args.threads)
            continue
        for k, (learned, ranked) in enumerate(folds(queries, args.folds)):
            if k == (args.ranked_folds or args.folds):
                break
            name = f"{system.replace(', ', '-')}-{k}"
            rows = [
                {"query": task.queries[q], "positive": texts[d], "grade": grade}
                for q in learned
                for d, grade in task.qrels[q].items()
                if grade > 0 and d in texts
            ]
            (work / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            made = ["finetune", str(work / f"{name}.jsonl"), "--corpus", str(work / "corpus.jsonl"), *common]
            took = tune([*made, *teachers[system]], work / name)
            seconds.setdefault(system, []).append(took)
            model = work / name if took else start
            models.setdefault(system, []).append(model)
            values[system] |= ndcg(task, ranked, model, work / f"{name}.values.json", args.threads)
    elsewhere: dict[str, Values] = {}
    if args.elsewhere:
        other = load_task(args.elsewhere)
        asked = list(other.queries)
        keep = kept / f"start.{other.name}.json"
        elsewhere["start"] = ndcg(other, asked, start, keep, args.threads)
        for system, made_models in models.items():  # the first fold's model stands for all
            keep = work / f"{system.replace(', ', '-')}.{other.name}.json"
            elsewhere[system] = ndcg(other, asked, made_models[0], keep, args.threads)
    runs = {system: [manifest(model) for model in made_models] for system, made_models in models.items()}
    return {"values": values, "seconds": seconds, "elsewhere": elsewhere, "runs": runs}


def manifest(model: Path) -> dict[str, Any]:
    """Settings and report that a run left; nothing where it gained nothing."""
    path = model / "manifest.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    return {key: content[key] for key in ("settings", "report") if key in content}


def teacher_name(folder: Path) -> str:
    """Of a folder, or of the package that it is the ``model`` of."""
    return folder.parent.name if folder.name == "model" else folder.name


def mean(values: Values) -> float:
    """Over queries."""
    return sum(values.values()) / len(values)


def p_value(values: Values, other: Values) -> float:
    """Of the paired randomization test."""
    [test] = randomization_test([[values[q] - other[q] for q in values]])
    return test.p


def tables(results: dict[str, Any]) -> str:
    """Markdown of all figures."""
    lines = ["| set | queries | system | NDCG@10 | start, same queries | difference | p | minutes a run |"]
    lines += ["| --- | --: | --- | --: | --: | --: | --: | --: |"]
    for name, found in results["sets"].items():
        values = found["values"]
        for system, by_query in values.items():
            start = {q: values["start"][q] for q in by_query}
            gain = mean(by_query) - mean(start)
            row = [name, str(len(by_query)), system, f"{mean(by_query):.4f}"]
            row += [f"{mean(start):.4f}" if system != "start" else ""]
            row += [f"{gain:+.4f}" if system != "start" else ""]
            row += [f"{p_value(by_query, start):.4f}" if system != "start" else ""]
            took = [s for s in found["seconds"].get(system, []) if s]
            row += [f"{sum(took) / len(took) / 60:.1f}" if took else ""]
            lines.append("| " + " | ".join(row) + " |")
    other = results["settings"]["elsewhere"]
    if other:
        lines += ["", f"The same models on {other}:", "", "| tuned on | system | NDCG@10 | change | p |"]
        lines += ["| --- | --- | --: | --: | --: |"]
        for name, found in results["sets"].items():
            before = found["elsewhere"]["start"]
            for system, by_query in found["elsewhere"].items():
                change = f"{mean(by_query) - mean(before):+.4f}" if system != "start" else ""
                p = f"{p_value(by_query, before):.4f}" if system != "start" else ""
                lines.append(f"| {name} | {system} | {mean(by_query):.4f} | {change} | {p} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write results and tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("sets", nargs="+", type=Path, help="BEIR folders")
    add("--teacher", type=Path, required=True, help="bi-encoder folder")
    add("--model", help="where to start (default: the model in the package)")
    add("--elsewhere", type=Path, help="a set of another domain")
    add("--systems", nargs="+", default=["adapt", "finetune", "finetune, teacher"])
    add("--folds", type=int, default=5)
    add("--ranked-folds", type=int, help="rank the queries of so many folds only (default: all)")
    add("--minutes", type=float, default=5.0)
    add("--epochs", type=float, default=2.0)
    add("--learning-rate", type=float, default=1e-4)
    add("--n-queries", type=int, default=1500)
    add("--max-length", type=int, default=160)
    add("--forget", type=float, default=0.01, help="general score to lose")
    add("--threads", type=int, default=1)
    add("--work", type=Path, default=Path("runs/finetuning"))
    add("--out", type=Path, default=DOCS / "results/finetuning")
    args = parser.parse_args()
    start = resolve_model(args.model)
    settings = {k: v for k, v in vars(args).items() if k in {"folds", "ranked_folds", "n_queries", "forget"}}
    settings |= {"elsewhere": args.elsewhere.name if args.elsewhere else "", "threads": args.threads}
    settings |= {"start": sha256(start / "model.safetensors"), "teacher": teacher_name(args.teacher)}
    results: dict[str, Any] = {"settings": settings, **surroundings(), "sets": {}}
    for folder in args.sets:
        results["sets"][folder.name] = one_set(folder, args, start)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    fill(DOCS / "finetuning.md", "figures", tables(results))
    print(tables(results))


if __name__ == "__main__":
    main()
