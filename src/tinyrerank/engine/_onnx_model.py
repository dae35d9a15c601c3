"""JinaBERT as an ONNX graph over packed tokens, written straight from the weights.

Inputs (T tokens in all, B sequences, P pieces of attention):

======================  =================================================================================
``ids`` (T,) int32      token ids, the sequences one after the other
``positions`` (T,)      float32 position of each token in its own sequence
``sequences`` (B, 2)    int64 first and one-past-last token of each sequence
``pieces`` (P, 4)       int64 keys from, keys to, queries from, queries to: together they cover all queries
``logits`` (B,)         the output
======================  =================================================================================

No token is padding. Linear layers see a (T, H) matrix; attention runs piece by piece in a Loop, each a
block of queries of one sequence against all its keys, so that scores and ALiBi bias never hold more than
heads x block x length floats and no sequence ever meets its neighbours. The last layer computes what the
pooler reads, the first token of each sequence, and nothing else: with u = Wk^T q the scores of a head are
x_j . u (the key's bias shifts them all alike) and its context is Wv (sum p_j x_j) + bv.

Mode int8 multiplies the int8 matrices with activations quantized per token (symmetric, 127 steps a side), so
a token's rounding depends on itself alone. The last layer's single row stays in float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinyrerank.engine._onnx_proto import Graph, Value
from tinyrerank.model.alibi import alibi_slopes
from tinyrerank.model.weights import Weights

F32 = NDArray[np.float32]
_EMBEDDINGS = "bert.embeddings."


class OnnxModel:
    """Builds the graph of one model; :meth:`encode` gives the bytes of a model file.

    Args:
        weights: either form; for int8 products the int8 form.
        int8: multiply in int8 rather than float32.
    """

    def __init__(self, weights: Weights, *, int8: bool) -> None:
        self.weights = weights
        self.config = weights.config
        self.int8 = int8
        self.graph = Graph(
            "jinabert",
            [
                ("ids", "int32", ["tokens"]),
                ("positions", "float32", ["tokens"]),
                ("sequences", "int64", ["batch", 2]),
                ("pieces", "int64", ["pieces", 4]),
            ],
        )

    def encode(self) -> bytes:
        """The whole model, from ids to logits."""
        x = self._embed()
        for n in range(self.config.n_layers - 1):
            x = self._layer(x, f"bert.encoder.layer.{n}.")
        first = self._last_layer(x, f"bert.encoder.layer.{self.config.n_layers - 1}.")
        pooled = self.graph.node("Tanh", self._gemm(first, "bert.pooler.dense"))
        logits = self._gemm(pooled, "classifier")
        logits = self.graph.node("Reshape", logits, self._ints(-1))
        return self.graph.finish([(logits, "float32", ["batch"])]).model()

    def _embed(self) -> str:
        """Word rows (kept int8 or float16 where the weights are) plus the row of type 0, normed: (T, H)."""
        g, name = self.graph, _EMBEDDINGS + "word_embeddings.weight"
        stored = self.weights.tensors[name]
        if stored.dtype not in (np.int8, np.float16, np.float32):
            stored = self.weights.dense(name)
        x = g.node("Cast", g.node("Gather", g.constant(stored), "ids"), to=1)
        if stored.dtype == np.int8:
            scale = self.weights.tensors[name + "_scale"].reshape(-1, 1)
            x = g.node("Mul", x, g.node("Gather", g.constant(scale), "ids"))
        kind = self.weights.dense(_EMBEDDINGS + "token_type_embeddings.weight")[0]
        return self._norm(g.node("Add", x, g.constant(kind)), _EMBEDDINGS + "LayerNorm")

    def _layer(self, x: str, p: str) -> str:
        """One encoder layer for all tokens: (T, H) -> (T, H)."""
        quantized = self._quantize(x)
        q, k, v = (
            self._split_heads(self._linear(x, quantized, f"{p}attention.self.{part}", factor))
            for part, factor in (("query", self.config.head_size**-0.5), ("key", 1.0), ("value", 1.0))
        )
        context = self._attention(q, k, v)
        y = self._linear(context, self._quantize(context), p + "attention.output.dense")
        a = self._norm(self.graph.node("Add", x, y), p + "attention.output.LayerNorm")
        return self._feed_forward(a, p, int8=self.int8)

    def _feed_forward(self, a: str, p: str, *, int8: bool) -> str:
        """The feed-forward block with its residual and norm: (rows, H) -> (rows, H)."""
        g = self.graph
        quantized = self._quantize(a) if int8 else None
        if self.config.feed_forward == "original":
            h = g.node("ms.Gelu", self._linear(a, quantized, p + "intermediate.dense"))
            down, norm = "output.dense", "output.LayerNorm"
        else:
            gate, value = (self._linear(a, quantized, p + "mlp.gated_layers", half=i) for i in (0, 1))
            act = g.node("ms.Gelu", gate) if self.config.feed_forward == "geglu" else g.node("Relu", gate)
            h = g.node("Mul", act, value)
            down, norm = "mlp.wo", "mlp.layernorm"
        y = self._linear(h, self._quantize(h) if int8 else None, p + down)
        return self._norm(g.node("Add", a, y), p + norm)

    def _attention(self, q: str, k: str, v: str) -> str:
        """Attention of every piece; q, k, v (heads, T, D), q scaled -> context (T, H)."""
        g, c = self.graph, self.config
        n_pieces = g.node("Gather", g.node("Shape", "pieces"), self._int(0))
        body = _loop_body(f"{q}.loop")
        piece = body.node("Gather", "pieces", f"{q}.loop.i", axis=0)
        k_from, k_to, q_from, q_to = body.nodes("Split", piece, outputs=4, axis=0, num_outputs=4)
        heads = self._ints(1)
        q_part = body.node("Slice", q, q_from, q_to, heads)
        k_part = body.node("Slice", k, k_from, k_to, heads)
        v_part = body.node("Slice", v, k_from, k_to, heads)
        rows = body.node("Unsqueeze", body.node("Slice", "positions", q_from, q_to), self._ints(1))
        distance = body.node("Abs", body.node("Sub", rows, body.node("Slice", "positions", k_from, k_to)))
        bias = body.node("Mul", distance, self._slopes((c.n_heads, 1, 1)))  # (heads, queries, keys)
        scores = body.node("Add", body.node("ms.FusedMatMul", q_part, k_part, transB=1), bias)
        context = body.node("MatMul", body.node("Softmax", scores, axis=-1), v_part)  # (heads, queries, D)
        context = body.node("Transpose", context, perm=[1, 0, 2])
        context = body.node("Reshape", context, self._ints(-1, c.hidden_size))
        grown = body.node("SequenceInsert", f"{q}.loop.state", context)
        cond = body.node("Identity", f"{q}.loop.cond")
        body.finish([(cond, "bool", []), (grown, "sequence")])
        done = g.node("Loop", n_pieces, "", g.node("SequenceEmpty", dtype=1), body=body)
        return g.node("ConcatFromSequence", done, axis=0)

    def _last_layer(self, x: str, p: str) -> str:
        """The last layer for the first token of each sequence: (T, H) -> (B, H)."""
        g, c = self.graph, self.config
        h, heads, d = c.hidden_size, c.n_heads, c.head_size
        starts = g.node("Gather", "sequences", self._int(0), axis=1)
        first = g.node("Gather", x, starts)  # (B, H)
        q = self._gemm(first, p + "attention.self.query", d**-0.5)
        q = g.node("Transpose", g.node("Reshape", q, self._ints(-1, heads, d)), perm=[1, 0, 2])
        key = self.weights.dense(p + "attention.self.key.weight").reshape(heads, d, h)
        u = g.node("Transpose", g.node("MatMul", q, g.constant(key)), perm=[1, 0, 2])  # (B, heads, H)

        body = _loop_body(f"{x}.loop", state=False)
        bounds = body.node("Gather", "sequences", f"{x}.loop.i", axis=0)
        start, end = body.nodes("Split", bounds, outputs=2, axis=0, num_outputs=2)
        rows = body.node("Slice", x, start, end)  # (n, H)
        bias = body.node("Mul", body.node("Slice", "positions", start, end), self._slopes((heads, 1)))
        scores = body.node("ms.FusedMatMul", body.node("Gather", u, f"{x}.loop.i", axis=0), rows, transB=1)
        weights = body.node("Softmax", body.node("Add", scores, bias), axis=-1)
        mean = body.node("MatMul", weights, rows)  # (heads, H)
        cond = body.node("Identity", f"{x}.loop.cond")
        body.finish([(cond, "bool", []), (mean, "float32", [heads, h])])
        batch = g.node("Gather", g.node("Shape", "sequences"), self._int(0))
        mean = g.node("Transpose", g.node("Loop", batch, "", body=body), perm=[1, 0, 2])  # (heads, B, H)

        value = self.weights.dense(p + "attention.self.value.weight").reshape(heads, d, h)
        context = g.node("MatMul", mean, g.constant(value.transpose(0, 2, 1)))  # (heads, B, D)
        context = g.node("Reshape", g.node("Transpose", context, perm=[1, 0, 2]), self._ints(-1, h))
        shift = g.constant(self.weights.dense(p + "attention.self.value.bias"))
        y = self._gemm(g.node("Add", context, shift), p + "attention.output.dense")
        a = self._norm(g.node("Add", first, y), p + "attention.output.LayerNorm")
        return self._feed_forward(a, p, int8=False)

    def _linear(
        self,
        x: str,
        quantized: tuple[str, str] | None,
        name: str,
        factor: float = 1.0,
        half: int | None = None,
    ) -> str:
        """``factor`` times the linear layer ``name``; ``half`` picks one half of its rows (no bias)."""
        if quantized is None:
            return self._gemm(x, name, factor, half)
        g, (steps, step) = self.graph, quantized
        rows = self._rows(name, half)
        y = g.node(
            "ms.MatMulIntegerToFloat",
            steps,
            g.constant(self.weights.tensors[name + ".weight"][rows].T),
            g.constant(np.ones((), np.float32), "one"),
            g.constant(self.weights.tensors[name + ".weight_scale"][rows] * np.float32(factor)),
            g.constant(np.array(128, np.uint8), "zero_point"),
        )
        y = g.node("Mul", y, step)
        shift = self.weights.tensors.get(name + ".weight_shift")
        if shift is not None:  # what all inputs have in common
            c = self.weights.constant_direction(name + ".weight")[1]
            y = g.node("Add", y, g.constant(shift[rows] * np.float32(factor * c)))
        return y if half is not None else g.node("Add", y, self._bias(name, factor))

    def _gemm(self, x: str, name: str, factor: float = 1.0, half: int | None = None) -> str:
        """The same in float32."""
        matrix = self.weights.dense(name + ".weight")[self._rows(name, half)]
        bias = () if half is not None else (self._bias(name, factor),)
        return self.graph.node("Gemm", x, self.graph.constant(matrix * np.float32(factor)), *bias, transB=1)

    def _rows(self, name: str, half: int | None) -> slice:
        """The rows that make up one half of a matrix, or all of them."""
        size = len(self.weights.tensors[name + ".weight"]) // 2
        return slice(None) if half is None else slice(half * size, (half + 1) * size)

    def _bias(self, name: str, factor: float) -> str:
        return self.graph.constant(self.weights.dense(name + ".bias") * np.float32(factor))

    def _quantize(self, x: str) -> tuple[str, str] | None:
        """Rows of ``x`` as steps 1..255 around 128, and the step of each row (rows, 1)."""
        if not self.int8:
            return None
        g = self.graph
        peak = g.node("ReduceMax", g.node("Abs", x), self._ints(-1))
        peak = g.node("Max", peak, g.constant(np.array(1e-30, np.float32), "smallest_peak"))
        step = g.node("Mul", peak, g.constant(np.array(1 / 127, np.float32), "step"))
        one = g.constant(np.ones((), np.float32), "one")
        zero_point = g.constant(np.array(128, np.uint8), "zero_point")
        return g.node("QuantizeLinear", g.node("Div", x, step), one, zero_point), step

    def _norm(self, x: str, name: str) -> str:
        weight, bias = (
            self.graph.constant(self.weights.dense(f"{name}.{part}")) for part in ("weight", "bias")
        )
        return self.graph.node(
            "LayerNormalization", x, weight, bias, axis=-1, epsilon=float(self.config.layer_norm_eps)
        )

    def _split_heads(self, x: str) -> str:
        """(T, H) -> (heads, T, D)."""
        shape = self._ints(-1, self.config.n_heads, self.config.head_size)
        return self.graph.node("Transpose", self.graph.node("Reshape", x, shape), perm=[1, 0, 2])

    def _slopes(self, shape: tuple[int, ...]) -> str:
        slopes = -alibi_slopes(self.config.n_heads).astype(np.float32)
        return self.graph.constant(slopes.reshape(shape), f"slopes{len(shape)}")

    def _ints(self, *values: int) -> str:
        return self.graph.constant(np.array(values, np.int64), f"ints{values}")

    def _int(self, value: int) -> str:
        return self.graph.constant(np.array(value, np.int64), f"int{value}")


def _loop_body(name: str, *, state: bool = True) -> Graph:
    """The body of a Loop with inputs ``name.i``, ``name.cond`` and a growing sequence, ``name.state``."""
    grown: list[Value] = [(f"{name}.state", "sequence")] if state else []
    return Graph(name, [(f"{name}.i", "int64", []), (f"{name}.cond", "bool", []), *grown])
