"""From loaded sets and systems to results on disk."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tinyrerank import __version__
from tinyrerank.errors import InputError
from tinyrerank.evaluate.beir import Run
from tinyrerank.evaluate.first_stage import Task
from tinyrerank.evaluate.metrics import measure
from tinyrerank.evaluate.report import markdown, plot
from tinyrerank.evaluate.results import FIRST_STAGE, Results, SetResult, SystemValues
from tinyrerank.evaluate.runner import System, evaluate_system
from tinyrerank.progress import Progress

#: Where single queries stand in results.json: thousands of lines that would bury the rest.
_DEEP = re.compile(r"\n {7,}")
_LIBRARIES = ("numpy", "ir-measures", "pytrec-eval-terrier", "bm25s", "tokenizers", "onnxruntime", "torch")


def evaluate(
    tasks: Sequence[Task],
    systems: Sequence[System],
    out: Path,
    *,
    settings: dict[str, Any] | None = None,
    quiet: bool = False,
) -> Results:
    """Re-rank every set with every system and measure it; what an earlier run scored is taken from ``out``.

    Args:
        tasks: the sets; their names must differ.
        systems: what re-ranks them, the one the evaluation is about last; none measures the lists alone.
        out: folder for scores and runs, one folder a set inside.
        settings: kept in the results as they are.
        quiet: write no progress.

    Returns:
        Values of the list and all systems; ``compare()`` is still to be called.

    Raises:
        InputError: two sets or two systems share a name.
        MissingExtraError: ``ir-measures`` is not installed.
        EngineError: a scorer gave no usable logits.
    """
    _check_names("set", [task.name for task in tasks])
    _check_names("system", [FIRST_STAGE, *(system.label for system in systems)])
    by_set: dict[str, dict[str, SystemValues]] = {}
    for task in tasks:
        listed = measure(task.qrels, task.run, relevant_from=task.relevant_from)
        by_set[task.name] = {FIRST_STAGE: SystemValues(listed)}
    for system in systems:
        progress = Progress(sum(system.work(task) for task in tasks), quiet=quiet)
        for task in tasks:
            by_set[task.name][system.label] = evaluate_system(task, system, out / task.name, progress)
        progress.close()
    return Results(
        systems={FIRST_STAGE: {}, **{system.label: dict(system.identity) for system in systems}},
        main=systems[-1].label if systems else FIRST_STAGE,
        settings=settings or {},
        versions=library_versions(),
        sets=[_set_result(task, by_set[task.name]) for task in tasks],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def results_of_run(task: Task, run: Run, label: str) -> Results:
    """Results that hold one ranking made elsewhere, to be compared with; it may list what it likes."""
    values = SystemValues(measure(task.qrels, run, relevant_from=task.relevant_from))
    alone = replace(_set_result(task, {label: values}), candidate_hash="")
    return Results({label: {"kind": "run"}}, label, {}, {}, [alone])


def write_report(results: Results, out: Path) -> list[Path]:
    """Write ``results.json``, ``report.md`` and ``plot.png``; returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    json_path, markdown_path, plot_path = out / "results.json", out / "report.md", out / "plot.png"
    write_results(results, json_path)
    markdown_path.write_text(markdown(results), encoding="utf-8")
    plot(results, plot_path)
    return [json_path, markdown_path, plot_path]


def write_results(results: Results, path: Path) -> None:
    """Write results as JSON, the values of one metric on one line."""
    text = _DEEP.sub("", json.dumps(results.to_json(), indent=1, ensure_ascii=False))
    path.write_text(text + "\n", encoding="utf-8")


def library_versions() -> dict[str, str]:
    """Of Python, this package and the libraries that make the numbers, where installed."""
    versions = {"python": platform.python_version(), "tinyrerank": __version__}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _set_result(task: Task, systems: dict[str, SystemValues]) -> SetResult:
    return SetResult(
        name=task.name,
        split=task.split,
        n_queries=len(task.queries),
        n_documents=task.n_documents,
        n_pairs=task.n_pairs,
        first_stage=task.source,
        candidate_hash=task.candidate_hash(),
        relevant_from=task.relevant_from,
        notes=task.notes,
        systems=systems,
    )


def _check_names(what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"two {what}s are named {', '.join(twice)}; names must differ, so rename or drop one"
        )
