"""Ranks the chosen sets with every contender, one loaded at a time, and tests every pair of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from tinyrerank.errors import InputError
from tinyrerank.evaluate.beir import Run, read_run
from tinyrerank.evaluate.compare.contenders import Contender, open_contender
from tinyrerank.evaluate.first_stage import Task
from tinyrerank.evaluate.pipeline import evaluate
from tinyrerank.evaluate.results import FIRST_STAGE, Results
from tinyrerank.evaluate.runner import run_file
from tinyrerank.types import Policy


@dataclass(frozen=True, slots=True)
class Ranked:
    """Values and rankings of all contenders.

    Attributes:
        results: values of every query, and the tests of every pair of systems; systems in the order given.
        runs: document ids, best first, by set, system and query.
    """

    results: Results
    runs: dict[str, dict[str, Run]]


def parse_contenders(texts: Sequence[str]) -> list[Contender]:
    """The contenders, the list put first where it was not named.

    Raises:
        InputError: none is a model, two share a name, or one is not there.
    """
    contenders = [Contender.parse(text) for text in texts]
    labels = [contender.label for contender in contenders]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise InputError(
            f"two contenders are named {', '.join(twice)}; give one another name, as in mine={twice[0]}"
        )
    if FIRST_STAGE not in labels:
        contenders.insert(0, Contender.parse(FIRST_STAGE))
    if len(contenders) < 2:
        raise InputError(f"only {FIRST_STAGE} was given; name at least one model to compare it with")
    return contenders


def rank_all(
    tasks: Sequence[Task],
    contenders: Sequence[Contender],
    out: Path,
    *,
    max_length: int | None = None,
    policy: Policy = "truncate",
    threads: int | None = None,
    settings: dict[str, Any] | None = None,
    quiet: bool = False,
) -> Ranked:
    """Rank the tasks with each contender; scores of an earlier run are taken from ``out``.

    Args:
        tasks: the sets.
        contenders: from :func:`parse_contenders`.
        out: folder for scores and runs.
        max_length: tokens read of query and document; None for each model's own limit.
        policy: what models of ours do with longer pairs.
        threads: threads of each model; None for all CPUs that the process may use.
        settings: kept in the results as they are.
        quiet: write no progress.

    Raises:
        TinyrerankError: as in :func:`~tinyrerank.evaluate.pipeline.evaluate` and
            :func:`~tinyrerank.evaluate.compare.contenders.open_contender`.
    """
    merged = evaluate(tasks, [], out, settings=settings, quiet=quiet)
    runs: dict[str, dict[str, Run]] = {task.name: {FIRST_STAGE: task.run} for task in tasks}
    for contender in contenders:
        if contender.kind == "list":
            continue
        opened = open_contender(contender, max_length=max_length, policy=policy, threads=threads)
        try:
            alone = evaluate(tasks, [opened.system], out, quiet=quiet)
        finally:
            opened.close()
        merged.systems[contender.label] = alone.systems[contender.label]
        for i, one in enumerate(alone.sets):
            systems = {**merged.sets[i].systems, contender.label: one.systems[contender.label]}
            merged.sets[i] = replace(merged.sets[i], systems=systems)
            runs[one.name][contender.label] = read_run(out / one.name / run_file(contender.label))
    labels = [contender.label for contender in contenders]
    merged.systems = {label: merged.systems[label] for label in labels}
    merged.main = next(label for label in labels if label != FIRST_STAGE)
    merged.compare(pairs=[(b, a) for a, b in combinations(labels, 2)])
    return Ranked(merged, runs)
