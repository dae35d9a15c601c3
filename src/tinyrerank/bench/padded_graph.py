"""JinaBERT as an ordinary padded ONNX graph: what an export tool gives, for engines to compare with.

Inputs: ``ids`` (B, T) int64, ``mask`` (B, 1, 1, T) float32, 0 at real tokens and very negative at padding,
and ``positions`` (T,) float32. Output: ``logits`` (B,). Every layer computes every token, and the ALiBi bias
is made whole, (1, heads, T, T). Our own ONNX engine does neither.
"""

from __future__ import annotations

import numpy as np

from tinyrerank.engine._onnx_proto import Graph
from tinyrerank.model.alibi import alibi_slopes
from tinyrerank.model.weights import Weights


def padded_graph(weights: Weights) -> bytes:
    """The bytes of a float32 model file."""
    return _Builder(weights).build()


class _Builder:
    def __init__(self, weights: Weights) -> None:
        self.w, self.c = weights, weights.config
        self.g = Graph(
            "padded",
            [
                ("ids", "int64", ["batch", "tokens"]),
                ("mask", "float32", ["batch", 1, 1, "tokens"]),
                ("positions", "float32", ["tokens"]),
            ],
        )

    def build(self) -> bytes:
        g = self.g
        words = g.constant(self.w.dense("bert.embeddings.word_embeddings.weight"))
        kind = g.constant(self.w.dense("bert.embeddings.token_type_embeddings.weight")[0])
        x = self.norm(g.node("Add", g.node("Gather", words, "ids"), kind), "bert.embeddings.LayerNorm")
        bias = self.bias()
        for n in range(self.c.n_layers):
            x = self.layer(x, bias, f"bert.encoder.layer.{n}.")
        first = g.node("Gather", x, self.ints(0, scalar=True), axis=1)
        pooled = g.node("Tanh", self.linear(first, "bert.pooler.dense"))
        logits = g.node("Reshape", self.linear(pooled, "classifier"), self.ints(-1))
        return g.finish([(logits, "float32", ["batch"])]).model()

    def ints(self, *values: int, scalar: bool = False) -> str:
        array = np.array(values[0] if scalar else values, np.int64)
        return self.g.constant(array, f"ints.{values}.{scalar}")

    def norm(self, x: str, name: str) -> str:
        gain, bias = (self.g.constant(self.w.dense(f"{name}.{part}")) for part in ("weight", "bias"))
        return self.g.node("LayerNormalization", x, gain, bias, axis=-1, epsilon=self.c.layer_norm_eps)

    def linear(self, x: str, name: str) -> str:
        matrix = np.ascontiguousarray(self.w.dense(name + ".weight").T)
        y = self.g.node("MatMul", x, self.g.constant(matrix))
        if name + ".bias" not in self.w.tensors:
            return y
        return self.g.node("Add", y, self.g.constant(self.w.dense(name + ".bias")))

    def bias(self) -> str:
        g = self.g
        rows, columns = (g.node("Unsqueeze", "positions", self.ints(axis)) for axis in (1, 0))
        distance = g.node("Abs", g.node("Sub", rows, columns))
        slopes = -alibi_slopes(self.c.n_heads).astype(np.float32).reshape(1, -1, 1, 1)
        return g.node("Add", g.node("Mul", distance, g.constant(slopes)), "mask")

    def heads(self, x: str, name: str, perm: tuple[int, ...]) -> str:
        shape = self.ints(0, 0, self.c.n_heads, self.c.head_size)
        return self.g.node("Transpose", self.g.node("Reshape", self.linear(x, name), shape), perm=perm)

    def layer(self, x: str, bias: str, p: str) -> str:
        g = self.g
        q = self.heads(x, p + "attention.self.query", (0, 2, 1, 3))
        k = self.heads(x, p + "attention.self.key", (0, 2, 3, 1))
        v = self.heads(x, p + "attention.self.value", (0, 2, 1, 3))
        scale = g.constant(np.array(self.c.head_size**-0.5, np.float32), "scale")
        scores = g.node("Add", g.node("Mul", g.node("MatMul", q, k), scale), bias)
        context = g.node("MatMul", g.node("Softmax", scores, axis=-1), v)
        context = g.node("Transpose", context, perm=(0, 2, 1, 3))
        context = g.node("Reshape", context, self.ints(0, 0, self.c.hidden_size))
        y = g.node("Add", x, self.linear(context, p + "attention.output.dense"))
        return self.feed_forward(self.norm(y, p + "attention.output.LayerNorm"), p)

    def feed_forward(self, a: str, p: str) -> str:
        g = self.g
        if self.c.feed_forward == "original":
            h, down, norm = (
                self.gelu(self.linear(a, p + "intermediate.dense")),
                "output.dense",
                "output.LayerNorm",
            )
        else:
            both = self.linear(a, p + "mlp.gated_layers")
            gate, value = g.nodes("Split", both, outputs=2, axis=-1, num_outputs=2)
            h = g.node(
                "Mul", self.gelu(gate) if self.c.feed_forward == "geglu" else g.node("Relu", gate), value
            )
            down, norm = "mlp.wo", "mlp.layernorm"
        return self.norm(g.node("Add", a, self.linear(h, p + down)), p + norm)

    def gelu(self, x: str) -> str:
        """By the error function, as exporters write it; the engines know the pattern."""
        g = self.g
        root, one, half = (g.constant(np.array(v, np.float32), f"gelu.{v:.3f}") for v in (2**0.5, 1.0, 0.5))
        phi = g.node("Add", g.node("Erf", g.node("Div", x, root)), one)
        return g.node("Mul", g.node("Mul", x, phi), half)
