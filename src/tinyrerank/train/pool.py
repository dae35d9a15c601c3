"""The pool that every training stage draws from: passages, queries, and which passages answer which query.

``passages.jsonl`` and ``queries.jsonl`` in the working folder; passages are unique by normalized text, and
queries point at them by line number. A slice of each labelled set is held out for tuning, and ``dev`` adds
the development queries of an evaluation set (its test queries are never read).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tinyrerank.errors import DataError
from tinyrerank.evaluate.beir import read_jsonl
from tinyrerank.train.recipe import DataRecipe
from tinyrerank.train.synth import synthesize

MAX_PASSAGE_CHARS = 4000


@dataclass(frozen=True, slots=True)
class Query:
    """One training query.

    Attributes:
        text: what a user would type.
        source: data set, or the kind of synthesis.
        positives: passages that answer it, graded: line number to gain.
        negatives: passages given as negatives (unjudged).
        held_out: kept for tuning, never trained on.
    """

    text: str
    source: str
    positives: dict[int, int] = field(default_factory=dict)
    negatives: list[int] = field(default_factory=list)
    held_out: bool = False


@dataclass(slots=True)
class Pool:
    """Passages and queries; ``n_trainable`` passages come first, those of dev sets after them."""

    passages: list[str]
    queries: list[Query]
    n_trainable: int

    def save(self, folder: Path) -> None:
        """Write the pool as JSON lines."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "passages.jsonl").open("w", encoding="utf-8") as f:
            for n, text in enumerate(self.passages):
                f.write(
                    json.dumps({"text": text, "trainable": n < self.n_trainable}, ensure_ascii=False) + "\n"
                )
        with (folder / "queries.jsonl").open("w", encoding="utf-8") as f:
            for query in self.queries:
                f.write(json.dumps(asdict(query), ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Pool:
        """Read what :meth:`save` wrote."""
        rows = [row for _, row in read_rows(folder / "passages.jsonl")]
        queries = []
        for _, row in read_rows(folder / "queries.jsonl"):
            row["positives"] = {int(k): v for k, v in row["positives"].items()}
            queries.append(Query(**row))
        return cls([r["text"] for r in rows], queries, sum(r["trainable"] for r in rows))


def read_rows(path: Path, *texts: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and rows of a ``.jsonl`` or ``.jsonl.gz`` file.

    Args:
        path: the file.
        texts: fields that every row must have as text.

    Raises:
        DataError: the file is missing or damaged, or a line is not a JSON object with those fields; names the
            line.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file; pass --data or set TINYRERANK_DATA to the data folder")
    for number, row in read_jsonl(path):
        for name in texts:
            if not isinstance(row.get(name), str):
                got = repr(row[name]) if name in row else "missing"
                raise DataError(f"{path}:{number}: field {name!r} must be text, but is {got}")
        yield number, row


class Passages:
    """Passages, unique by their words."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._ids: dict[bytes, int] = {}

    def add(self, text: str) -> int:
        """The number of a passage, a new one if it is not here yet."""
        text = " ".join(text.split())[:MAX_PASSAGE_CHARS]
        key = hashlib.blake2b(text.casefold().encode(errors="replace"), digest_size=12).digest()
        if key not in self._ids:
            self._ids[key] = len(self.texts)
            self.texts.append(text)
        return self._ids[key]


def build_pool(recipe: DataRecipe, data: Path, seed: int) -> Pool:
    """Read the sets that the recipe names, synthesize queries, hold some out.

    Args:
        recipe: names of sets below ``data/train`` and how much to synthesize.
        data: folder that holds ``train/`` and ``eval/``.
        seed: for sampling; the same seed gives the same pool.

    Raises:
        DataError: a file is missing or malformed.
    """
    rng = random.Random(seed)
    passages = Passages()
    queries: list[Query] = []
    titled: list[tuple[str, int]] = []
    for name in recipe.labelled:
        queries += _labelled(name, data, passages, recipe.held_out, rng)
    for path in [*(data / "train" / f"{name}.jsonl.gz" for name in recipe.corpora), *map(Path, recipe.extra)]:
        for _, row in read_rows(path, "text"):
            title = str(row.get("title") or "")
            # Search engines feed titles in front of the text; half of the passages keep theirs there.
            joined = (
                f"{title}. {row['text']}" if title and rng.random() < recipe.title_in_text else row["text"]
            )
            titled.append((title, passages.add(joined)))
    listed: list[int] = []
    for name in recipe.candidate_lists:
        for _, row in read_rows(data / "train" / f"{name}.jsonl.gz", "query"):
            found = [passages.add(c["text"]) for c in row["candidates"]]
            listed += found
            queries.append(Query(row["query"], name, {}, found[:20]))
    n_trainable = len(passages.texts)
    for name in recipe.queries:
        found_rows = read_rows(data / "train" / f"{name}.jsonl.gz", "query", "source")
        queries += [Query(row["query"], row["source"]) for _, row in found_rows]
    queries += [
        Query(text, f"synthetic {kind}", {passage: 1})
        for kind, text, passage in synthesize(passages.texts, titled, recipe.synth, rng)
    ]
    seen: set[str] = set()
    queries = [q for q in queries if not (q.text.casefold() in seen or seen.add(q.text.casefold()))]  # type: ignore[func-returns-value]
    # A passage may answer several queries, in several sets: none that answers a held-out one is trained on.
    answers = {p for q in queries if q.held_out for p in q.positives}
    queries = [q for q in queries if q.held_out or answers.isdisjoint(q.positives)]
    if recipe.max_queries:
        queries = _sample_queries(queries, recipe.max_queries, rng)
    kept = Passages()
    if recipe.max_passages:
        queries = _sample_passages(passages.texts, kept, queries, listed, recipe, rng)
        passages, n_trainable = kept, len(kept.texts)
    for name in recipe.dev:
        queries += _dev(name, data, passages)
    return Pool(passages.texts, queries, n_trainable)


def _sample_queries(queries: list[Query], n: int, rng: random.Random) -> list[Query]:
    groups: dict[str, list[Query]] = {"labelled": [], "real": [], "synthetic": []}
    for query in queries:
        if not query.held_out:
            synthetic = query.source.startswith("synthetic")
            groups["synthetic" if synthetic else "labelled" if query.positives else "real"].append(query)
    kept = [q for q in queries if q.held_out and q.positives]
    for group in groups.values():
        kept += _even_sample(group, n // len(groups), rng)
    return kept


def _even_sample(queries: list[Query], n: int, rng: random.Random) -> list[Query]:
    """Up to n queries, as evenly over their sources as the sources' sizes allow."""
    by_source: dict[str, list[Query]] = {}
    for query in queries:
        by_source.setdefault(query.source, []).append(query)
    kept: list[Query] = []
    smallest_first = sorted(by_source.values(), key=len)
    for done, group in enumerate(smallest_first):
        share = (n - len(kept)) // (len(smallest_first) - done)
        kept += rng.sample(group, min(len(group), share))
    return kept


def _sample_passages(
    texts: list[str],
    kept: Passages,
    queries: list[Query],
    first: list[int],
    recipe: DataRecipe,
    rng: random.Random,
) -> list[Query]:
    """Fill ``kept`` and point the queries at it, as many passages and given negatives as the recipe says."""
    n = recipe.max_passages
    new: dict[int, int] = {}

    def move(old: int) -> int:
        if old not in new:
            new[old] = kept.add(texts[old])
        return new[old]

    # Web passages of first-stage lists come before all others: they look most like what is reranked.
    for old in first[:n]:
        move(old)
    moved = [
        Query(
            q.text,
            q.source,
            {move(p): gain for p, gain in q.positives.items()},
            [move(p) for p in rng.sample(q.negatives, min(recipe.negatives, len(q.negatives)))],
            q.held_out,
        )
        for q in queries
    ]
    for old in rng.sample(range(len(texts)), len(texts)):
        if len(kept.texts) >= n:
            break
        move(old)
    return moved


def _labelled(
    name: str, data: Path, passages: Passages, held_out: int, rng: random.Random
) -> Iterable[Query]:
    merged: dict[str, Query] = {}
    for _, row in read_rows(data / "train" / f"{name}.jsonl.gz", "query", "positive"):
        query = merged.setdefault(row["query"], Query(row["query"], name))
        positive = passages.add(row["positive"])
        if row.get("answerable") is False:  # squad2: about this paragraph, but not answered by it
            query.negatives.append(positive)
        else:
            query.positives[positive] = 1
        query.negatives.extend(passages.add(text) for text in row.get("negatives", ()))
    found = [q for q in merged.values() if q.positives or q.negatives]
    # Held out by passage: all queries that a chosen passage answers.
    answers = sorted({p for q in found for p in q.positives})
    chosen = set(rng.sample(answers, min(held_out, len(answers) // 10)))
    return [
        Query(q.text, q.source, q.positives, q.negatives, bool(chosen & q.positives.keys())) for q in found
    ]


def _dev(name: str, data: Path, passages: Passages) -> Iterator[Query]:
    folder = data / "eval" / name
    ids = {
        row["_id"]: passages.add(f"{row.get('title', '')} {row['text']}".strip())
        for _, row in read_rows(folder / "corpus.jsonl.gz", "_id", "text")
    }
    gains: dict[str, dict[int, int]] = {}
    for query_id, passage_id, gain in _read_qrels(folder / "qrels" / "dev.tsv"):
        if passage_id in ids and gain > 0:
            gains.setdefault(query_id, {})[ids[passage_id]] = gain
    for _, row in read_rows(folder / "queries.jsonl", "_id", "text"):
        if row["_id"] in gains:
            yield Query(row["text"], f"dev {name}", gains[row["_id"]], [], held_out=True)


def _read_qrels(path: Path) -> Iterator[tuple[str, str, int]]:
    """Query, passage and grade of every line after the header."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; dev sets need development judgements") from None
    for number, line in enumerate(lines[1:], 2):
        try:
            query_id, passage_id, gain = line.split("\t")
            yield query_id, passage_id, int(gain)
        except ValueError:
            raise DataError(f"{path}:{number}: expected query, passage and grade, tab-separated") from None
