"""What users bring to fine-tuning: pairs or click logs with labels, or a plain corpus without any.

Both become a :class:`~tinyrerank.train.pool.Pool`, the form that lists are mined from. Pairs are rows of
``{"query", "positive", "negatives"}``: ``positive`` is a text or a list of texts, ``grade`` (a whole number
from 1) may say how good it is, ``negatives`` may be left out. Clicks are rows of ``{"query", "document",
"clicks", "impressions"}``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tinyrerank.errors import DataError
from tinyrerank.train.pool import Passages, Pool, Query, read_rows
from tinyrerank.train.recipe import SynthRecipe
from tinyrerank.train.synth import synthesize

#: Impressions at the average rate that every document is credited with, so that 1 click of 1 proves little.
_PRIOR_IMPRESSIONS = 10
_PIECE_WORDS = 180
#: Queries to choose by, and to report on, at most: more would take longer than they are worth.
_MOST_HELD_OUT = 100
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass(slots=True)
class _Shown:
    """Clicks and impressions of one query's documents, by passage number."""

    clicks: dict[int, float] = field(default_factory=dict)
    impressions: dict[int, float] = field(default_factory=dict)


def read_examples(path: Path, corpus: Sequence[tuple[str, str]] = ()) -> Pool:
    """Read labelled examples.

    Args:
        path: JSON lines, of pairs or of clicks; the first row decides which.
        corpus: further documents, title and text, that hard negatives may come from.

    Raises:
        DataError: a row is malformed; names its line.
    """
    passages = Passages()
    if not path.exists():
        raise DataError(f"{path}: no such file; give pairs or clicks, one JSON object a line")
    rows = list(read_rows(path, "query"))
    if not rows:
        raise DataError(f"{path}: no rows; give pairs or clicks, one JSON object a line")
    read = _from_clicks if "clicks" in rows[0][1] else _from_pairs
    queries = read(path, rows, passages)
    for title, text in corpus:
        passages.add(f"{title} {text}".strip())
    return Pool(passages.texts, [q for q in queries if q.positives], len(passages.texts))


def _from_pairs(path: Path, rows: list[tuple[int, dict[str, Any]]], passages: Passages) -> list[Query]:
    merged: dict[str, Query] = {}
    for number, row in rows:
        where = f"{path}:{number}"
        positives = row.get("positive")
        positives = [positives] if isinstance(positives, str) else positives
        negatives, grade = row.get("negatives") or [], row.get("grade", 1)
        for name, texts in (("positive", positives), ("negatives", negatives)):
            if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
                raise DataError(f"{where}: {name!r} must be text or a list of texts, not {texts!r:.60}")
        if isinstance(grade, bool) or not isinstance(grade, int) or grade < 1:
            raise DataError(f"{where}: 'grade' must be a whole number from 1, not {grade!r:.60}")
        query = merged.setdefault(row["query"], Query(row["query"], "examples"))
        query.positives.update({passages.add(text): grade for text in positives or []})
        query.negatives.extend(passages.add(text) for text in negatives)
    return [replace(q, negatives=[n for n in q.negatives if n not in q.positives]) for q in merged.values()]


def _from_clicks(path: Path, rows: list[tuple[int, dict[str, Any]]], passages: Passages) -> list[Query]:
    """Documents clicked more often than average are answers, those shown often and clicked less are not."""
    shown: dict[str, _Shown] = {}
    for number, row in rows:
        where = f"{path}:{number}"
        if not isinstance(row.get("document"), str):
            raise DataError(f"{where}: field 'document' must be text, but is {row.get('document')!r:.60}")
        clicks, impressions = (_count(row, name, where) for name in ("clicks", "impressions"))
        if clicks > impressions:
            raise DataError(f"{where}: {clicks:g} clicks in {impressions:g} impressions cannot be")
        place = passages.add(row["document"])
        seen = shown.setdefault(row["query"], _Shown())
        seen.clicks[place] = seen.clicks.get(place, 0) + clicks
        seen.impressions[place] = seen.impressions.get(place, 0) + impressions
    total = sum(sum(s.impressions.values()) for s in shown.values())
    mean = sum(sum(s.clicks.values()) for s in shown.values()) / max(1.0, total)
    queries = []
    for text, seen in shown.items():
        query = Query(text, "examples")
        for number, impressions in seen.impressions.items():
            credit = _PRIOR_IMPRESSIONS
            rate = (seen.clicks[number] + credit * mean) / (impressions + credit)
            if rate > mean:
                query.positives[number] = max(1, round(1000 * (rate - mean)))
            elif impressions >= _PRIOR_IMPRESSIONS:
                query.negatives.append(number)
        queries.append(query)
    return queries


def _count(row: dict[str, Any], name: str, where: str) -> float:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise DataError(f"{where}: {name!r} must be a number from 0, not {value!r:.60}")
    return float(value)


def from_corpus(
    documents: Sequence[tuple[str, str]], n_queries: int, seed: int, queries: Iterable[str] = ()
) -> Pool:
    """Passages of a corpus with queries made from them.

    Args:
        documents: title (may be empty) and text; long ones are cut into pieces at the ends of sentences.
        n_queries: how many to make at most.
        seed: for the choice.
        queries: real ones, without answers; they come on top.

    Raises:
        DataError: the corpus gives fewer than 20 queries.
    """
    rng = random.Random(seed)
    passages, titled = Passages(), []
    for title, text in documents:
        # Half of the passages carry their title, as search engines feed them.
        cut = [f"{title} {piece}" if title and rng.random() < 0.5 else piece for piece in pieces(text)]
        titled += [(title, passages.add(piece)) for piece in cut]
    share = -(-n_queries // 4)
    recipe = SynthRecipe(
        titles=share, keywords=n_queries, sentences=share, halves=-(-n_queries // 8), spans=n_queries
    )
    by_kind: dict[str, list[Query]] = {}
    for kind, text, number in synthesize(passages.texts, titled, recipe, rng):
        by_kind.setdefault(kind, []).append(Query(text, f"synthetic {kind}", {number: 1}))
    made: list[Query] = []
    while by_kind and len(made) < n_queries:  # a query of each kind in turn, as far as they last
        for kind in list(by_kind):
            made.append(by_kind[kind].pop())
            if not by_kind[kind]:
                del by_kind[kind]
    found = {q.text.casefold(): q for q in [*made[:n_queries], *(Query(text, "log") for text in queries)]}
    if len(found) < 20:
        raise DataError(
            f"{len(documents)} documents give only {len(found)} queries; adapting needs at least 20: add"
            " documents, or real queries with --queries"
        )
    return Pool(passages.texts, list(found.values()), len(passages.texts))


def pieces(text: str) -> list[str]:
    """A text cut into pieces of at most about 180 words at the ends of sentences; short texts stay whole."""
    words_left, found, current = _PIECE_WORDS, [], [""]
    if len(text.split()) <= 2 * _PIECE_WORDS:
        return [text] if text.strip() else []
    for sentence in _SENTENCE.split(text):
        words = sentence.split()
        for start in range(0, len(words), _PIECE_WORDS):  # text without sentences is cut anywhere
            part = words[start : start + _PIECE_WORDS]
            if len(part) > words_left:
                found.append(" ".join(current).strip())
                words_left, current = _PIECE_WORDS, []
            current.append(" ".join(part))
            words_left -= len(part)
    found.append(" ".join(current).strip())
    return [piece for piece in found if piece]


def general_examples(path: Path | None = None) -> Pool:
    """Questions on everyday things that fine-tuning must not unlearn: ours, or those of a file of pairs."""
    return read_examples(path or Path(__file__).parent / "general.jsonl")


def split(pool: Pool, seed: int, held_out: float) -> tuple[list[int], list[int], list[int]]:
    """Numbers of the queries to train on, to choose by, and to report on.

    Args:
        pool: the examples.
        seed: decides.
        held_out: share of the queries that is not trained on; one half chooses, the other reports.

    Raises:
        DataError: too few queries to hold any out.
    """
    order = list(range(len(pool.queries)))
    random.Random(seed).shuffle(order)
    half = min(_MOST_HELD_OUT, max(4, round(held_out * len(order) / 2)))
    if len(order) < 3 * half:
        raise DataError(
            f"{len(order)} queries with an answer are too few: {2 * half} are held out to measure by; give at"
            f" least {3 * half}"
        )
    return order[2 * half :], order[half : 2 * half], order[:half]
