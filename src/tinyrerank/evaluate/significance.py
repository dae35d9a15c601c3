"""The paired randomization test: could this difference come from chance alone?

If two systems were the same, each query's difference could as well have had the other sign. The test flips
signs at random, many times, and counts how often the mean difference gets as large as the one that was seen
(Smucker, Allan and Carterette, CIKM 2007). Nothing is assumed about the distribution of the differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 10_000
_CHUNK_VALUES = 1_000_000


@dataclass(frozen=True, slots=True)
class Randomization:
    """Outcome of a two-sided test.

    Attributes:
        difference: mean over sets of the sets' mean differences, as observed.
        p: (k + 1) / (draws + 1), k draws being at least as far from zero. Its least value is 1 / (draws + 1).
        draws: how many sign patterns were drawn.
    """

    difference: float
    p: float
    draws: int


def randomization_test(
    groups: Sequence[ArrayLike], *, draws: int = DRAWS, seed: int = 0
) -> list[Randomization]:
    """Two-sided paired randomization test, for one set of queries or for several at once.

    With several sets the statistic is the mean over sets of each set's mean difference (so a set with many
    queries weighs no more than a small one), and the sign of every query's difference is flipped on its
    own.

    Args:
        groups: one array a set, shape (queries of the set, metrics), or (queries,) for a single metric:
            value of system A minus value of system B.
        draws: random sign patterns.
        seed: of the generator; the same seed and differences give the same p.

    Returns:
        One result a metric. All metrics share the sign patterns.

    Example:
        >>> [result] = randomization_test([[0.1] * 20])
        >>> round(result.difference, 3), result.p < 0.001
        (0.1, True)
    """
    tables = [np.asarray(group, dtype=np.float64) for group in groups]
    tables = [table[:, None] if table.ndim == 1 else table for table in tables]
    if not tables or any(len(table) == 0 for table in tables):
        raise ValueError("randomization_test needs at least one set, and at least one query in each")
    weighted = np.concatenate([table / (len(table) * len(tables)) for table in tables])  # (queries, metrics)
    observed = weighted.sum(axis=0)
    bound = np.abs(observed) - 1e-12  # a draw that only rounding keeps from being equal counts as equal
    rng = np.random.default_rng(seed)
    reached = np.zeros(len(observed), dtype=np.int64)
    chunk = max(1, _CHUNK_VALUES // len(weighted))
    for start in range(0, draws, chunk):
        drawn = _signs(rng, min(chunk, draws - start), len(weighted)) @ weighted  # (chunk, metrics)
        reached += (np.abs(drawn) >= bound).sum(axis=0)
    return [
        Randomization(float(value), float((k + 1) / (draws + 1)), draws)
        for value, k in zip(observed, reached, strict=True)
    ]


def _signs(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    return rng.integers(0, 2, size=(rows, columns), dtype=np.int8).astype(np.float64) * 2 - 1
