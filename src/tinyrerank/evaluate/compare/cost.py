"""What a contender costs: time and memory, measured in a process of its own.

The work is real: some queries of the chosen sets with their candidates. Each contender gets a fresh process
and the processes take turns, so that a machine whose speed drifts treats all alike. The memory is the peak of
the whole process: Python, libraries, weights and working memory.

``python -m tinyrerank.evaluate.compare.cost`` is such a process: a job comes in as JSON on standard input,
the measurement goes out as JSON on standard output.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinyrerank.engine.memory import peak_mib
from tinyrerank.errors import EngineError
from tinyrerank.evaluate.beir import BeirDocument
from tinyrerank.evaluate.compare.contenders import Contender, open_contender
from tinyrerank.evaluate.first_stage import Task
from tinyrerank.types import Policy

_TIMEOUT_S = 3600


@dataclass(frozen=True, slots=True)
class Request:
    """One query with its candidates, as it is timed."""

    query: str
    documents: tuple[BeirDocument, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one contender took.

    Attributes:
        ms: median milliseconds of a query with all its candidates, tokenization included.
        documents_per_s: documents ranked a second, over all timed queries.
        load_ms: median milliseconds from an empty process to a loaded model, imports included.
        peak_mib: largest resident memory of its process, in MiB; None where the system does not tell.
        queries: timed queries, over all rounds.
        documents: mean number of candidates of a timed query.
        runs_on: engine and kernels, in words.
        parameters: numbers that the model has learned; None where that is not known.
        max_length: tokens that it reads of query and document.
    """

    ms: float
    documents_per_s: float
    load_ms: float
    peak_mib: float | None
    queries: int
    documents: float
    runs_on: str
    parameters: int | None
    max_length: int | None


def sample_requests(tasks: Sequence[Task], n_queries: int, seed: int = 0) -> list[Request]:
    """Some queries with their candidates, drawn evenly from the sets; the same seed draws the same ones."""
    rng = random.Random(seed)
    shuffled = [rng.sample(list(task.run), len(task.run)) for task in tasks]
    requests = []
    for at in range(max(map(len, shuffled), default=0)):
        for task, queries in zip(tasks, shuffled, strict=True):
            if at < len(queries):
                listed = task.run[queries[at]]
                documents = tuple(task.documents[key] for key in listed)
                requests.append(Request(task.queries[queries[at]], documents))
    return requests[:n_queries]


def measure_costs(
    contenders: Sequence[Contender],
    requests: Sequence[Request],
    *,
    rounds: int = 2,
    max_length: int | None = None,
    policy: Policy = "truncate",
    threads: int | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> dict[str, Cost]:
    """Measure every contender that is a model; the list costs nothing and is left out.

    Args:
        contenders: what to measure.
        requests: the work; every process ranks the first one once more, untimed, to warm up.
        rounds: fresh processes a contender, taking turns.
        max_length: as in :func:`~tinyrerank.evaluate.compare.contenders.open_contender`.
        policy: likewise.
        threads: likewise.
        say: told what is being measured.

    Raises:
        EngineError: a process failed; carries the end of what it wrote.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for turn in range(rounds):
        for contender in contenders:
            if contender.kind == "list":
                continue
            say(f"speed and memory of {contender.label}, round {turn + 1} of {rounds}")
            job = {
                "contender": {**asdict(contender), "folder": str(contender.folder)},
                "requests": [asdict(one) for one in requests],
                "settings": {"max_length": max_length, "policy": policy, "threads": threads},
            }
            found.setdefault(contender.label, []).append(_in_a_process(contender.label, job))
    return {label: _summary(runs, requests) for label, runs in found.items()}


def measure_here(job: dict[str, Any]) -> dict[str, Any]:
    """Load a contender in this process, rank the requests, and tell what it took."""
    start = time.perf_counter()
    contender = Contender(**{**job["contender"], "folder": Path(job["contender"]["folder"])})
    opened = open_contender(contender, **job["settings"])
    load_ms = 1e3 * (time.perf_counter() - start)
    requests = job["requests"]
    opened.system.scorer.score(requests[0]["query"], requests[0]["documents"])  # to warm up
    times = []
    for request in requests:
        start = time.perf_counter()
        opened.system.scorer.score(request["query"], request["documents"])
        times.append(1e3 * (time.perf_counter() - start))
    result = {
        "load_ms": load_ms,
        "ms": times,
        "peak_mib": peak_mib(),
        "runs_on": opened.runs_on,
        "parameters": opened.parameters,
        "max_length": opened.system.max_length,
    }
    opened.close()
    return result


def _in_a_process(label: str, job: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tinyrerank.evaluate.compare.cost"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise EngineError(f"{label}: the process that measures it failed: {last[0]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _summary(runs: list[dict[str, Any]], requests: Sequence[Request]) -> Cost:
    times = [ms for run in runs for ms in run["ms"]]
    documents = sum(len(request.documents) for request in requests)
    peaks = [run["peak_mib"] for run in runs if run["peak_mib"] is not None]
    return Cost(
        ms=round(statistics.median(times), 2),
        documents_per_s=round(1e3 * documents * len(runs) / sum(times), 2),
        load_ms=round(statistics.median(run["load_ms"] for run in runs), 1),
        peak_mib=round(max(peaks), 1) if peaks else None,
        queries=len(times),
        documents=round(documents / len(requests), 1),
        runs_on=runs[0]["runs_on"],
        parameters=runs[0]["parameters"],
        max_length=runs[0]["max_length"],
    )


if __name__ == "__main__":
    print(json.dumps(measure_here(json.load(sys.stdin))))  # noqa: T201 - the parent reads it
