"""Run every database example whose library is installed, check their figures, and print one table.

    python examples/databases/all_databases.py data/nfcorpus --queries 40 --depth 50

Takes the arguments of each example (see common.py) and hands them on. Each list that a database found is
then written as a TREC run and measured again as `tinyrerank evaluate` does, on scores of its own: figures
that differ in the fourth digit are an error. `--results FILE` adds the table to a JSON file, one entry a set.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import default_folder

from tinyrerank import Reranker
from tinyrerank.evaluate.beir import BeirDocument, read_topics
from tinyrerank.evaluate.first_stage import Task, load_task
from tinyrerank.evaluate.pipeline import evaluate, library_versions
from tinyrerank.evaluate.runner import Scorer, reranker_system

SYSTEM = "tinyrerank"


def main() -> int:
    """The number of examples that failed, or whose figures are not those of the evaluation."""
    args, handed_on = _arguments()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "runs"
        rows, failed = run_examples([*handed_on, "--out", str(out)])
        measured = evaluated(args, out, [row["run"] for row in rows]) if rows else {}
    print("| database | candidates by | NDCG@10 before | after |\n| --- | --- | ---: | ---: |")
    for row in rows:
        print(f"| {row['database']} | {row['by']} | {row['before']:.4f} | {row['after']:.4f} |")
        for when in ("before", "after"):
            expected = measured[row["run"]][when]
            if f"{row[when]:.4f}" != f"{expected:.4f}":
                failed += 1
                say(f"{row['run']}: {row[when]:.4f} {when}, tinyrerank evaluate has {expected:.4f}")
    seconds = time.perf_counter() - started
    say(f"{len(rows)} lists, each figure that of tinyrerank evaluate: {failed == 0}; {seconds:.0f} s")
    if args.results and not failed:
        keep(args, rows, seconds)
    return failed


def run_examples(arguments: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """The figures of every example that runs here, and how many do not."""
    rows, failed = [], 0
    for script in sorted(Path(__file__).parent.glob("with_*.py")):
        command = [sys.executable, str(script), *arguments, "--json"]
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
        if done.returncode == 0:
            rows += json.loads(done.stdout.splitlines()[-1])
            say(f"{rows[-1]['database']}: {time.perf_counter() - begun:.0f} s")
        else:
            failed += 1
            reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
            say(f"{script.stem.removeprefix('with_')}: {reason}")
    return rows, failed


def evaluated(args: argparse.Namespace, runs: Path, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """NDCG@10 before and after by `tinyrerank evaluate`, for each run."""
    with tempfile.TemporaryDirectory() as folder, Reranker(args.model, threads=args.threads) as reranker:
        tasks = [task_of(args, runs, name, Path(folder) / name) for name in names]
        system = reranker_system(reranker, SYSTEM)
        system = replace(system, scorer=Once(system.scorer), cut=None)
        results = evaluate(tasks, [system], Path(folder) / "out", quiet=True)
    means = {
        one.name: [sum(v.per_query["NDCG@10"].values()) / one.n_queries for v in one.systems.values()]
        for one in results.sets
    }
    return {name: dict(zip(("before", "after"), values, strict=True)) for name, values in means.items()}


def task_of(args: argparse.Namespace, runs: Path, name: str, folder: Path) -> Task:
    """A set with the judgements of the first queries and a run, read back from files."""
    (folder / "qrels").mkdir(parents=True)
    for path in (*args.folder.glob("corpus.jsonl*"), *args.folder.glob("queries.jsonl*")):
        (folder / path.name).symlink_to(path.resolve())
    qrels = list(read_topics(args.folder).qrels.items())[: args.queries]
    lines = [f"{query}\t{key}\t{grade}\n" for query, judged in qrels for key, grade in judged.items()]
    (folder / "qrels" / "test.tsv").write_text("".join(lines), encoding="utf-8")
    (folder / "runs").symlink_to(runs.resolve())
    return replace(load_task(folder, first_stage=f"run:{name}", depth=args.depth), name=name)


class Once:
    """Scores each pair once, though several databases list it: a score does not depend on its neighbours."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._known: dict[tuple[str, str, str], float] = {}

    def score(self, query: str, documents: Sequence[BeirDocument]) -> list[float]:
        """Logits in input order."""
        pairs = [(query, document["title"], document["text"]) for document in documents]
        new = {
            pair: document for pair, document in zip(pairs, documents, strict=True) if pair not in self._known
        }
        if new:
            logits = self._scorer.score(query, list(new.values()))
            self._known.update(zip(new, map(float, logits), strict=True))
        return [self._known[pair] for pair in pairs]


def keep(args: argparse.Namespace, rows: list[dict[str, Any]], seconds: float) -> None:
    """Put the figures of this set into the results file; those of other sets stay."""
    kept = json.loads(args.results.read_text(encoding="utf-8")) if args.results.exists() else {}
    kept[args.folder.resolve().name] = {
        "queries": args.queries,
        "depth": args.depth,
        "seconds": round(seconds),
        "versions": library_versions(),
        "rows": [{**row, "before": round(row["before"], 4), "after": round(row["after"], 4)} for row in rows],
    }
    args.results.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def say(line: str) -> None:
    """To standard error, at once."""
    print(line, file=sys.stderr, flush=True)


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    """Ours, and what each example is called with."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--results", type=Path, metavar="FILE", help="add the figures to this JSON file")
    parser.add_argument("--queries", type=int)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int)
    args, others = parser.parse_known_args()
    args.folder = args.folder or default_folder(parser)
    given = {"queries": args.queries, "depth": args.depth, "model": args.model, "threads": args.threads}
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return args, [str(args.folder), *options, *others]


if __name__ == "__main__":
    raise SystemExit(main())
