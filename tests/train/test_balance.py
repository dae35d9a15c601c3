"""Balanced weights compute the same function, and their int8 form is closer to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conftest import TINY, random_weights, tiny_tokenizer

torch = pytest.importorskip("torch", reason="training needs the train extra")

from tinyrerank.model.jinabert import JinaBert  # noqa: E402
from tinyrerank.model.weights import Weights  # noqa: E402
from tinyrerank.train.balance import balanced, calibration_pairs  # noqa: E402
from tinyrerank.train.quantize import rounded  # noqa: E402

PAIRS = [np.random.default_rng(n).integers(0, 200, 30) for n in range(20)]


def uneven() -> Weights:
    """Channels of very different size before the down projection, undone by its columns; one is dead."""
    weights = random_weights(replace(TINY, hidden_size=96, n_heads=3, intermediate_size=128))
    tensors = dict(weights.tensors)
    for layer in range(2):
        name = f"bert.encoder.layer.{layer}.mlp."
        size = np.exp(np.random.default_rng(layer).normal(0, 1.5, 128)).astype(np.float32)
        up = tensors[f"{name}gated_layers.weight"].copy()
        up[128:] *= size[:, None]
        up[128 + 5] = 0
        tensors[f"{name}gated_layers.weight"] = up
        tensors[f"{name}wo.weight"] = tensors[f"{name}wo.weight"] / size
    return replace(weights, tensors=tensors)


def logits(model: JinaBert) -> np.ndarray:
    with torch.no_grad():
        return np.array([model(torch.from_numpy(pair)[None])[0, 0].item() for pair in PAIRS])


def test_float_logits_stay_and_int8_logits_come_closer() -> None:
    weights = uneven()
    before, after = JinaBert.from_weights(weights), JinaBert.from_weights(balanced(weights, PAIRS))
    exact = logits(before)
    np.testing.assert_allclose(logits(after), exact, atol=1e-5)
    with rounded(before), rounded(after):
        cost = [np.abs(logits(model) - exact).mean() for model in (before, after)]
    assert cost[1] < 0.7 * cost[0], cost


def test_a_feed_forward_without_gates_is_left_as_it_is() -> None:
    weights = random_weights(replace(TINY, feed_forward="original"))
    assert balanced(weights, PAIRS) is weights


def test_calibration_pairs_are_whole_pairs_of_bounded_length() -> None:
    pairs = calibration_pairs(tiny_tokenizer(), 5)
    assert len(pairs) == 5
    for pair in pairs:
        assert pair[0] == 0
        assert pair[-1] == 2
        assert len(pair) <= 128
