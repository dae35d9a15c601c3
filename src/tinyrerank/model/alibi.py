"""Slopes of symmetric ALiBi (Press et al. 2022, arXiv 2108.12409; symmetric form: arXiv 2310.19923)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def alibi_slopes(n_heads: int) -> NDArray[np.float64]:
    """One positive slope a head, shape (n_heads,); head h adds ``-slopes[h] * |i - j|`` to its scores.

    A power of two gives a geometric series; other counts take the series of the next lower power, then every
    second slope of the next higher one. The order is the checkpoint's and is not sorted.

    Example:
        >>> [round(float(s), 4) for s in alibi_slopes(12)[6:]]
        [0.0078, 0.0039, 0.7071, 0.3536, 0.1768, 0.0884]
    """
    if n_heads < 1:
        raise ValueError(f"n_heads must be positive, not {n_heads}")
    lower = 2 ** math.floor(math.log2(n_heads))
    series = [2.0 ** (-8.0 * k / lower) for k in range(1, lower + 1)]
    higher = [2.0 ** (-8.0 * k / (2 * lower)) for k in range(1, 2 * lower + 1)]
    return np.array((series + higher[0::2])[:n_heads], dtype=np.float64)
