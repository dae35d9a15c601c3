"""The one direction that LayerNorm makes constant, and matrices without it.

The output x of a LayerNorm with gain g and bias b obeys sum_i (x_i - b_i) / g_i = 0 (subtracting the mean
leaves values that sum to zero), so v . x is the same number c for every token, v along 1 / g. A matrix that
reads x may therefore drop its part along v and get it back as a constant:

    W x = (W - a v^T) x + a c,  a = W v

Nothing changes but the rounding: what 8 bits or bf16 do to x along v no longer reaches the result. It matters
where rows of W lie along v, as the value rows of a GEGLU warm-started from a plain feed-forward do (their
rounding errors are all alike, and add up).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

#: A gain this small against the largest has 1 / g swamp all others: then no direction is used.
_SMALLEST_GAIN = 1e-3


def norm_before(name: str) -> str | None:
    """The LayerNorm whose output the up projection ``name`` reads; None for other tensors.

    Example:
        >>> norm_before("bert.encoder.layer.2.mlp.gated_layers.weight")
        'bert.encoder.layer.2.attention.output.LayerNorm'
    """
    for end in (".mlp.gated_layers.weight", ".intermediate.dense.weight"):
        if name.endswith(end):
            return name.removesuffix(end) + ".attention.output.LayerNorm"
    return None


def constant_direction(gain: F32, bias: F32) -> tuple[F32, float]:
    """Unit v (H,) and c with v . x = c for every output x of the norm; zeros where there is no safe one.

    Example:
        >>> constant_direction(np.ones(4, np.float32), np.full(4, 3.0, np.float32))
        (array([0.5, 0.5, 0.5, 0.5], dtype=float32), 6.0)
    """
    size = np.abs(gain).astype(np.float64)
    if size.min() <= _SMALLEST_GAIN * size.max():
        return np.zeros_like(gain), 0.0
    inverse = 1.0 / gain.astype(np.float64)
    v = (inverse / np.sqrt((inverse**2).sum())).astype(np.float32)
    return v, float(v.astype(np.float64) @ bias.astype(np.float64))


def split(matrix: F32, v: F32) -> tuple[F32, F32]:
    """``matrix - a v^T`` (rows, H) and a (rows,)."""
    a = (matrix.astype(np.float64) @ v.astype(np.float64)).astype(np.float32)
    return matrix - a[:, None] * v, a
