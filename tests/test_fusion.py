from __future__ import annotations

import math
import random
import re
import statistics
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyrerank import Hit, Ranking, Receipt, fuse_with_list
from tinyrerank.errors import InputError
from tinyrerank.fusion import joined_logits, list_fusion, with_likeness

LOGITS = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=30)
TEXTS = st.lists(st.sampled_from(["", "...", "a b", "a a c", "B, c; d", "the d d e", "f"]), max_size=8)


def ranking(logits: list[float]) -> Ranking:
    receipt = Receipt(1, 1, 1, (0, 1))
    order = sorted(range(len(logits)), key=lambda i: -logits[i])
    return Ranking("q", tuple(Hit(i, logits[i], f"d{i}", f"d{i}", receipt) for i in order), len(logits))


def slow(logits: list[float], weight: float) -> list[float]:
    """Term by term, with the standard library."""

    def standard(values: list[float]) -> list[float]:
        mean, deviation = statistics.fmean(values), statistics.pstdev(values)
        return [(value - mean) / deviation if deviation else 0.0 for value in values]

    places = standard([math.log(i + 1) for i in range(len(logits))])
    return [a - weight * b for a, b in zip(standard(logits), places, strict=True)]


@given(LOGITS, st.floats(0, 5))
def test_values_equal_the_slow_twin(logits: list[float], weight: float) -> None:
    assert list_fusion(logits, weight) == pytest.approx(slow(logits, weight), abs=1e-6)


@given(LOGITS)
def test_no_weight_keeps_the_ranking(logits: list[float]) -> None:
    assert fuse_with_list(ranking(logits), 0.0).hits == ranking(logits).hits


@given(LOGITS)
def test_a_large_weight_gives_the_list_back(logits: list[float]) -> None:
    fused = fuse_with_list(ranking(logits), 1e6)
    assert [hit.index for hit in fused] == list(range(len(logits)))


def test_equal_logits_keep_the_list() -> None:
    assert [hit.index for hit in fuse_with_list(ranking([1.0] * 5))] == [0, 1, 2, 3, 4]


def test_the_place_decides_between_close_logits_only() -> None:
    fused = fuse_with_list(ranking([1.00, 1.01, 9.0]), top_n=2)
    assert [hit.index for hit in fused] == [2, 0]
    assert fused.n_documents == 3


@given(LOGITS, st.floats(0, 5), st.floats(0, 1))
def test_logits_and_scores_fall(logits: list[float], weight: float, likeness: float) -> None:
    hits = fuse_with_list(ranking(logits), weight, likeness=likeness).hits
    for above, below in pairwise(hits):
        assert above.logit >= below.logit
        assert above.score >= below.score


def test_joined_logits_are_the_logit_and_what_the_place_says() -> None:
    logits = [1.0, 3.0, 2.0]
    places = [-math.log(place) for place in (1, 2, 3)]
    mean, deviation = statistics.fmean(places), statistics.pstdev(places)
    said = [0.5 * statistics.pstdev(logits) * (place - mean) / deviation for place in places]
    assert joined_logits(logits, 0.5) == pytest.approx([a + b for a, b in zip(logits, said, strict=True)])
    fused = fuse_with_list(ranking(logits), 0.5)
    assert [hit.logit for hit in fused] == sorted(joined_logits(logits, 0.5), reverse=True)


def test_nothing_to_rank() -> None:
    assert len(fuse_with_list(ranking([]))) == 0


def test_a_ranking_cut_by_top_n_is_refused() -> None:
    whole = ranking([1.0, 2.0])
    with pytest.raises(InputError, match="1 of 2 documents; rank without top_n"):
        fuse_with_list(Ranking("q", whole.hits[:1], 2))


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_an_unusable_weight_is_refused(weight: float) -> None:
    with pytest.raises(InputError, match="weight of the list"):
        fuse_with_list(ranking([1.0]), weight)


def test_top_n_from_one() -> None:
    with pytest.raises(InputError, match="top_n is 0"):
        fuse_with_list(ranking([1.0]), top_n=0)


def dense(values: list[float], texts: list[str], weight: float) -> list[float]:
    """By matrices, as the docstring tells it."""
    words = [re.findall(r"\w+", text.lower()) for text in texts]
    terms = sorted({w for document in words for w in document})
    counts = np.zeros((len(texts), len(terms)))
    for row, document in enumerate(words):
        counts[row] = [document.count(term) for term in terms]
    impact = np.log1p(counts) * np.log((len(texts) + 1) / ((counts > 0).sum(0) + 0.5))
    unit = impact / np.maximum(np.linalg.norm(impact, axis=1, keepdims=True), 1e-300)

    def standard(x: Any) -> Any:
        return (x - x.mean()) / x.std() if np.ptp(x) > 1e-12 else x * 0

    x = standard(np.array(values))
    share = np.exp(x / 0.5) / np.exp(x / 0.5).sum()
    alike = unit @ unit.T
    np.fill_diagonal(alike, 0)
    return list(x + weight * standard(alike @ share))


@given(TEXTS, st.floats(0.01, 2), st.randoms())
def test_likeness_equals_the_dense_twin(texts: list[str], weight: float, chance: random.Random) -> None:
    values = [float(chance.randint(-3, 3)) for _ in texts]
    if texts:
        assert with_likeness(values, texts, weight) == pytest.approx(dense(values, texts, weight), abs=1e-6)
    else:
        assert with_likeness(values, texts, weight) == []


def test_a_document_like_the_best_overtakes_one_like_none() -> None:
    texts = ["the pump of the boiler leaks", "the king of the hill", "the boiler pump was replaced"]
    logits = [9.0, 1.01, 1.0]
    by_itself = Ranking("q", ranking(logits).hits, 3)
    hits = tuple(replace(hit, text=texts[hit.index]) for hit in by_itself)
    fused = fuse_with_list(replace(by_itself, hits=hits), 0.0, likeness=0.1)
    assert [hit.index for hit in by_itself] == [0, 1, 2]
    assert [hit.index for hit in fused] == [0, 2, 1]


def test_texts_without_a_word_are_like_nothing() -> None:
    values = with_likeness([1.0, 0.0, 0.0], ["...", "", "!"], 1.0)
    assert values == with_likeness([1.0, 0.0, 0.0], ["a", "b", "c"], 1.0)
    assert values[0] > values[1] == values[2]


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_an_unusable_likeness_is_refused(weight: float) -> None:
    with pytest.raises(InputError, match="weight of the likeness"):
        fuse_with_list(ranking([1.0]), likeness=weight)
