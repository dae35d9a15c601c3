"""A small retrieval set on disk, and where the real ones lie."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

DOCUMENTS = {
    "d1": ("Tides", "the moon pulls the sea toward it and the tide rises"),
    "d2": ("Bread", "yeast makes gas in the dough and bread rises"),
    "d3": ("", "spring tides come when sun and moon pull in one line"),
    "d4": ("Ocean", "salt water covers most of the planet"),
    "d5": ("Moon", "the moon turns around the earth in a month"),
}
QUERIES = {"q1": "how do tides work", "q2": "why does bread rise", "q3": "moon and earth"}
QRELS = {"q1": {"d1": 2, "d3": 1, "d2": 0}, "q2": {"d2": 1}, "q3": {"d5": 3, "d1": 1}}
RUN = {"q1": ["d2", "d1", "d3"], "q2": ["d1", "d2"], "q3": ["d4", "d5", "d1"]}

_ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TINYRERANK_DATA", _ROOT.parent / "shared" / "data")) / "eval"


def write_set(
    folder: Path,
    *,
    documents: dict[str, tuple[str, str]] = DOCUMENTS,
    queries: dict[str, str] = QUERIES,
    qrels: dict[str, dict[str, int]] = QRELS,
    run: dict[str, list[str]] | None = RUN,
    packed: bool = False,
) -> Path:
    """Write a set and return its folder."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    (folder / "runs").mkdir(exist_ok=True)
    corpus = [{"_id": key, "title": title, "text": text} for key, (title, text) in documents.items()]
    _write(folder / "corpus.jsonl", "".join(json.dumps(row) + "\n" for row in corpus), packed)
    topics = [{"_id": key, "text": text} for key, text in queries.items()]
    _write(folder / "queries.jsonl", "".join(json.dumps(row) + "\n" for row in topics), packed)
    judged = [f"{q}\t{d}\t{grade}\n" for q, grades in qrels.items() for d, grade in grades.items()]
    _write(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\n" + "".join(judged), False)
    if run is not None:
        lines = [
            f"{q} Q0 {d} {i + 1} {10.0 - i} bm25\n" for q, listed in run.items() for i, d in enumerate(listed)
        ]
        _write(folder / "runs" / "bm25.trec", "".join(lines), packed)
    return folder


def _write(path: Path, text: str, packed: bool) -> None:
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
