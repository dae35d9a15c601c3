"""Tables of the RAG benchmark: for the terminal, as Markdown, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tinyrerank.evaluate.pipeline import library_versions
from tinyrerank.evaluate.rag.run import COSINE, METRICS, NONE, TOP_N, Interval, RagResults
from tinyrerank.evaluate.rag.sets import DEPTHS, STAGES

_TITLES = {"hit_rate": f"Hit rate @{TOP_N}", "mrr": f"MRR @{TOP_N}"}
_COLUMN_TITLES = {"none": "no reranker", "cosine": "bi-encoder's order"}

#: Averages over three embedders, as the vendor published them: model, hit rate, MRR.
PUBLISHED = (
    ("jina-reranker-v1-base-en", 0.8439, 0.7006),
    ("jina-reranker-v1-turbo-en", 0.8351, 0.6498),
    ("jina-reranker-v1-tiny-en", 0.8316, 0.6761),
    ("ms-marco-MiniLM-L-4-v2", 0.8246, 0.6354),
    ("mxbai-rerank-xsmall-v1", 0.8193, 0.6673),
    ("bge-reranker-base", 0.8175, 0.6480),
    ("mxbai-rerank-base-v1", 0.8105, 0.6583),
    ("ms-marco-MiniLM-L-6-v2", 0.8052, 0.6121),
)
_PUBLISHED_NOTE = (
    "Another data set: the vendor's own questions and passages, embedders jina-embeddings-v2-base-en,"
    " bge-base-en-v1.5 and embed-english-v3.0, the mean of the three. Its figures and those above do not"
    " compare; they show what such a benchmark looked like for these models."
)


def terminal_table(results: RagResults) -> str:
    """The averages over sets, first stages and depths, with 95 % intervals."""
    width = max(24, *(len(_title(column)) for column in results.columns))
    lines = [f"{'':{width}}" + "".join(f"{_TITLES[metric]:>26}" for metric in METRICS)]
    for column in results.columns:
        cells = [_interval(results.average(column, metric)) for metric in METRICS]
        lines.append(f"{_title(column):{width}}" + "".join(f"{cell:>26}" for cell in cells))
    asked = sum(len(results.values[one, STAGES[0], DEPTHS[0], NONE, "mrr"]) for one in results.sets)
    lines.append(f"mean of {', '.join(results.sets)} ({asked} questions), {', '.join(STAGES)}, top 10 and 20")
    return "\n".join(lines)


def markdown(results: RagResults) -> str:
    """The whole report."""
    lines = ["# RAG benchmark", "", _intro(results), "", "## Averages", ""]
    lines += _average_table(results)
    for metric in METRICS:
        lines += ["", f"## {_TITLES[metric]}, set by set", ""]
        lines += _set_table(results, metric)
    lines += ["", "## Published figures of others", "", _PUBLISHED_NOTE, ""]
    lines += _table(
        ["model", "hit rate", "MRR"], [[name, f"{hit:.4f}", f"{mrr:.4f}"] for name, hit, mrr in PUBLISHED]
    )
    if results.notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in results.notes)]
    return "\n".join(lines) + "\n"


def to_json(results: RagResults) -> dict[str, Any]:
    """Everything as plain data; the value of every question is in it."""
    cells = [
        {"set": one, "stage": stage, "depth": depth, "column": column, "metric": metric, "values": values}
        for (one, stage, depth, column, metric), values in results.values.items()
    ]
    averages = {
        column: {metric: _plain(results.average(column, metric)) for metric in METRICS}
        for column in results.columns
    }
    gains = {
        over: {
            column: {metric: _plain(results.average(column, metric, against=over)) for metric in METRICS}
            for column in _above(results, over)
        }
        for over in (NONE, COSINE)
    }
    return {
        "command": "evaluate rag",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(),
        "sets": results.sets,
        "columns": results.columns,
        "systems": results.systems,
        "top_n": TOP_N,
        "averages": averages,
        "gains_over_no_reranker": gains[NONE],
        "gains_over_bi_encoder": gains[COSINE],
        "published_on_another_data_set": [
            {"model": name, "hit_rate": hit, "mrr": mrr} for name, hit, mrr in PUBLISHED
        ],
        "notes": results.notes,
        "cells": cells,
    }


def write_report(results: RagResults, out: Path) -> list[Path]:
    """Write ``rag.json`` and ``rag.md``; returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "rag.json", out / "rag.md"]
    paths[0].write_text(json.dumps(to_json(results), ensure_ascii=False) + "\n", encoding="utf-8")
    paths[1].write_text(markdown(results), encoding="utf-8")
    return paths


def _intro(results: RagResults) -> str:
    counts = [
        f"{one} ({len(results.values[one, STAGES[0], DEPTHS[0], NONE, 'mrr'])} questions)"
        for one in results.sets
    ]
    return (
        f"LlamaIndex's `RetrieverEvaluator` on {', '.join(counts)}. A first stage retrieves 10 or 20"
        f" passages, the reranker orders them, and the best {TOP_N} are what a language model would be shown:"
        " the hit rate says how often an answer is among them, MRR how high it stands. Every set, first stage"
        " and depth weighs the same. In brackets: 95 % bootstrap intervals over the questions."
    )


def _average_table(results: RagResults) -> list[str]:
    rows = []
    for column in results.columns:
        row = [_title(column)]
        for metric in METRICS:
            row.append(_interval(results.average(column, metric)))
            for over in (NONE, COSINE):
                shown = column in _above(results, over)
                row.append(_gain(results.average(column, metric, against=over)) if shown else "")
        rows.append(row)
    gained = ("", ", gain over no reranker", ", gain over the bi-encoder's order")
    return _table(["", *(f"{_TITLES[metric]}{more}" for metric in METRICS for more in gained)], rows)


def _set_table(results: RagResults, metric: str) -> list[str]:
    rows = [
        [
            one,
            stage,
            str(depth),
            *(f"{results.mean(one, stage, depth, column, metric):.4f}" for column in results.columns),
        ]
        for one in results.sets
        for stage in STAGES
        for depth in DEPTHS
    ]
    for stage in STAGES:
        means = [results.average(column, metric, stages=[stage]).mean for column in results.columns]
        rows.append(["**mean**", stage, "both", *(f"{mean:.4f}" for mean in means)])
    return _table(["set", "first stage", "top", *map(_title, results.columns)], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(heads) + " |",
        "| " + " | ".join("---" for _ in heads) + " |",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _title(column: str) -> str:
    return _COLUMN_TITLES.get(column, column)


def _above(results: RagResults, over: str) -> list[str]:
    """The columns after one: those whose gain over it is shown."""
    return results.columns[results.columns.index(over) + 1 :]


def _gain(value: Interval) -> str:
    return f"{value.mean:+.3f} [{value.low:+.3f}, {value.high:+.3f}]"


def _interval(value: Interval) -> str:
    return f"{value.mean:.4f} [{value.low:.3f}, {value.high:.3f}]"


def _plain(value: Interval) -> dict[str, float]:
    return {"mean": value.mean, "low": value.low, "high": value.high}
