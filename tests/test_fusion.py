from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyrerank import Hit, Ranking, Receipt, fuse_with_list
from tinyrerank.errors import InputError
from tinyrerank.fusion import list_fusion

LOGITS = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=30)


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
    assert fused[0].logit == 9.0


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
