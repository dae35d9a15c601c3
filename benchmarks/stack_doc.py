"""Fills the tables of docs/integrations/databases.md and rag.md: no figure there is typed by hand.

    python benchmarks/stack_doc.py                         # from docs/results/{databases,rag}.json
    python benchmarks/stack_doc.py --rag runs/rag/rag.json # first makes docs/results/rag.json from a run

Text between ``<!-- NAME -->`` and ``<!-- /NAME -->`` is replaced by the table of that name.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from page import DOCS, fill

RESULTS = DOCS / "results"
PAGES = DOCS / "integrations"
ABSENT = "*(not measured yet)*"
COLUMNS = {"none": "no reranker", "cosine": "bi-encoder's order"}
METRICS = {"hit_rate": "Hit rate @5", "mrr": "MRR @5"}
Figures = dict[str, Any]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A Markdown table; the first columns are words, the others numbers."""
    marks = ["---" if i < words else "---:" for i in range(len(heads))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, marks, *rows))


def databases(sets: Figures) -> str:
    """One table a set: before and after for every list."""
    parts = []
    for name, one in sets.items():
        asked = f"{one['queries']} queries" if one["queries"] else "all queries"
        rows = [
            [row["database"], row["by"], f"{row['before']:.4f}", f"{row['after']:.4f}", gain(row)]
            for row in sorted(one["rows"], key=lambda row: row["by"])
        ]
        heads = ["database", "candidates by", "NDCG@10 before", "after", "difference"]
        parts.append(f"{name}, {asked}, {one['depth']} candidates each:\n\n" + table(heads, rows, words=2))
    return "\n\n".join(parts)


def gain(row: Figures) -> str:
    """What reranking brought, of the figures as they are shown."""
    return f"{row['after'] - row['before']:+.4f}"


def condensed(run: Figures) -> Figures:
    """The report of a run without the values of single questions."""
    cells = []
    for cell in run["cells"]:
        values = cell.pop("values")
        cells.append({**cell, "questions": len(values), "mean": round(sum(values) / len(values), 4)})
    return {**run, "cells": cells}


def averages(run: Figures) -> str:
    """Each column's means over sets, first stages and depths, and its gains, all with intervals."""
    rows = []
    for column in run["columns"]:
        row = [COLUMNS.get(column, column)]
        for metric in METRICS:
            row.append(interval(run["averages"][column][metric], ".4f", ".3f"))
            for gains in ("gains_over_no_reranker", "gains_over_bi_encoder"):
                gained = run[gains].get(column)
                row.append(interval(gained[metric], "+.4f", "+.3f") if gained else "")
        rows.append(row)
    heads = [
        each for title in METRICS.values() for each in (title, "gain over none", "over bi-encoder's order")
    ]
    questions = {cell["set"]: cell["questions"] for cell in run["cells"]}
    sets = ", ".join(f"{name} ({count})" for name, count in questions.items())
    read = ", ".join(
        f"{name} {system['max_length']:,}"
        for name, system in run["systems"].items()
        if "max_length" in system
    )
    notes = f"Questions: {sets}. Tokens read of a pair at most: {read}. In brackets 95 % intervals."
    return f"{notes}\n\n" + table(["", *heads], rows)


def interval(value: Figures, form: str, ends: str) -> str:
    """A mean and its interval."""
    return f"{value['mean']:{form}} [{value['low']:{ends}}, {value['high']:{ends}}]"


def stages(run: Figures) -> str:
    """Means by set and first stage, of both depths."""
    rows = []
    keys = list(dict.fromkeys((cell["set"], cell["stage"]) for cell in run["cells"]))
    for one, stage in keys:
        cells = []
        for metric in METRICS:
            for column in run["columns"]:
                means = [
                    cell["mean"]
                    for cell in run["cells"]
                    if (cell["set"], cell["stage"], cell["column"], cell["metric"])
                    == (one, stage, column, metric)
                ]
                cells.append(f"{sum(means) / len(means):.3f}")
        rows.append([one, stage, *cells])
    heads = [f"{what} {COLUMNS.get(c, c)}" for what in ("hit", "MRR") for c in run["columns"]]
    return table(["set", "first stage", *heads], rows, words=2)


def published(run: Figures) -> str:
    """What the vendor of these models published, on data of its own."""
    rows = [
        [row["model"], f"{row['hit_rate']:.4f}", f"{row['mrr']:.4f}"]
        for row in run["published_on_another_data_set"]
    ]
    return table(["another data set: the vendor's", "hit rate", "MRR"], rows)


def main() -> None:
    """Fill every block; those without results say so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rag", type=Path, help="rag.json of a run of `tinyrerank evaluate rag`")
    args = parser.parse_args()
    if args.rag:
        run = condensed(json.loads(args.rag.read_text(encoding="utf-8")))
        (RESULTS / "rag.json").write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n", "utf-8")
    made = {
        ("databases.md", "databases.json"): {"measured": databases},
        ("rag.md", "rag.json"): {"averages": averages, "stages": stages, "published": published},
    }
    for (page, source), blocks in made.items():
        path = RESULTS / source
        figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        for name, make in blocks.items():
            fill(PAGES / page, name, make(figures) if figures else ABSENT)


if __name__ == "__main__":
    main()
