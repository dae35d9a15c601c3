"""The slow twin: JinaBERT in float64 NumPy, one sequence at a time, written from the equations.

It shares no code with the package but the tensor names, so that an error in one shows against the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
_erf = np.vectorize(math.erf, otypes=[np.float64])


def slopes(n: int) -> list[float]:
    def power_of_two(m: int) -> list[float]:
        first = 2.0 ** (-(2.0 ** -(math.log2(m) - 3)))
        return [first * first**i for i in range(m)]

    if math.log2(n).is_integer():
        return power_of_two(n)
    closest = 2 ** math.floor(math.log2(n))
    return power_of_two(closest) + slopes(2 * closest)[0::2][: n - closest]


def gelu(x: F64) -> F64:
    result: F64 = x * 0.5 * (1.0 + _erf(x / math.sqrt(2.0)))
    return result


def layer_norm(x: F64, weight: F64, bias: F64, eps: float) -> F64:
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    normal: F64 = (x - mean) / np.sqrt(variance + eps)
    return normal * weight + bias


def logits(
    tensors: Mapping[str, NDArray[Any]],
    ids: NDArray[Any],
    *,
    n_layers: int,
    n_heads: int,
    feed_forward: str = "geglu",
    eps: float = 1e-12,
) -> F64:
    """Logits (n_labels,) of one sequence of token ids (T,), no mask, all type ids 0."""
    t = {name: np.asarray(array, dtype=np.float64) for name, array in tensors.items()}

    def dense(x: F64, name: str) -> F64:
        y = x @ t[name + ".weight"].T
        return y + t[name + ".bias"] if name + ".bias" in t else y

    def norm(x: F64, name: str) -> F64:
        return layer_norm(x, t[name + ".weight"], t[name + ".bias"], eps)

    x = (
        t["bert.embeddings.word_embeddings.weight"][ids]
        + t["bert.embeddings.token_type_embeddings.weight"][0]
    )
    x = norm(x, "bert.embeddings.LayerNorm")
    length, hidden = x.shape
    d = hidden // n_heads
    distance = np.abs(np.arange(length)[:, None] - np.arange(length)[None, :])
    for n in range(n_layers):
        p = f"bert.encoder.layer.{n}."
        q, k, v = (dense(x, f"{p}attention.self.{part}") for part in ("query", "key", "value"))
        context = np.empty_like(x)
        for h, slope in enumerate(slopes(n_heads)):
            s = slice(h * d, (h + 1) * d)
            scores = q[:, s] @ k[:, s].T / math.sqrt(d) - slope * distance
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            context[:, s] = weights / weights.sum(-1, keepdims=True) @ v[:, s]
        a = norm(x + dense(context, p + "attention.output.dense"), p + "attention.output.LayerNorm")
        if feed_forward == "original":
            y = dense(gelu(dense(a, p + "intermediate.dense")), p + "output.dense")
            x = norm(a + y, p + "output.LayerNorm")
        else:
            both = dense(a, p + "mlp.gated_layers")
            gate, value = np.split(both, 2, axis=-1)
            act = gelu(gate) if feed_forward == "geglu" else np.maximum(gate, 0.0)
            x = norm(a + dense(act * value, p + "mlp.wo"), p + "mlp.layernorm")
    pooled = np.tanh(dense(x[:1], "bert.pooler.dense"))
    result: F64 = dense(pooled, "classifier")[0]
    return result
