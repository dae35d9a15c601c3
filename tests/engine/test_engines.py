"""Choosing an engine, and what is particular to each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packed import MODEL, pack, report, sequences

from conftest import random_weights
from tinyrerank import engine as engines
from tinyrerank.engine import _onnx_model, available_engines, load_engine, onnx
from tinyrerank.errors import EngineError, InputError, MissingExtraError, ModelError


def forget(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_an_unknown_engine_is_refused_with_the_known_ones(tiny_folder: Path) -> None:
    with pytest.raises(InputError, match="no engine 'tpu'; known: auto, native, onnx, torch"):
        load_engine(tiny_folder, "tpu")


def test_an_unknown_option_is_refused_with_the_known_ones(tiny_folder: Path) -> None:
    with pytest.raises(InputError, match="the onnx engine has no option 'device'; it takes: mode"):
        load_engine(tiny_folder, "onnx", device="cuda")


def test_an_unknown_mode_is_refused_with_the_known_ones(tiny_folder: Path) -> None:
    with pytest.raises(InputError, match="mode is 'fp4'; the onnx engine knows auto, fp32, int8"):
        load_engine(tiny_folder, "onnx", mode="fp4")


def test_a_missing_library_names_its_extra(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch, "onnxruntime")
    with pytest.raises(MissingExtraError, match=r"the onnx engine needs .* 'tinyrerank\[onnx\]'"):
        load_engine(tiny_folder, "onnx")


def test_auto_skips_what_does_not_work_here(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch, "tinyrerank.engine.native")
    assert load_engine(tiny_folder).name == "onnx"


def test_auto_without_any_engine_says_why_each_fails(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(monkeypatch, "tinyrerank.engine.native", "onnxruntime", "torch")
    with pytest.raises(EngineError, match=r"native: .* onnx: .*\[onnx\].* torch: .*\[torch\]"):
        load_engine(tiny_folder)


def test_a_mode_that_the_best_engine_lacks_here_is_not_blamed_on_the_next(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="mode is 'fp4'; the native engine knows"):
        load_engine(tiny_folder, mode="fp4")

    def lacking(*_: object, mode: str = "auto", threads: int | None = None) -> None:
        raise EngineError(f"this machine lacks {mode} (threads {threads})")

    monkeypatch.setattr("tinyrerank.engine.native.load", lacking)
    with pytest.raises(EngineError, match=r"native: this machine lacks bf16.*; onnx: mode is 'bf16'"):
        load_engine(tiny_folder, mode="bf16")


def test_a_native_engine_that_was_not_built_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("tinyrerank.engine.native")]:
        monkeypatch.delitem(sys.modules, module)
    forget(monkeypatch, "tinyrerank.engine.native._native")
    native = {status.name: status for status in available_engines()}["native"]
    assert not native.works
    assert "compiler" in native.detail
    assert "tinyrerank[onnx]" in native.detail


def test_auto_takes_an_engine_that_knows_the_options(tiny_folder: Path) -> None:
    pytest.importorskip("torch")
    assert load_engine(tiny_folder, device="cpu").name == "torch"


def test_an_option_of_one_engine_asks_for_its_library_alone(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(monkeypatch, "onnxruntime", "torch")
    with pytest.raises(MissingExtraError, match=r"^the torch engine needs .*\[torch\]") as caught:
        load_engine(tiny_folder, device="cuda")
    assert "onnx" not in str(caught.value)


def test_an_option_that_no_engine_takes_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(InputError, match="no engine takes the options speed"):
        load_engine(tiny_folder, speed="high")


def test_auto_does_not_hide_a_bad_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_engine(tmp_path)


def test_every_engine_has_a_status_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch, "onnxruntime")
    statuses = {status.name: status for status in available_engines()}
    assert list(statuses) == list(engines.ENGINES)
    assert not statuses["onnx"].works
    assert "tinyrerank[onnx]" in statuses["onnx"].detail
    assert all(status.detail for status in statuses.values())


def test_the_package_of_engines_imports_no_runtime() -> None:
    code = "import sys, tinyrerank.engine; print(*({'torch', 'onnxruntime', 'onnx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == ""


def test_the_graph_is_sound_onnx() -> None:
    checker = pytest.importorskip("onnx")
    weights = random_weights(MODEL).to_int8()
    for int8 in (False, True):
        model = checker.load_model_from_string(_onnx_model.OnnxModel(weights, int8=int8).encode())
        checker.checker.check_model(model)
        operators = {node.op_type for node in model.graph.node}
        assert ("MatMulIntegerToFloat" in operators) == int8


def test_int8_stays_near_fp32(make_model: Callable[..., Path]) -> None:
    folder = make_model(MODEL, int8=True)
    packed = pack(sequences([30, 200, 5, 80] * 8))
    exact = load_engine(folder, "onnx", threads=1, mode="fp32").score(*packed)
    rounded = load_engine(folder, "onnx", threads=1, mode="int8").score(*packed)
    assert 0 < report("int8 against fp32", rounded, exact) < 0.15 * exact.std()


def test_int8_logits_are_the_same_whatever_the_neighbours(make_model: Callable[..., Path]) -> None:
    engine = load_engine(make_model(MODEL, int8=True), "onnx", threads=1, mode="int8")
    parts = sequences([30, 200, 5, 80, 700])
    together = engine.score(*pack(parts))
    alone = np.array([engine.score(*pack([part]))[0] for part in parts])
    assert report("alone against together", alone, together) < 1e-5


def test_an_fp32_folder_can_be_scored_in_int8(make_model: Callable[..., Path]) -> None:
    packed = pack(sequences([30, 200]))
    folder = make_model(MODEL)
    exact = load_engine(folder, "onnx", threads=1, mode="fp32").score(*packed)
    rounded = load_engine(folder, "onnx", threads=1, mode="int8").score(*packed)
    assert 0 < report("int8 from fp32", rounded, exact) < 0.5


@pytest.mark.parametrize("scores", [1, 5000])
def test_the_size_of_attention_pieces_changes_no_logit(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, scores: int
) -> None:
    engine = load_engine(tiny_folder, "onnx", threads=1)
    packed = pack(sequences([500, 33, 16]))
    whole = engine.score(*packed)
    monkeypatch.setattr(onnx, "MAX_SCORES", scores)
    assert report("pieces", engine.score(*packed), whole) < 1e-5


def test_pieces_cover_every_query_once() -> None:
    table = onnx.pieces(np.array([[0, 8192], [8192, 8200]]), n_heads=12)
    assert np.concatenate([np.arange(a, b) for _, _, a, b in table]).tolist() == list(range(8200))
    assert {tuple(row[:2]) for row in table.tolist()} == {(0, 8192), (8192, 8200)}
    assert max(b - a for _, _, a, b in table.tolist()) == onnx.MIN_QUERIES
    short = onnx.pieces(np.array([[0, 600]]), n_heads=12)
    assert max((b - a) * 600 * 12 for _, _, a, b in short.tolist()) <= onnx.MAX_SCORES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"dtype": "fp8"}, "dtype is 'fp8'"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_torch_settings_are_checked(tiny_folder: Path, options: dict[str, Any], message: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises(InputError, match=message):
        load_engine(tiny_folder, "torch", **options)


def test_torch_without_a_cuda_device_says_so(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match="no CUDA device here; use device 'cpu'"):
        load_engine(tiny_folder, "torch", device="cuda")


def test_torch_in_bf16_stays_near_fp32(make_model: Callable[..., Path]) -> None:
    pytest.importorskip("torch")
    folder = make_model(MODEL)
    packed = pack(sequences([30, 200, 5, 80] * 8))
    exact = load_engine(folder, "torch", threads=1).score(*packed)
    rounded = load_engine(folder, "torch", threads=1, dtype="bf16").score(*packed)
    assert 0 < report("bf16 against fp32", rounded, exact) < 0.15 * exact.std()
    assert (rounded.view(np.uint32) & 0xFFFF).any()  # the logits themselves are not bf16
