"""Where the candidates come from: the list that a set brings, or BM25 over its corpus."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tinyrerank.errors import InputError, MissingExtraError
from tinyrerank.evaluate.beir import BeirDocument, Qrels, Run, read_corpus, read_run, read_topics

_GIVEN = ("bm25.trec.gz", "bm25.trec", "judged.trec.gz", "judged.trec")
_K1, _B = 0.9, 0.4


@dataclass(frozen=True, slots=True)
class Task:
    """One set, ready to be re-ranked.

    Attributes:
        name: the folder's name.
        split: which judgements are used.
        queries: text by id, every one judged.
        qrels: grades by query and document.
        documents: the candidates' documents by id.
        n_documents: documents in the whole corpus.
        run: the candidates of each query, best first, all of them in ``documents``. A query for which the
            first stage found nothing is absent, and counts as zero.
        source: where the candidates come from, in words.
        relevant_from: the lowest grade that counts as relevant in binary metrics.
        notes: what was left out, for the reader of the results.
    """

    name: str
    split: str
    queries: dict[str, str]
    qrels: Qrels
    documents: dict[str, BeirDocument]
    n_documents: int
    run: Run
    source: str
    relevant_from: int
    notes: tuple[str, ...]

    @property
    def n_pairs(self) -> int:
        """Query-document pairs to score."""
        return sum(map(len, self.run.values()))

    def candidate_hash(self) -> str:
        """SHA-256 over the queries and the candidates with their texts, in order."""
        digest = hashlib.sha256()
        for query in self.run:
            digest.update(self._candidates(query))
        return digest.hexdigest()

    def query_hash(self, query: str) -> str:
        """The same over one query and its candidates, 16 hex digits."""
        return hashlib.sha256(self._candidates(query)).hexdigest()[:16]

    def _candidates(self, query: str) -> bytes:
        documents = [(key, self.documents[key]) for key in self.run[query]]
        texts = [(key, document["title"], document["text"]) for key, document in documents]
        return json.dumps([query, self.queries[query], texts]).encode()


def load_task(
    folder: Path,
    *,
    split: str = "test",
    first_stage: str = "given",
    depth: int = 100,
    relevant_from: int | None = None,
) -> Task:
    """Read a BEIR folder and its candidates.

    Args:
        folder: the set.
        split: name of the file in ``qrels``.
        first_stage: ``given`` takes ``runs/bm25.trec.gz`` or ``runs/judged.trec.gz``, whichever is there;
            ``bm25`` makes a BM25 list with ``bm25s``; ``run:NAME`` takes ``runs/NAME.trec.gz``.
        depth: candidates kept for each query.
        relevant_from: lowest grade that is relevant in binary metrics; None means 2 for sets whose name
            starts with ``trec-dl`` (as TREC defines it) and 1 for the others.

    Raises:
        InputError: no such folder, split or list; says what there is.
        DataError: a malformed file.
        MissingExtraError: ``bm25`` without ``bm25s``.
    """
    if depth < 1:
        raise InputError(f"depth is {depth}; it must be at least 1")
    name = folder.resolve().name
    topics = read_topics(folder, split)
    notes = []
    if topics.without_relevant:
        notes.append(f"queries without a relevant document, left out: {topics.without_relevant}")
    if first_stage == "bm25":
        documents, n_documents = read_corpus(folder)
        run = bm25_run(documents, topics.queries, depth)
        documents = {key: documents[key] for key in _listed(run)}
        source = f"BM25 by bm25s {version('bm25s')} (k1 {_K1}, b {_B}, Porter stemmer, English stop words)"
    else:
        path = find_run(folder, first_stage)
        run = {query: listed for query, listed in read_run(path).items() if query in topics.queries}
        documents, n_documents = read_corpus(folder, set(_listed(run)))
        run = _restrict(run, documents, topics.queries, depth, notes)
        source = f"given: runs/{path.name}"
    if not run:
        raise InputError(
            f"{folder}: the first stage ({source}) lists nothing for the {split} queries; "
            "try --first-stage bm25",
        )
    if len(run) < len(topics.queries):
        notes.append(f"queries without candidates, counted as zero: {len(topics.queries) - len(run)}")
    if relevant_from is None:
        relevant_from = 2 if name.startswith("trec-dl") else 1
    ordered = {query: run[query] for query in topics.queries if query in run}
    return Task(
        name=name,
        split=split,
        queries=topics.queries,
        qrels=topics.qrels,
        documents=documents,
        n_documents=n_documents,
        run=ordered,
        source=source,
        relevant_from=relevant_from,
        notes=tuple(notes),
    )


def sample_task(task: Task, n_queries: int | None, seed: int = 0) -> Task:
    """The task with at most so many of its queries, drawn at random; says so in its notes."""
    if n_queries is not None and n_queries < 1:
        raise InputError(f"{n_queries} queries a set; give 1 or more")
    if n_queries is None or n_queries >= len(task.queries):
        return task
    drawn = set(random.Random(seed).sample(list(task.queries), n_queries))
    kept = [query for query in task.queries if query in drawn]
    run = {query: task.run[query] for query in kept if query in task.run}
    return replace(
        task,
        queries={query: task.queries[query] for query in kept},
        qrels={query: task.qrels[query] for query in kept},
        documents={key: task.documents[key] for key in dict.fromkeys(_listed(run))},
        run=run,
        notes=(*task.notes, f"a sample of {n_queries} of {len(task.queries)} queries (seed {seed})"),
    )


def find_run(folder: Path, first_stage: str) -> Path:
    """The run file that ``given`` or ``run:NAME`` stands for.

    Raises:
        InputError: it is not there, or the choice is unknown; lists the runs of the folder.
    """
    runs = folder / "runs"
    if first_stage == "given":
        names: Iterable[str] = _GIVEN
    elif first_stage.startswith("run:"):
        stem = first_stage.removeprefix("run:")
        names = (f"{stem}.trec.gz", f"{stem}.trec")
    else:
        raise InputError(f"first stage {first_stage!r} is unknown; choose given, bm25 or run:NAME")
    for name in names:
        if (runs / name).is_file():
            return runs / name
    present = sorted({path.name.split(".trec")[0] for path in runs.glob("*.trec*")})
    wanted = "bm25 or judged run" if first_stage == "given" else f"run {first_stage.removeprefix('run:')}"
    raise InputError(
        f"{folder}: has no {wanted} in runs/; there: {', '.join(present) or 'none'}; "
        "choose one with --first-stage run:NAME, or make one with --first-stage bm25",
    )


def bm25_run(documents: dict[str, BeirDocument], queries: dict[str, str], depth: int = 100) -> Run:
    """BM25 over title and text, the best ``depth`` documents that share a word with the query.

    k1 0.9, b 0.4, Porter stemmer, English stop words. A document that is the query itself is left out: the
    same id and the same text, as in ArguAna. (The id alone will not do: where queries and documents are
    both numbered from 1, as in CISI or Cranfield, it would drop relevant documents.)

    Raises:
        MissingExtraError: ``bm25s`` or ``PyStemmer`` is not installed.
    """
    try:
        import bm25s
        import Stemmer
    except ImportError:
        raise MissingExtraError("a BM25 first stage", "eval") from None
    stem = Stemmer.Stemmer("porter")

    def tokens(texts: list[str], as_ids: bool) -> Any:  # noqa: ANN401 - bm25s has no types
        return bm25s.tokenize(texts, stopwords="en", stemmer=stem, show_progress=False, return_ids=as_ids)

    ids, own = list(documents), _own_documents(queries, documents)
    index = bm25s.BM25(k1=_K1, b=_B, method="lucene")
    index.index(tokens([f"{d['title']} {d['text']}" for d in documents.values()], True), show_progress=False)
    k = min(depth + 1, len(ids))  # one more, for the query's own document
    run: Run = {}
    for query, text in queries.items():
        terms = tokens([text], False)[0]
        if not terms:
            continue
        places, scores = index.retrieve([terms], k=k, show_progress=False)
        found = [ids[i] for i, score in zip(places[0], scores[0], strict=True) if score > 0]
        listed = [key for key in found if (query, key) not in own][:depth]
        if listed:
            run[query] = listed
    return run


def _restrict(
    run: Run, documents: dict[str, BeirDocument], queries: dict[str, str], depth: int, notes: list[str]
) -> Run:
    """The first ``depth`` listed documents that can be ranked; ``notes`` gets what was left out, and why."""
    own = _own_documents(queries, documents)
    absent = own_listed = 0
    kept: Run = {}
    for query, listed in run.items():
        present = [key for key in listed if key in documents]
        ranked = [key for key in present if (query, key) not in own]
        absent += len(listed) - len(present)
        own_listed += len(present) - len(ranked)
        if ranked:
            kept[query] = ranked[:depth]
    if absent:
        notes.append(f"listed documents that the corpus lacks, left out: {absent}")
    if own_listed:
        notes.append(f"listed documents that are the query itself, left out: {own_listed}")
    return kept


def _own_documents(queries: dict[str, str], documents: dict[str, BeirDocument]) -> set[tuple[str, str]]:
    """(query, document) ids that are equal and stand for the same text, spaces aside."""
    own = set()
    for key in queries.keys() & documents.keys():
        title, text = documents[key]["title"], documents[key]["text"]
        if queries[key].split() in (text.split(), f"{title} {text}".split()):
            own.add((key, key))
    return own


def _listed(run: Run) -> Iterable[str]:
    """Every listed document id, once, in order."""
    return dict.fromkeys(key for listed in run.values() for key in listed)
