"""What an evaluation leaves behind: values by set, system, metric and query, and how they compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinyrerank.errors import DataError, InputError
from tinyrerank.evaluate.metrics import METRICS, PerQuery, mean
from tinyrerank.evaluate.significance import DRAWS, randomization_test

if TYPE_CHECKING:
    from tinyrerank.evaluate.first_stage import Task

SCHEMA = 1
#: The name under which the first stage stands in every table.
FIRST_STAGE = "list"
#: The name of a comparison's set when it is the mean over all sets.
ALL_SETS = "mean over sets"


@dataclass(frozen=True, slots=True)
class SystemValues:
    """One system on one set.

    Attributes:
        per_query: values by metric and query.
        pairs: pairs scored (0 for a list taken as it is).
        seconds: time spent scoring them, over all runs that contributed.
        cut: documents that the system did not read to the end.
    """

    per_query: PerQuery
    pairs: int = 0
    seconds: float = 0.0
    cut: int = 0

    def mean(self, metric: str) -> float:
        """Mean over the set's queries."""
        return mean(self.per_query[metric])


@dataclass(frozen=True, slots=True)
class SetResult:
    """All systems on one set, with what identifies the set and its candidates."""

    name: str
    split: str
    n_queries: int
    n_documents: int
    n_pairs: int
    first_stage: str
    candidate_hash: str
    relevant_from: int
    notes: tuple[str, ...]
    systems: dict[str, SystemValues]


@dataclass(frozen=True, slots=True)
class Comparison:
    """System ``a`` minus system ``b`` on one set, or on the mean over sets, for one metric."""

    a: str
    b: str
    set_name: str
    metric: str
    difference: float
    p: float


@dataclass(slots=True)
class Results:
    """A whole evaluation.

    Attributes:
        systems: names in table order, the first stage first, with what identifies each (model hash and so
            on).
        main: the system that the evaluation is about.
        settings: how the lists were made and scored.
        versions: of Python and the libraries that computed the values.
        sets: in the order given.
        comparisons: paired randomization tests.
        created: UTC time, ISO 8601.
    """

    systems: dict[str, dict[str, Any]]
    main: str
    settings: dict[str, Any]
    versions: dict[str, str]
    sets: list[SetResult]
    comparisons: list[Comparison] = field(default_factory=list)
    created: str = ""

    def mean(self, system: str, metric: str) -> float:
        """Mean over sets of the sets' means."""
        return sum(one.systems[system].mean(metric) for one in self.sets) / len(self.sets)

    def comparison(self, a: str, b: str, set_name: str, metric: str) -> Comparison:
        """The test of ``a`` against ``b``; raises ``StopIteration`` where it was not made."""
        wanted = (a, b, set_name, metric)
        return next(c for c in self.comparisons if (c.a, c.b, c.set_name, c.metric) == wanted)

    def compare(
        self, draws: int = DRAWS, seed: int = 0, *, pairs: Sequence[tuple[str, str]] | None = None
    ) -> None:
        """Test pairs of systems, the first minus the second, on every set and on the mean over sets.

        Without ``pairs``: every system against the first stage, and the main system against every other one.
        """
        if pairs is None:
            others = [name for name in self.systems if name not in (FIRST_STAGE, self.main)]
            pairs = [(name, FIRST_STAGE) for name in (*others, self.main) if name != FIRST_STAGE]
            if self.main != FIRST_STAGE:
                pairs += [(self.main, name) for name in others]
        self.comparisons = []
        for a, b in pairs:
            tables = [_differences(one, a, b) for one in self.sets]
            named = [([table], one.name) for table, one in zip(tables, self.sets, strict=True)]
            for group, name in [*named, (tables, ALL_SETS)]:
                tested = randomization_test(group, draws=draws, seed=seed)
                self.comparisons += [
                    Comparison(a, b, name, metric, one.difference, one.p)
                    for metric, one in zip(METRICS, tested, strict=True)
                ]

    def to_json(self) -> dict[str, Any]:
        """Plain data; means are written for readers, and recomputed from the queries when read back."""
        data = asdict(self)
        for one, plain in zip(self.sets, data["sets"], strict=True):
            for name, values in one.systems.items():
                plain["systems"][name]["means"] = {
                    metric: round(values.mean(metric), 6) for metric in METRICS
                }
        data["means"] = {name: {m: round(self.mean(name, m), 6) for m in METRICS} for name in self.systems}
        return {"schema": SCHEMA, "created": self.created, **data}


def load_results(path: Path) -> Results:
    """Read ``results.json``, or the folder that holds it.

    Raises:
        InputError: there is no such file.
        DataError: it is no results file of this schema.
    """
    path = path / "results.json" if path.is_dir() else path
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a results.json, or its folder") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise DataError(
            f"{path}: not evaluation results of schema {SCHEMA}; make them again with this version"
        )
    try:
        return Results(
            systems=data["systems"],
            main=data["main"],
            settings=data["settings"],
            versions=data["versions"],
            sets=[_set_from_json(one) for one in data["sets"]],
            comparisons=[Comparison(**one) for one in data["comparisons"]],
            created=data["created"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: evaluation results with a part missing ({error!r}); make them again"
        ) from None


def check_against(other: Results, tasks: Sequence[Task]) -> None:
    """Whether ``other`` can be compared with an evaluation of these tasks, query by query.

    Raises:
        InputError: it lacks a set, or was measured on other queries or with another bound of relevance.
    """
    theirs = {one.name: one for one in other.sets}
    missing = [task.name for task in tasks if task.name not in theirs]
    if missing:
        raise InputError(
            f"the results to compare with lack {', '.join(missing)}; they hold {', '.join(theirs)}"
        )
    for task in tasks:
        one = theirs[task.name]
        if one.systems[other.main].per_query[METRICS[0]].keys() != task.queries.keys():
            raise InputError(
                f"{task.name}: the results to compare with are on other queries; evaluate both on one split"
            )
        if one.relevant_from != task.relevant_from:
            raise InputError(
                f"{task.name}: the results to compare with count as relevant from grade {one.relevant_from}, "
                f"these from {task.relevant_from}; choose one with --relevant-from"
            )


def add_against(results: Results, other: Results) -> None:
    """Put the main system of ``other``, once checked, beside ours."""
    label = other.main
    if label in results.systems:
        label = f"{label} (against)"
    theirs = {one.name: one for one in other.sets}
    for i, one in enumerate(results.sets):
        values = theirs[one.name].systems[other.main]
        notes = one.notes
        if theirs[one.name].candidate_hash != one.candidate_hash:
            notes = (*notes, f"{label} ranked other candidates")
        results.sets[i] = replace(one, notes=notes, systems={**one.systems, label: values})
    results.systems[label] = {**other.systems[other.main], "from": "earlier results"}


def _set_from_json(data: dict[str, Any]) -> SetResult:
    systems = {}
    for name, values in data["systems"].items():
        systems[name] = SystemValues(**{key: value for key, value in values.items() if key != "means"})
    return SetResult(**{**data, "notes": tuple(data["notes"]), "systems": systems})


def _differences(one: SetResult, a: str, b: str) -> NDArray[np.float64]:
    """Values of ``a`` minus those of ``b``, shape (queries, metrics)."""
    table = [
        [one.systems[a].per_query[m][query] - one.systems[b].per_query[m][query] for m in METRICS]
        for query in one.systems[FIRST_STAGE].per_query[METRICS[0]]
    ]
    return np.asarray(table, dtype=np.float64)
