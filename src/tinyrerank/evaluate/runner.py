"""Re-ranks each query's candidates with a system, keeps the logits on disk, goes on after a kill.

Scores lie in ``scores.<system>.<key>.jsonl``: the key is a hash of the system and its settings, and each line
carries one of its query and candidates with their texts. So scores of another model, another length limit or
another list are never taken for these, and those of a sample of the queries serve the whole set.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinyrerank import __version__
from tinyrerank.errors import EngineError
from tinyrerank.evaluate.beir import BeirDocument, Run, whole_text, write_run
from tinyrerank.evaluate.first_stage import Task
from tinyrerank.evaluate.metrics import measure
from tinyrerank.evaluate.results import SystemValues
from tinyrerank.fusion import list_fusion, with_likeness
from tinyrerank.progress import Progress

if TYPE_CHECKING:
    from tinyrerank.evaluate.biencoder import BiEncoder
    from tinyrerank.reranker import Reranker


class Scorer(Protocol):
    """Anything that gives one number for each document; higher is better."""

    def score(self, query: str, documents: Sequence[BeirDocument]) -> ArrayLike:
        """Logits in input order, shape (n_documents,)."""
        ...


@dataclass(frozen=True, slots=True)
class System:
    """A scorer with its name and everything that its scores depend on.

    Attributes:
        label: its name in tables and file names.
        identity: model name and hash, engine, length limit and so on; all but the name and the weights of
            list and likeness are part of the key of kept scores.
        scorer: gives the logits.
        cut: called after a query is scored: how many of its documents were not read to the end.
        prepare: for scorers that read every document once: called with a set's documents before its first
            query, and with a function to call with the characters read.
        max_length: tokens that the scorer reads of a pair, for the estimate of the time left.
        list_weight: weight of the place in the list against the logit (:mod:`tinyrerank.fusion`).
        likeness: weight of a document's likeness to the best.
        scores_of: label under which the scores are kept; None for its own.
    """

    label: str
    identity: Mapping[str, Any]
    scorer: Scorer
    cut: Callable[[str, Sequence[BeirDocument]], int] | None = None
    prepare: Callable[[Sequence[BeirDocument], Callable[[int], None]], None] | None = None
    max_length: int | None = None
    list_weight: float = 0.0
    likeness: float = 0.0
    scores_of: str | None = None

    @property
    def key(self) -> str:
        """Hash of the system; the model counts by its content, not by its name."""
        outside = ("model", "list_weight", "likeness")
        identity = {name: value for name, value in self.identity.items() if name not in outside}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def query_work(self, task: Task, query: str) -> int:
        """Characters to read for one query."""
        text = self._characters(task.queries[query])
        if self.prepare:
            return text
        return sum(text + self._document_work(task.documents[key]) for key in task.run[query])

    def work(self, task: Task) -> int:
        """Characters to read for a whole set."""
        documents = task.documents.values() if self.prepare else ()
        return sum(map(self._document_work, documents)) + sum(
            self.query_work(task, query) for query in task.run
        )

    def _document_work(self, document: BeirDocument) -> int:
        return self._characters(whole_text(document))

    def _characters(self, text: str) -> int:
        """Characters that are read of a text, at about five a token."""
        return min(len(text), 5 * self.max_length) if self.max_length else len(text)


@dataclass(frozen=True, slots=True)
class ScoredQuery:
    """Logits of one query's candidates, in list order, and what they cost."""

    logits: tuple[float, ...]
    seconds: float
    cut: int


def reranker_system(reranker: Reranker, label: str) -> System:
    """A reranker as a system, scored through ``rank``: cut documents are counted from the receipts."""
    scorer = _RerankerScorer(reranker)
    identity = {
        "kind": "cross-encoder",
        "model": label,
        "sha256": hash_model(reranker.folder),
        "engine": reranker.engine.name,
        "max_length": reranker.limit(),
        "policy": reranker.policy,
        "overlap_tokens": reranker.overlap_tokens if reranker.policy == "window" else None,
        "query_window": reranker.query_window,
        "tinyrerank": __version__,
    }
    return System(label, identity, scorer, cut=scorer.cut, max_length=reranker.max_length)


def biencoder_system(encoder: BiEncoder, label: str = "cosine") -> System:
    """A bi-encoder as a system: each document of a set is embedded once."""
    return System(
        label,
        encoder.identity,
        encoder,
        cut=encoder.cut,
        prepare=encoder.prepare,
        max_length=encoder.max_length,
    )


def fused(system: System, list_weight: float = 0.0, likeness: float = 0.0) -> System:
    """The same scores, joined with place in the list and likeness to the best; nothing is scored twice."""
    weights = {"list_weight": list_weight, "likeness": likeness}
    weights = {name: weight for name, weight in weights.items() if weight}
    label = "+".join([system.label, *(name.removesuffix("_weight") for name in weights)])
    return replace(
        system,
        label=label,
        identity={**system.identity, **weights},
        list_weight=list_weight,
        likeness=likeness,
        scores_of=system.label,
    )


def evaluate_system(
    task: Task, system: System, folder: Path, progress: Progress | None = None
) -> SystemValues:
    """Score what is not yet scored, write the run, and measure it.

    Args:
        task: the set.
        system: what re-ranks it.
        folder: where the scores and ``<system>.trec.gz`` go.
        progress: told of every query; planned work is ``system.work(task)``.

    Raises:
        EngineError: the scorer returned the wrong number of logits, or one that is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scored = score_task(task, system, folder, progress or Progress(system.work(task), quiet=True))
    run: Run = {}
    for query, listed in task.run.items():
        values: Sequence[float] = scored[query].logits
        if system.list_weight:
            values = list_fusion(values, system.list_weight)
        if system.likeness:
            texts = [whole_text(task.documents[key]) for key in listed]
            values = with_likeness(values, texts, system.likeness)
        run[query] = reorder(listed, values)
    write_run(folder / run_file(system.label), run, _file_name(system.label))
    return SystemValues(
        per_query=measure(task.qrels, run, relevant_from=task.relevant_from),
        pairs=task.n_pairs,
        seconds=round(sum(one.seconds for one in scored.values()), 3),
        cut=sum(one.cut for one in scored.values()),
    )


def score_task(task: Task, system: System, folder: Path, progress: Progress) -> dict[str, ScoredQuery]:
    """Logits for every query of the task: kept ones read back, new ones appended as each query finishes."""
    kept_as = _file_name(system.scores_of or system.label)
    path = folder / f"scores.{kept_as}.{system.key}.jsonl"
    scored = _read_scores(path, task)
    todo = [query for query in task.run if query not in scored]
    label = f"{system.label}: {task.name}"
    kept = sum(system.query_work(task, query) for query in scored)
    progress.advance(kept if todo else system.work(task), label, fresh=False)
    if not todo:
        return scored
    preparing = 0.0
    if system.prepare:
        start = time.perf_counter()
        system.prepare(
            list(task.documents.values()),
            lambda work: progress.advance(work, f"{label}, reading documents"),
        )
        preparing = time.perf_counter() - start
    with path.open("a", encoding="utf-8") as file:
        for query in todo:
            documents = [task.documents[key] for key in task.run[query]]
            one = _score_query(system, task.queries[query], documents, preparing / len(todo))
            row = {"query": query, "candidates": task.query_hash(query), **asdict(one)}
            file.write(json.dumps(row) + "\n")
            file.flush()
            scored[query] = one
            place = f"{label}, query {len(scored)} of {len(task.run)}"
            progress.advance(system.query_work(task, query), place)
    return scored


def run_file(label: str) -> str:
    """Name of the file with a system's re-ranked lists."""
    return f"{_file_name(label)}.trec.gz"


def reorder(listed: Sequence[str], logits: ArrayLike) -> list[str]:
    """Documents by falling logit; equal logits keep the order of the list.

    Example:
        >>> reorder(["a", "b", "c"], [1.0, 2.0, 1.0])
        ['b', 'a', 'c']
    """
    order = np.argsort(-np.asarray(logits, dtype=np.float64), kind="stable")
    return [listed[i] for i in order]


def hash_model(folder: Path) -> str:
    """SHA-256 over the files that decide a model's scores: config, tokenizer and weights."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if (
            path.name in {"config.json", "tokenizer.json", "pytorch_model.bin"}
            or path.suffix == ".safetensors"
        ):
            digest.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


class _RerankerScorer:
    """Scores through ``rank`` and remembers how many documents of the last query were cut."""

    def __init__(self, reranker: Reranker) -> None:
        self._reranker = reranker
        self._last_cut = 0

    def score(self, query: str, documents: Sequence[BeirDocument]) -> NDArray[np.float64]:
        logits = np.zeros(len(documents))
        self._last_cut = 0
        for hit in self._reranker.rank(query, documents):
            logits[hit.index] = hit.logit
            self._last_cut += hit.receipt.truncated
        return logits

    def cut(self, _query: str, _documents: Sequence[BeirDocument]) -> int:
        return self._last_cut


def _score_query(system: System, query: str, documents: list[BeirDocument], share: float) -> ScoredQuery:
    """Score one query; ``share`` seconds of preparation are added to its time."""
    start = time.perf_counter()
    logits = np.asarray(system.scorer.score(query, documents), dtype=np.float64)
    seconds = time.perf_counter() - start + share
    if logits.shape != (len(documents),) or not np.isfinite(logits).all():
        raise EngineError(
            f"{system.label} gave logits of shape {logits.shape} for {len(documents)} documents, "
            f"{int((~np.isfinite(logits)).sum())} of them not finite; the model or engine is broken",
        )
    cut = system.cut(query, documents) if system.cut else 0
    return ScoredQuery(tuple(logits.tolist()), round(seconds, 6), cut)


def _read_scores(path: Path, task: Task) -> dict[str, ScoredQuery]:
    """What earlier runs kept for the task's queries and candidates.

    A line cut short by a kill, and all after it, is removed from the file.
    """
    scored: dict[str, ScoredQuery] = {}
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return scored
    sound = 0
    for line in data.splitlines(keepends=True):
        try:
            row = json.loads(line)
            query, candidates = str(row["query"]), str(row["candidates"])
            one = ScoredQuery(tuple(float(x) for x in row["logits"]), float(row["seconds"]), int(row["cut"]))
        except (ValueError, KeyError, TypeError):
            break
        if not line.endswith(b"\n"):
            break
        if query in task.run and candidates == task.query_hash(query):
            if len(one.logits) != len(task.run[query]):
                break
            scored[query] = one
        sound += len(line)
    if sound < len(data):
        with path.open("r+b") as file:
            file.truncate(sound)
    return scored


def _file_name(label: str) -> str:
    """The label with everything but letters, digits, dot, dash and underscore made a dash."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in label)
