"""LayerNorm makes one direction constant; up projections are stored and multiplied without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import TINY, random_weights
from tinyrerank.errors import EngineError
from tinyrerank.model.hyperplane import constant_direction, split
from tinyrerank.model.weights import Weights, load_weights

UP = "bert.encoder.layer.{}.mlp.gated_layers.weight"


def warm_started() -> Weights:
    """Random weights whose value rows lie along the constant direction, as after a GEGLU warm start."""
    weights = random_weights(replace(TINY, hidden_size=96, n_heads=3, intermediate_size=128))
    tensors = dict(weights.tensors)
    for layer in range(2):
        name = UP.format(layer)
        v, c = weights.constant_direction(name)
        matrix = tensors[name].copy()
        matrix[128:] = 0.2 * matrix[128:] + v / np.float32(c)
        tensors[name] = matrix
    return replace(weights, tensors=tensors)


def test_every_norm_output_has_the_same_product_with_the_direction() -> None:
    rng = np.random.default_rng(0)
    gain, bias = rng.normal(1, 0.3, 40).astype(np.float32), rng.normal(0, 1, 40).astype(np.float32)
    v, c = constant_direction(gain, bias)
    x = rng.normal(0, 3, (50, 40))
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) * gain + bias
    np.testing.assert_allclose(x @ v, c, atol=1e-5)
    matrix = rng.normal(0, 1, (7, 40)).astype(np.float32)
    rest, shift = split(matrix, v)
    np.testing.assert_allclose(x @ rest.T + shift * c, x @ matrix.T, atol=1e-4)
    np.testing.assert_allclose(rest @ v, 0, atol=1e-5)


def test_a_gain_next_to_zero_leaves_matrices_whole() -> None:
    gain = np.array([1.0, 1e-7, -1.0, 2.0], np.float32)
    v, c = constant_direction(gain, np.ones(4, np.float32))
    assert not v.any()
    assert c == 0
    matrix = np.ones((2, 4), np.float32)
    rest, shift = split(matrix, v)
    assert np.array_equal(rest, matrix)
    assert not shift.any()


def test_shifts_travel_with_the_int8_form_and_files_without_them_are_read(tmp_path: Path) -> None:
    weights = warm_started()
    weights.to_int8().save(tmp_path / "new")
    again = load_weights(tmp_path / "new")
    assert {name for name in again.tensors if name.endswith("_shift")} == {
        UP.format(n) + "_shift" for n in range(2)
    }
    for layer in range(2):
        error = np.abs(again.dense(UP.format(layer)) - weights.tensors[UP.format(layer)])
        assert error.max() <= again.tensors[UP.format(layer) + "_scale"].max() * 0.501
    old = {n: t for n, t in again.tensors.items() if not n.endswith("_shift")}
    Weights(again.config, old, 1).save(tmp_path / "old")
    assert load_weights(tmp_path / "old").tensors.keys() == old.keys()


@pytest.mark.parametrize("mode", ["int8", "bf16"])
def test_rounding_along_the_direction_reaches_no_logit(mode: str) -> None:
    native = pytest.importorskip(
        "tinyrerank.engine.native", reason="the native engine is not built here", exc_type=ImportError
    )
    cu = np.arange(0, 1001, 20).astype(np.int32)
    ids = np.random.default_rng(0).integers(0, 150, 1000).astype(np.int32)

    def cost(weights: Weights) -> float:
        logits = {}
        for each in ("fp32", mode):
            engine = native.NativeEngine(weights, threads=1, mode=each, attention="fp32")
            logits[each] = engine.score(ids, cu)
            engine.close()
        return float(np.abs(logits[mode] - logits["fp32"]).mean() / logits["fp32"].std())

    try:
        along, usual = cost(warm_started()), cost(random_weights(warm_started().config))
    except EngineError as error:
        pytest.skip(str(error))
    assert along < 1.5 * usual, f"{mode} costs {along}, and {usual} where no row lies along the direction"
