"""Model folders: every stored form loads, every defect is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

from conftest import TINY, random_weights
from tinyrerank.errors import ModelError
from tinyrerank.model.config import ModelConfig
from tinyrerank.model.weights import expected_shapes, load_weights, quantize_rows

OFFICIAL = Path(__file__).resolve().parents[2] / "shared/official/jina-reranker-v1-tiny-en"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def _rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_official_layout_has_68_tensors_and_33046273_parameters() -> None:
    shapes = expected_shapes(ModelConfig(), 1)
    assert len(shapes) == 68
    assert sum(int(np.prod(s)) for s in shapes.values()) == 33_046_273
    assert len(expected_shapes(ModelConfig(n_layers=6), 1)) == 98


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the official config is not at hand")
def test_official_config_is_the_default_geometry() -> None:
    assert ModelConfig.from_folder(OFFICIAL) == ModelConfig()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_stored_precision_is_read(dtype: str, folder: Path) -> None:
    torch = pytest.importorskip("torch", reason="writes bf16")
    from safetensors.torch import save_file as save_torch

    before = load_weights(folder)
    kind = getattr(torch, dtype)
    stored = {n: torch.from_numpy(np.array(t)).to(kind) for n, t in before.tensors.items()}
    save_torch(stored, folder / "model.safetensors")
    after = load_weights(folder)
    for name, tensor in stored.items():
        assert np.array_equal(after.dense(name), tensor.float().numpy()), name


def test_pytorch_model_bin_is_read_as_weights_only(folder: Path) -> None:
    torch = pytest.importorskip("torch", reason="the old format needs torch")
    before = {n: np.array(t) for n, t in load_weights(folder).tensors.items()}
    (folder / "model.safetensors").unlink()
    torch.save({n: torch.from_numpy(t) for n, t in before.items()}, folder / "pytorch_model.bin")
    after = load_weights(folder)
    assert all(np.array_equal(after.tensors[n], t) for n, t in before.items())
    (folder / "pytorch_model.bin").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin: cannot be read"):
        load_weights(folder)


def test_int8_form_round_trips_and_is_declared(folder: Path, tmp_path: Path) -> None:
    weights = load_weights(folder).to_int8()
    weights.save(tmp_path / "int8")
    again = load_weights(tmp_path / "int8")
    assert again.config == replace(weights.config, quantized=True)
    assert again.tensors.keys() == weights.tensors.keys()
    assert all(np.array_equal(again.tensors[n], t) for n, t in weights.tensors.items())


@given(hnp.arrays(np.float32, (3, 8), elements=st.floats(-10, 10, width=32)))
def test_quantized_rows_are_within_half_a_step(matrix: np.ndarray) -> None:
    q, scale = quantize_rows(matrix)
    assert np.abs(q * scale[:, None] - matrix).max() <= scale.max() * 0.5001
    assert q.dtype == np.int8


def test_buffers_of_resaved_files_are_ignored(folder: Path) -> None:
    _rewrite(folder, lambda t: t.update({"bert.embeddings.position_ids": np.zeros(4, np.int64)}))
    load_weights(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("bert.pooler.dense.bias"), r"missing tensor bert\.pooler\.dense\.bias"),
        (lambda t: t.update(extra=np.zeros(2, np.float32)), "unknown tensor extra"),
        (
            lambda t: t.update({"bert.pooler.dense.weight": np.zeros((3, 3), np.float32)}),
            r"bert\.pooler\.dense\.weight has shape \[3, 3\].*\[16, 16\]",
        ),
        (lambda t: t.pop("classifier.weight"), "without a ranking head"),
        (lambda t: t.update({"classifier.weight": np.zeros(16, np.float32)}), "classifier.weight has shape"),
        (lambda t: t.update({"classifier.bias": np.zeros(1, np.int64)}), "classifier.bias has dtype int64"),
    ],
)
def test_a_wrong_tensor_is_named(
    change: Callable[[dict[str, np.ndarray]], None], message: str, folder: Path
) -> None:
    _rewrite(folder, change)
    with pytest.raises(ModelError, match=message):
        load_weights(folder)


@pytest.mark.parametrize("keep", [0, 5, 60, 2000, -1])
def test_a_truncated_file_is_one_clear_error(keep: int, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load_weights(folder)


@given(noise=st.binary(min_size=0, max_size=200))
def test_any_bytes_load_or_raise_a_model_error(
    noise: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("noise")
    random_weights(TINY).save(folder)
    (folder / "model.safetensors").write_bytes(noise)
    with pytest.raises(ModelError):
        load_weights(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"position_embedding_type": "absolute"}, "not 'alibi'"),
        ({"feed_forward_type": "swiglu"}, "known: geglu, reglu, original"),
        ({"hidden_size": 17}, "not a multiple"),
        ({"num_hidden_layers": "four"}, "num_hidden_layers must be a positive integer"),
        ({"layer_norm_eps": 0}, "layer_norm_eps"),
        ({"quantization_config": {"quant_method": "gptq"}}, "unknown quantization_config"),
        ({"query_window": -1}, "query_window must be an integer from 0"),
        ({"document_window": "all"}, "document_window must be an integer from 0"),
    ],
)
def test_a_config_of_another_kind_is_named(fields: dict[str, object], message: str, folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(ModelError, match=message):
        load_weights(folder)


def test_folders_that_are_no_models_say_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        load_weights(tmp_path / "absent")
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_weights(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        load_weights(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(ModelConfig().to_dict()))
    with pytest.raises(ModelError, match="weights are missing"):
        load_weights(tmp_path)
