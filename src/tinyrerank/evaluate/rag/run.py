"""Scores the candidates with every column, has LlamaIndex measure, and averages with confidence intervals."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyrerank.errors import InputError
from tinyrerank.evaluate.beir import whole_text
from tinyrerank.evaluate.compare.contenders import Contender, open_contender
from tinyrerank.evaluate.rag.sets import DEPTHS, STAGES, RagSet
from tinyrerank.evaluate.runner import score_task
from tinyrerank.fusion import joined_logits
from tinyrerank.progress import Progress
from tinyrerank.types import Policy

#: Columns that need no model: the first stage's order, and the bi-encoder's.
NONE, COSINE = "none", "cosine"
#: Passages that the language model would be shown.
TOP_N = 5
METRICS = ("hit_rate", "mrr")
_DRAWS = 5_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the 95 % interval of its bootstrap."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RagResults:
    """Everything measured.

    Attributes:
        sets: their names.
        columns: their names, in the order of the tables.
        values: by set, stage, depth, column and metric, the value of every question.
        systems: what each model column is, in words.
        notes: for the reader.
    """

    sets: list[str]
    columns: list[str]
    values: dict[tuple[str, str, int, str, str], list[float]]
    systems: dict[str, dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    def mean(self, one: str, stage: str, depth: int, column: str, metric: str) -> float:
        """Over the questions of a set."""
        return float(np.mean(self.values[one, stage, depth, column, metric]))

    def average(
        self,
        column: str,
        metric: str,
        *,
        stages: Sequence[str] = STAGES,
        depths: Sequence[int] = DEPTHS,
        against: str | None = None,
    ) -> Interval:
        """Mean over sets, stages and depths, each of equal weight, with a bootstrap over the questions.

        Questions are drawn within each set, and with them all their values: stages and depths ask the same
        questions, so they are no independent evidence.

        Args:
            column: whose values.
            metric: ``hit_rate`` or ``mrr``.
            stages: first stages to average over.
            depths: depths to average over.
            against: a column to subtract, question by question.
        """
        rng = np.random.default_rng(0)
        total, draws = 0.0, np.zeros(_DRAWS)
        for one in self.sets:
            cells = list(itertools.product(stages, depths))
            value = self._questions(one, cells, column, metric)
            if against is not None:
                value = value - self._questions(one, cells, against, metric)
            picked = rng.integers(0, len(value), size=(_DRAWS, len(value)))
            total += float(value.mean()) / len(self.sets)
            draws += value[picked].mean(axis=1) / len(self.sets)
        low, high = np.percentile(draws, [2.5, 97.5])
        return Interval(total, float(low), float(high))

    def _questions(
        self, one: str, cells: Sequence[tuple[str, int]], column: str, metric: str
    ) -> NDArray[np.float64]:
        """Each question's mean over stages and depths, shape (questions,)."""
        rows = [self.values[one, stage, depth, column, metric] for stage, depth in cells]
        means: NDArray[np.float64] = np.asarray(rows, dtype=np.float64).mean(axis=0)
        return means


def run_benchmark(
    sets: Sequence[RagSet],
    contenders: Sequence[Contender],
    out: Path,
    *,
    list_weight: float = 0.0,
    likeness: float = 0.0,
    max_length: int | None = None,
    policy: Policy = "truncate",
    threads: int | None = None,
    quiet: bool = False,
) -> RagResults:
    """Every column on every set, first stage and depth.

    Scores are kept in ``out``: after an interrupt the same call goes on where it stopped.

    Args:
        sets: what :func:`~tinyrerank.evaluate.rag.sets.load_set` gave.
        contenders: the models; the columns without a model come first by themselves.
        out: folder for kept scores.
        list_weight: with this or ``likeness``, every model gets a second column, its logits joined with the
            place in each first stage's list (:func:`~tinyrerank.fuse_with_list`).
        likeness: of the likeness to the best passages, likewise.
        max_length: tokens read of a pair; None for each model's own limit.
        policy: what models of ours do with longer pairs.
        threads: of each model.
        quiet: write no progress.

    Raises:
        InputError: two sets or columns share a name.
        MissingExtraError: LlamaIndex is not installed.
    """
    weights = {"list": list_weight, "likeness": likeness}
    suffix = "".join(f"+{name}" for name, weight in weights.items() if weight)
    labels = [contender.label for contender in contenders]
    joined = {f"{label}{suffix}": label for label in labels} if suffix else {}
    columns = [NONE, COSINE, *labels, *joined]
    names = [one.name for one in sets]
    for what, listed in (("columns", columns), ("sets", names)):
        twice = sorted({name for name in listed if listed.count(name) > 1})
        if twice:
            raise InputError(f"two {what} are named {', '.join(twice)}; name one otherwise, or drop it")
    from tinyrerank.evaluate.rag import llama  # before hours of scoring

    logits: dict[tuple[str, str], Mapping[str, Mapping[str, float]]] = {
        (one.name, COSINE): one.cosines for one in sets
    }
    systems: dict[str, dict[str, Any]] = {}
    for contender in contenders:
        opened = open_contender(contender, max_length=max_length, policy=policy, threads=threads)
        systems[contender.label] = dict(opened.system.identity)
        tasks = [one.task() for one in sets]
        progress = Progress(sum(opened.system.work(task) for task in tasks), quiet=quiet)
        for task in tasks:
            scored = score_task(task, opened.system, _folder(out, task.name), progress)
            logits[task.name, contender.label] = {
                question: dict(zip(listed, scored[question].logits, strict=True))
                for question, listed in task.run.items()
            }
        progress.close()
        opened.close()
    values: dict[tuple[str, str, int, str, str], list[float]] = {}
    for one, stage, depth, column in itertools.product(sets, STAGES, DEPTHS, columns):
        lists = {one.questions[question]: keys for question, keys in one.found[stage].items()}
        if column == NONE:
            retriever, processor = llama.ListRetriever(lists, one.documents, TOP_N), None
        else:
            retriever = llama.ListRetriever(lists, one.documents, depth)
            found = logits[one.name, joined.get(column, column)]
            if column in joined:
                found = {
                    question: _joined(one, keys[:depth], found[question], list_weight, likeness)
                    for question, keys in one.found[stage].items()
                }
            by_text = {one.questions[question]: each for question, each in found.items()}
            processor = llama.ScoredPostprocessor(by_text, TOP_N)
        measured = llama.evaluate_list(retriever, one.questions, one.expected, processor)
        for metric in METRICS:
            values[one.name, stage, depth, column, metric] = measured[metric]
    return RagResults(names, columns, values, systems)


def _joined(
    one: RagSet, keys: Sequence[str], logits: Mapping[str, float], list_weight: float, likeness: float
) -> dict[str, float]:
    """Logits of a list's passages, joined with their places and their likeness to the best."""
    texts = [whole_text(one.documents[key]) for key in keys]
    values = joined_logits([logits[key] for key in keys], list_weight, texts, likeness)
    return dict(zip(keys, values, strict=True))


def _folder(out: Path, name: str) -> Path:
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
