"""A model as an ONNX file with the customary inputs, for products that run such files themselves.

====================  =====================================================================================
``input_ids``         (batch, length) int64, pairs as the tokenizer's template has them, padded anywhere
``attention_mask``    (batch, length) int64, 1 for a token and 0 for padding
``logits``            (batch, 1) float32, the output
====================  =====================================================================================

Inside, padding is taken out first; what follows is the graph that the ONNX engine runs, in float32. A pair's
logit does not depend on its neighbours or on the length that it was padded to.
"""

from __future__ import annotations

import json
from pathlib import Path

from tinyrerank.engine._onnx_model import OnnxModel
from tinyrerank.engine._onnx_proto import Graph
from tinyrerank.errors import ModelError
from tinyrerank.model.weights import Weights, load_weights


class _PaddedModel(OnnxModel):
    """The graph of the engine behind a front that takes padding out."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights, int8=False)
        self.graph = Graph(
            "jinabert",
            [
                ("input_ids", "int64", ["batch", "length"]),
                ("attention_mask", "int64", ["batch", "length"]),
            ],
        )

    def encode(self) -> bytes:
        """The whole model, from padded ids to logits."""
        self._take_padding_out()
        x = self._embed()
        for n in range(self.config.n_layers - 1):
            x = self._layer(x, f"bert.encoder.layer.{n}.")
        first = self._last_layer(x, f"bert.encoder.layer.{self.config.n_layers - 1}.")
        logits = self._gemm(self.graph.node("Tanh", self._gemm(first, "bert.pooler.dense")), "classifier")
        self.graph.name_value(logits, "logits")
        return self.graph.finish([("logits", "float32", ["batch", 1])]).model()

    def _take_padding_out(self) -> None:
        """From padded rows to ``ids``, ``positions``, ``sequences`` and ``pieces`` of the packed graph."""
        g = self.graph
        kept = g.node("Cast", "attention_mask", to=9)
        flat = g.node("Reshape", kept, self._ints(-1))
        ids = g.node("Compress", g.node("Reshape", "input_ids", self._ints(-1)), flat)
        g.name_value(g.node("Cast", ids, to=6), "ids")
        mask = g.node("Cast", kept, to=7)
        place = g.node("Sub", g.node("CumSum", mask, self._int(1)), self._int(1))
        place = g.node("Compress", g.node("Reshape", place, self._ints(-1)), flat)
        g.name_value(g.node("Cast", place, to=1), "positions")
        lengths = g.node("ReduceSum", mask, self._ints(1), keepdims=1)  # (B, 1)
        ends = g.node("CumSum", lengths, self._int(0))
        starts = g.node("Sub", ends, lengths)
        sequences = g.node("Concat", starts, ends, axis=1)
        g.name_value(sequences, "sequences")
        g.name_value(g.node("Concat", sequences, sequences, axis=1), "pieces")


def write_onnx(folder: Path, out: Path) -> list[Path]:
    """Write ``model.onnx`` and ``tokenizer.json`` of a model folder into another folder.

    The tokenizer is written without its template: it gives the bare tokens of a text, and who feeds the
    model puts ``<s> query </s></s> document </s>`` together.

    Args:
        folder: a model folder, in either form.
        out: made if it is not there.

    Returns:
        The files written.

    Raises:
        ModelError: the folder is no model with one label.
    """
    weights = load_weights(folder)
    if weights.n_labels != 1:
        raise ModelError(
            f"{folder}: the classifier has {weights.n_labels} labels; a reranker needs exactly one"
        )
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer |= {"post_processor": None, "truncation": None, "padding": None}
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "model.onnx", out / "tokenizer.json"]
    paths[0].write_bytes(_PaddedModel(weights).encode())
    paths[1].write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    return paths
