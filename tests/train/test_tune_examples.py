"""Users' files become a pool: pairs, clicks, corpora; slips are named by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tinyrerank.errors import DataError
from tinyrerank.train.examples import from_corpus, general_examples, pieces, read_examples, split
from tinyrerank.train.pool import Pool, Query

EXAMPLES = Path(__file__).parents[2] / "examples"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def named(pool: Pool, query: Query) -> tuple[dict[str, int], list[str]]:
    """Answers with their grades, and non-answers, as texts."""
    return (
        {pool.passages[p]: gain for p, gain in query.positives.items()},
        [pool.passages[n] for n in query.negatives],
    )


def test_rows_of_one_query_come_together_with_grades_and_negatives(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"query": "tides?", "positive": "moon", "negatives": ["bread", "sun"]},
        {"query": "tides?", "positive": ["sun", "sea"], "grade": 3},
        {"query": "bread?", "positive": ["bread"]},
        {"query": "nothing known", "negatives": ["moon"], "positive": []},
    ]
    pool = read_examples(write(tmp_path / "pairs.jsonl", rows), [("Title", "more text"), ("", "MOON")])
    tides, bread = pool.queries
    assert named(pool, tides) == ({"moon": 1, "sun": 3, "sea": 3}, ["bread"])  # an answer is no non-answer
    assert named(pool, bread) == ({"bread": 1}, [])
    assert sorted(pool.passages) == ["Title more text", "bread", "moon", "sea", "sun"]


def test_clicks_more_than_average_make_answers_and_shown_in_vain_makes_none(tmp_path: Path) -> None:
    rows = [
        {"query": "q", "document": "good", "clicks": 50, "impressions": 100},
        {"query": "q", "document": "fair", "clicks": 30, "impressions": 100},
        {"query": "q", "document": "bad", "clicks": 0, "impressions": 100},
        {"query": "q", "document": "seldom shown", "clicks": 0, "impressions": 2},
        {"query": "q", "document": "good", "clicks": 10, "impressions": 20},
    ]
    pool = read_examples(write(tmp_path / "clicks.jsonl", rows))
    answers, others = named(pool, pool.queries[0])
    assert others == ["bad"]
    assert set(answers) == {"good", "fair"}
    mean = 90 / 322
    assert answers["good"] == round(1000 * ((60 + 10 * mean) / 130 - mean))
    assert answers["good"] > answers["fair"] > 0


def test_one_click_of_one_counts_less_than_many_of_many(tmp_path: Path) -> None:
    rows = [
        {"query": "q", "document": "once", "clicks": 1, "impressions": 1},
        {"query": "q", "document": "often", "clicks": 80, "impressions": 100},
        {"query": "q", "document": "rest", "clicks": 1, "impressions": 200},
    ]
    pool = read_examples(write(tmp_path / "clicks.jsonl", rows))
    answers, _ = named(pool, pool.queries[0])
    assert answers["often"] > answers["once"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"query": "q", "positive": 3}, r"x\.jsonl:2: 'positive' must be text or a list of texts, not 3"),
        ({"query": "q", "positive": "a", "negatives": "b"}, r":2: 'negatives' must be text or a list"),
        ({"query": "q", "positive": "a", "grade": 0}, r":2: 'grade' must be a whole number from 1, not 0"),
        ({"query": "q", "positive": "a", "grade": True}, r":2: 'grade' must be a whole number"),
        ({"positive": "a"}, r":2: field 'query' must be text, but is missing"),
        ({"query": "q"}, r":2: 'positive' must be text or a list of texts, not None"),
    ],
)
def test_a_slip_in_a_pair_is_named_by_its_line(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_examples(write(tmp_path / "x.jsonl", [{"query": "fine", "positive": "a"}, row]))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"document": None}, r":2: field 'document' must be text"),
        ({"clicks": "3"}, r":2: 'clicks' must be a number from 0, not '3'"),
        ({"impressions": -1}, r":2: 'impressions' must be a number from 0"),
        ({"clicks": 5, "impressions": 4}, r":2: 5 clicks in 4 impressions cannot be"),
    ],
)
def test_a_slip_in_a_click_is_named_by_its_line(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    row = {"query": "q", "document": "a", "clicks": 1, "impressions": 10}
    with pytest.raises(DataError, match=says):
        read_examples(write(tmp_path / "x.jsonl", [row, row | changed]))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows; give pairs or clicks"):
        read_examples(write(tmp_path / "x.jsonl", []))


def test_a_corpus_gives_queries_of_every_kind_and_real_ones_come_on_top() -> None:
    documents = [
        (
            f"Harbour {n}",
            f"Harbour {n} was built long ago. Its walls are of stone {n}. Ships come. Quay {n % 3} is old.",
        )
        for n in range(60)
    ]
    pool = from_corpus(documents, 80, 1, ["how old is the quay?"])
    kinds = {q.source for q in pool.queries}
    assert kinds == {
        "synthetic title",
        "synthetic question",
        "synthetic keywords",
        "synthetic sentence",
        "synthetic half",
        "synthetic span",
        "log",
    }
    assert len(pool.queries) <= 81
    assert all(len(q.positives) == (q.source != "log") for q in pool.queries)
    assert from_corpus(documents, 80, 1, ["how old is the quay?"]) == pool


def test_too_small_a_corpus_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 documents give only .* at least 20"):
        from_corpus([("", "one two three")], 100, 1)


def test_pieces_of_a_long_text_hold_all_of_it_and_are_short() -> None:
    text = " ".join(f"Sentence {n} says that {'word ' * (n % 40)}ends." for n in range(80))
    found = pieces(text)
    assert " ".join(found).split() == text.split()
    assert len(found) > 5
    assert all(len(p.split()) <= 180 for p in found)
    endless = "word " * 1000
    assert [len(p.split()) for p in pieces(endless)] == [180, 180, 180, 180, 180, 100]
    assert pieces("short text") == ["short text"]
    assert pieces(" ") == []


def test_no_query_is_in_two_parts_of_a_split() -> None:
    pool = Pool([], [Query(f"q{n}", "examples") for n in range(50)], 0)
    parts = split(pool, 3, 0.3)
    assert sorted(n for part in parts for n in part) == list(range(50))
    assert [len(part) for part in parts] == [34, 8, 8]
    assert split(pool, 4, 0.3) != parts
    many = split(Pool([], pool.queries * 40, 0), 3, 0.3)
    assert [len(part) for part in many] == [1800, 100, 100]
    with pytest.raises(DataError, match=r"5 queries with an answer are too few: 8 .* at least 12"):
        split(Pool([], pool.queries[:5], 0), 3, 0.3)


def test_the_everyday_questions_are_those_of_the_sample_corpus() -> None:
    pool = general_examples()
    assert len(pool.queries) == 240
    assert len(pool.passages) == 200
    asked = [json.loads(line)["query"] for line in (EXAMPLES / "questions.jsonl").read_text().splitlines()]
    assert [q.text for q in pool.queries[:40]] == asked
    corpus = " ".join(" ".join(p.read_text().split()) for p in sorted((EXAMPLES / "corpus").glob("*.md")))
    assert all(passage in corpus for passage in pool.passages)
