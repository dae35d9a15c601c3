from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyrerank.evaluate.significance import randomization_test

differences = st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=1, max_size=9)


def exact_p(groups: list[list[float]]) -> float:
    """Share of all sign patterns whose mean of set means is at least as far from zero."""
    weights = np.concatenate([np.asarray(group) / len(group) / len(groups) for group in groups])
    observed = abs(weights.sum())
    patterns = np.array(list(itertools.product([-1, 1], repeat=len(weights))))
    return float((np.abs(patterns @ weights) >= observed - 1e-12).mean())


@settings(deadline=None, max_examples=30)
@given(st.lists(differences, min_size=1, max_size=2).filter(lambda groups: sum(map(len, groups)) <= 12))
def test_drawn_signs_agree_with_all_sign_patterns(groups: list[list[float]]) -> None:
    [result] = randomization_test(groups, draws=10_000)
    assert result.p == pytest.approx(exact_p(groups), abs=0.03)  # 6 standard errors
    assert result.difference == pytest.approx(np.mean([np.mean(group) for group in groups]), abs=1e-12)


def test_p_is_never_below_one_over_draws_plus_one() -> None:
    [result] = randomization_test([[0.5] * 200], draws=999)
    assert result.p == 1 / 1000


def test_no_difference_has_p_one() -> None:
    assert randomization_test([[0.0] * 30])[0].p == 1.0


def test_both_directions_count() -> None:
    values = np.random.default_rng(1).normal(0.2, 1, 60)
    up, down = randomization_test([values]), randomization_test([-values])
    assert up[0].p == down[0].p
    assert up[0].difference == -down[0].difference


def test_p_is_uniform_when_there_is_nothing_to_find() -> None:
    rng = np.random.default_rng(0)
    found = [randomization_test([rng.normal(0, 1, 25)], draws=400, seed=i)[0].p for i in range(300)]
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.09
    assert 0.42 < np.mean(found) < 0.58


def test_a_large_set_weighs_no_more_than_a_small_one() -> None:
    [result] = randomization_test([[0.0] * 1000, [0.4] * 10])
    assert result.difference == pytest.approx(0.2)


def test_the_same_seed_gives_the_same_p_and_metrics_share_the_signs() -> None:
    table = np.random.default_rng(2).normal(0.1, 1, (40, 3))
    together = randomization_test([table], seed=7)
    alone = [randomization_test([table[:, i]], seed=7)[0] for i in range(3)]
    assert [r.p for r in together] == [r.p for r in alone]


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one query"):
        randomization_test([[0.1], []])
