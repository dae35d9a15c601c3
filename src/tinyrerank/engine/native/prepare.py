"""Arranges a model's tensors for the C++ side: padded to whole panels, joined, scaled, in row-major arrays.

A panel is 32 columns wide. Every width is padded to panels with zeros, each head on its own, so that the
kernels know no odd sizes. Q is scaled by log2(e) / sqrt(head size), and ALiBi slopes by log2(e): the kernels
take powers of 2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyrerank.model import Weights
from tinyrerank.model.alibi import alibi_slopes

F32 = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]
PANEL = 32
LOG2E = math.log2(math.e)


def prepare(weights: Weights, *, int8: bool) -> tuple[dict[str, int | float | str], Arrays]:
    """The geometry and the arrays that ``_native.Engine`` takes.

    Args:
        weights: in the int8 form if ``int8``.
        int8: whether the encoder's matrices stay int8 with a scale a row, or become float32.
    """
    source = _Source(weights, int8)
    c = weights.config
    geometry: dict[str, int | float | str] = {
        "hidden": c.hidden_size,
        "hidden_p": source.hidden_p,
        "heads": c.n_heads,
        "head_p": source.head_p,
        "inter_p": source.inter_p,
        "layers": c.n_layers,
        "eps": c.layer_norm_eps,
        "feed_forward": c.feed_forward,
        "max_length": c.max_length,
    }
    arrays: Arrays = {"slopes": (alibi_slopes(c.n_heads) * LOG2E).astype(np.float32)}
    for layer in range(c.n_layers):
        if layer + 1 < c.n_layers:
            arrays |= source.qkv(layer)
        arrays |= source.dense_half(layer)
    arrays |= source.head() | source.embedding()
    return geometry, {name: np.ascontiguousarray(array) for name, array in arrays.items()}


class _Source:
    """One model's tensors under the names and shapes of the C++ side."""

    def __init__(self, weights: Weights, int8: bool) -> None:
        c = weights.config
        self.weights, self.int8 = weights, int8
        self.hidden_p, self.inter_p = _padded(c.hidden_size), _padded(c.intermediate_size)
        self.heads, self.head_size, self.head_p = c.n_heads, c.head_size, _padded(c.head_size)
        self.query_scale = LOG2E / math.sqrt(c.head_size)
        self.gated = c.feed_forward != "original"

    def matrix(self, name: str) -> tuple[NDArray[Any], F32]:
        """An encoder matrix and the scale of each row (ones for floats)."""
        if self.int8:
            return self.weights.tensors[name + ".weight"], self.weights.tensors[name + ".weight_scale"]
        dense = self.weights.dense(name + ".weight")
        return dense, np.ones(len(dense), np.float32)

    def vector(self, name: str, width: int) -> F32:
        return _pad(self.weights.dense(name), width)

    def by_head(self, array: NDArray[Any], axis: int) -> NDArray[Any]:
        """Pad each head of the axis ``heads * head_size`` on its own."""
        if self.head_p == self.head_size:
            return array
        shape = (*array.shape[:axis], self.heads, self.head_size, *array.shape[axis + 1 :])
        split = _pad_axis(array.reshape(shape), axis + 1, self.head_p)
        return split.reshape((*array.shape[:axis], self.heads * self.head_p, *array.shape[axis + 1 :]))

    def norm(self, target: str, name: str) -> Arrays:
        return {
            f"{target}.gain": self.vector(name + ".weight", self.hidden_p),
            f"{target}.bias": self.vector(name + ".bias", self.hidden_p),
        }

    def linear(self, target: str, weight: NDArray[Any], scale: F32, bias: F32) -> Arrays:
        if self.int8:
            return {f"{target}.weight": weight, f"{target}.scale": scale, f"{target}.bias": bias}
        return {f"{target}.weight": weight, f"{target}.bias": bias}

    def qkv(self, layer: int) -> Arrays:
        """Q, K and V of all heads, one under the other: (3 * heads * head_p, hidden_p)."""
        parts = []
        for part, factor in (("query", self.query_scale), ("key", 1.0), ("value", 1.0)):
            name = f"bert.encoder.layer.{layer}.attention.self.{part}"
            weight, scale = self.matrix(name)
            if self.int8:
                scale = scale * np.float32(factor)
            else:
                weight = weight * np.float32(factor)
            bias = self.weights.dense(name + ".bias") * np.float32(factor)
            parts.append(
                (
                    _pad_axis(self.by_head(weight, 0), 1, self.hidden_p),
                    self.by_head(scale, 0),
                    self.by_head(bias, 0),
                )
            )
        weights, scales, biases = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return self.linear(f"{layer}.qkv", weights, scales, biases)

    def dense_half(self, layer: int) -> Arrays:
        """Attention output, feed-forward and both norms of a layer."""
        name = f"bert.encoder.layer.{layer}."
        weight, scale = self.matrix(name + "attention.output.dense")
        weight = _pad_axis(self.by_head(weight, 1), 0, self.hidden_p)
        bias = self.vector(name + "attention.output.dense.bias", self.hidden_p)
        arrays = self.linear(f"{layer}.out", weight, _pad(scale, self.hidden_p), bias)
        arrays |= self.norm(f"{layer}.attention_norm", name + "attention.output.LayerNorm")
        arrays |= self.norm(
            f"{layer}.output_norm", name + ("mlp.layernorm" if self.gated else "output.LayerNorm")
        )
        down = name + ("mlp.wo" if self.gated else "output.dense")
        weight, scale = self.matrix(down)
        weight = _pad_axis(_pad_axis(weight, 0, self.hidden_p), 1, self.inter_p)
        bias = self.vector(down + ".bias", self.hidden_p)
        arrays |= self.linear(f"{layer}.down", weight, _pad(scale, self.hidden_p), bias)
        return arrays | self.up(layer)

    def up(self, layer: int) -> Arrays:
        """The up projection; of a gated one, 16 gate rows alternate with their 16 value rows."""
        name = f"bert.encoder.layer.{layer}." + ("mlp.gated_layers" if self.gated else "intermediate.dense")
        weight, scale, bias = self.without_constant(name)
        weight = _pad_axis(weight, 1, self.hidden_p)
        if not self.gated:
            bias = _pad(bias + self.weights.dense(name + ".bias"), self.inter_p)
            return self.linear(
                f"{layer}.up", _pad_axis(weight, 0, self.inter_p), _pad(scale, self.inter_p), bias
            )
        weight = _interleave(_pad_axis(weight.reshape(2, -1, self.hidden_p), 1, self.inter_p))
        scale, bias = (_interleave(_pad_axis(a.reshape(2, -1), 1, self.inter_p)) for a in (scale, bias))
        return self.linear(f"{layer}.up", weight, scale, bias)

    def without_constant(self, name: str) -> tuple[NDArray[Any], F32, F32]:
        """An up projection less what its inputs have in common: matrix, scale of each row, and constants."""
        if not self.int8:
            rest, constants = self.weights.without_constant(name + ".weight")
            return rest, np.ones(len(rest), np.float32), constants
        weight, scale = self.matrix(name)
        shift = self.weights.tensors.get(name + ".weight_shift", np.zeros_like(scale))
        return weight, scale, shift * np.float32(self.weights.constant_direction(name + ".weight")[1])

    def head(self) -> Arrays:
        """The last layer's Q, K and V for ``<s>``, pooler and classifier, all float32."""
        name = f"bert.encoder.layer.{self.weights.config.n_layers - 1}.attention.self."
        q, k, v = (
            _pad_axis(self.by_head(self.weights.dense(f"{name}{part}.weight"), 0), 1, self.hidden_p)
            for part in ("query", "key", "value")
        )
        query_bias, value_bias = (
            self.by_head(self.weights.dense(f"{name}{part}.bias"), 0) for part in ("query", "value")
        )
        factor = np.float32(self.query_scale)
        pooler = self.weights.dense("bert.pooler.dense.weight")
        return {
            "head.query_t": q.T * factor,
            "head.query_bias": query_bias * factor,
            "head.key": k,
            "head.value_t": v.T,
            "head.value_bias": value_bias,
            "head.pooler_t": _pad_axis(_pad_axis(pooler.T, 0, self.hidden_p), 1, self.hidden_p),
            "head.pooler_bias": self.vector("bert.pooler.dense.bias", self.hidden_p),
            "head.classifier": _pad(self.weights.dense("classifier.weight")[0], self.hidden_p),
            "head.classifier_bias": self.weights.dense("classifier.bias"),
        }

    def embedding(self) -> Arrays:
        """Word rows as they are stored, the type row that every token adds, and the norm."""
        words = "bert.embeddings.word_embeddings.weight"
        types = self.weights.dense("bert.embeddings.token_type_embeddings.weight")
        arrays: Arrays = {"embedding.type_row": _pad(types[0], self.hidden_p)}
        if self.weights.config.quantized:
            arrays["embedding.weight"] = self.weights.tensors[words]
            arrays["embedding.scale"] = self.weights.tensors[words + "_scale"]
        else:
            arrays["embedding.weight"] = self.weights.dense(words)
        return arrays | self.norm("embedding.norm", "bert.embeddings.LayerNorm")


def _padded(width: int) -> int:
    return -(-width // PANEL) * PANEL


def _pad_axis(array: NDArray[Any], axis: int, width: int) -> NDArray[Any]:
    """Zeros after the end of one axis. By hand: importing np.pad's module would take as long as loading."""
    if array.shape[axis] == width:
        return array
    shape = (*array.shape[:axis], width, *array.shape[axis + 1 :])
    out: NDArray[Any] = np.zeros(shape, array.dtype)
    out[(slice(None),) * axis + (slice(array.shape[axis]),)] = array
    return out


def _pad(vector: F32, width: int) -> F32:
    return _pad_axis(vector, 0, width)


def _interleave(halves: NDArray[Any]) -> NDArray[Any]:
    """(2, n, ...) -> (2n, ...): 16 rows of the first half, 16 of the second, and so on."""
    shape = halves.shape
    blocks = halves.reshape(2, shape[1] // 16, 16, *shape[2:]).swapaxes(0, 1)
    return blocks.reshape(2 * shape[1], *shape[2:])
