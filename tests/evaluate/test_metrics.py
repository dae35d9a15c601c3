"""The metrics are what their definitions say; the definitions are written out here once more, slowly."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyrerank.evaluate.metrics import METRICS, mean, measure

Grades = dict[str, int]
DOCS = [f"d{i}" for i in range(130)]


def slow(grades: Grades, listed: list[str], relevant_from: int) -> dict[str, float]:
    """One query's metrics in plain Python."""
    gains = [max(grades.get(key, 0), 0) for key in listed[:10]]
    ideal = sorted((max(g, 0) for g in grades.values()), reverse=True)[:10]
    dcg = sum(g / math.log2(i + 2) for i, g in enumerate(gains))
    best = sum(g / math.log2(i + 2) for i, g in enumerate(ideal))
    relevant = {key for key, grade in grades.items() if grade >= relevant_from}
    hits = [i for i, key in enumerate(listed) if key in relevant]
    n = len(relevant)
    return {
        "NDCG@10": dcg / best if best else 0.0,
        "MRR@10": 1 / (hits[0] + 1) if hits and hits[0] < 10 else 0.0,
        "MAP": sum((k + 1) / (i + 1) for k, i in enumerate(hits)) / n if n else 0.0,
        "R@100": sum(i < 100 for i in hits) / n if n else 0.0,
        "Hit@10": float(bool(hits) and hits[0] < 10),
    }


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(st.sampled_from(DOCS), st.integers(0, 3), min_size=1, max_size=30),
    st.permutations(DOCS),
    st.integers(1, 130),
    st.integers(1, 2),
)
def test_every_metric_is_its_definition(grades: Grades, order: list[str], n: int, relevant_from: int) -> None:
    listed = order[:n]
    values = measure({"q": grades}, {"q": listed}, relevant_from=relevant_from)
    for metric, expected in slow(grades, listed, relevant_from).items():
        assert values[metric]["q"] == pytest.approx(expected, abs=1e-6), metric


def test_the_order_counts_even_where_a_tool_would_break_ties_by_id() -> None:
    qrels = {"q": {"a": 1}}
    first = measure(qrels, {"q": ["a", "z"]})
    second = measure(qrels, {"q": ["z", "a"]})
    assert first["MRR@10"]["q"] == 1.0
    assert second["MRR@10"]["q"] == 0.5


def test_a_query_without_a_list_counts_as_zero_and_an_unjudged_one_not_at_all() -> None:
    values = measure({"q1": {"a": 1}, "q2": {"a": 1}}, {"q1": ["a"], "q9": ["a"]})
    for metric in METRICS:
        assert values[metric] == {"q1": 1.0, "q2": 0.0}
        assert mean(values[metric]) == 0.5
