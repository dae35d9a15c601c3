"""A BERT in int8 ONNX becomes an encoder folder that teachers can be loaded from."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from toy import BERT, write_bert

torch = pytest.importorskip("torch", reason="training needs the train extra")
pytest.importorskip("transformers", reason="teachers need the train extra")
pytest.importorskip("onnx", reason="the package's files are ONNX")

import onnx  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

from tinyrerank.train.encoders import TeacherText, embed, load_backbone  # noqa: E402

SCRIPT = Path(__file__).parents[2] / "recipes/tiny-en/unpack_onnx.py"


def quantized(values: np.ndarray, kind: type[np.integer], columns: bool) -> tuple[np.ndarray, ...]:
    """Eight-bit values, scale and zero point: of the whole tensor, or one a column."""
    info, axis = np.iinfo(kind), 0 if columns else None
    low, high = values.min(axis=axis), values.max(axis=axis)
    scale = ((high - low) / 255).astype(np.float32)
    zero = np.round(info.min - low / scale).clip(info.min, info.max).astype(kind)
    whole = np.round(values / scale + zero.astype(np.float32)).clip(info.min, info.max).astype(kind)
    return whole, scale, zero


def onnx_folder(folder: Path, tensors: dict[str, np.ndarray], columns: bool) -> None:
    """The tensors as exporters write them: matrices are (in, out) and have names that say nothing."""
    nodes: list[onnx.NodeProto] = []
    stored: list[onnx.TensorProto] = []

    def keep(base: str, values: np.ndarray, kind: type[np.integer], columns: bool) -> str:
        parts = zip(("quantized", "scale", "zero_point"), quantized(values, kind, columns), strict=True)
        stored.extend(numpy_helper.from_array(part, f"{base}_{name}") for name, part in parts)
        return f"{base}_quantized"

    for number, (name, values) in enumerate(tensors.items()):
        module = name.removesuffix(".weight").replace(".", "/")
        if name.endswith("_embeddings.weight"):
            inputs = [keep(name, values, np.uint8, False), "ids"]
            nodes.append(helper.make_node("Gather", inputs, [f"out{number}"], name=f"/{module}/Gather"))
        elif values.ndim == 2:
            inputs = ["x", keep(f"onnx::MatMul_{number}", values.T, np.int8, columns)]
            nodes.append(
                helper.make_node("MatMulInteger", inputs, [f"out{number}"], name=f"/{module}/MatMul_quant")
            )
        else:
            stored.append(numpy_helper.from_array(values, name))
    folder.mkdir()
    onnx.save(helper.make_model(helper.make_graph(nodes, "bert", [], [], stored)), str(folder / "model.onnx"))


def unpacked(folder: Path, tensors: dict[str, np.ndarray], columns: bool) -> None:
    """The tensors through ``folder/onnx`` to ``folder/out``, with the tokenizer of ``folder/bert``."""
    onnx_folder(folder / "onnx", tensors, columns)
    (folder / "onnx/tokenizer.json").write_bytes((folder / "bert/tokenizer.json").read_bytes())
    script = runpy.run_path(str(SCRIPT))
    script["unpack"].__globals__["_HEADS"] = BERT["heads"]
    script["unpack"](folder / "onnx", folder / "out")


@pytest.mark.parametrize("columns", [False, True])
def test_weights_come_out_as_near_as_eight_bits_allow(tmp_path: Path, columns: bool) -> None:
    tensors = write_bert(tmp_path / "bert")
    unpacked(tmp_path, tensors, columns)
    found = load_file(tmp_path / "out/model.safetensors")
    assert found.keys() == {name for name in tensors if name.endswith((".weight", ".bias"))}
    for name, values in found.items():
        step = (tensors[name].max() - tensors[name].min()) / 255
        np.testing.assert_allclose(values, tensors[name], atol=0.51 * step)

    text = TeacherText(tmp_path / "out")
    vectors = [
        embed(load_backbone(tmp_path / folder), text.template, text.encode(["number 7"]), torch.device("cpu"))
        for folder in ("bert", "out")
    ]
    assert float((vectors[0] * vectors[1]).sum()) > 0.99


def test_a_cross_encoder_comes_out_as_one(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    width = BERT["hidden"]
    rng = np.random.default_rng(0)
    tensors = {f"bert.{name}": values for name, values in write_bert(tmp_path / "bert").items()}
    tensors |= {
        "bert.pooler.dense.weight": rng.normal(size=(width, width)).astype(np.float32),
        "bert.pooler.dense.bias": np.zeros(width, np.float32),
        "classifier.weight": rng.normal(size=(1, width)).astype(np.float32),
        "classifier.bias": np.ones(1, np.float32),
    }
    unpacked(tmp_path, tensors, columns=False)
    model = AutoModelForSequenceClassification.from_pretrained(str(tmp_path / "out"), local_files_only=True)
    assert model.config.num_labels == 1
    np.testing.assert_array_equal(model.classifier.bias.detach(), [1.0])
