"""Inside ``rounded`` the model is its own int8 form, activations too; outside it is untouched."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from conftest import TINY, random_weights

torch = pytest.importorskip("torch", reason="training needs the train extra")

from tinyrerank.model.config import FeedForward, ModelConfig  # noqa: E402
from tinyrerank.model.jinabert import JinaBert  # noqa: E402
from tinyrerank.model.weights import quantizable  # noqa: E402
from tinyrerank.train.quantize import _hook, _products, _round_input, round_tokens, rounded  # noqa: E402


def model_with_a_row_of_zeros() -> JinaBert:
    model = JinaBert.from_weights(random_weights(TINY))
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[7] = 0.0
    return model


def test_inside_the_weights_are_what_the_int8_form_gives_back() -> None:
    model = model_with_a_row_of_zeros()
    before = model.to_weights()
    shipped = before.to_int8().to_dense()
    with rounded(model):
        inside = {name: t.clone().numpy() for name, t in model.state_dict().items()}
    for name, array in inside.items():
        np.testing.assert_array_equal(array, shipped.tensors[name], err_msg=name)
    changed = [name for name in inside if not np.array_equal(inside[name], before.tensors[name])]
    assert changed == [name for name in inside if name in set(quantizable(inside))]


@pytest.mark.parametrize("fails", [False, True])
def test_outside_the_weights_are_the_originals_bit_for_bit(*, fails: bool) -> None:
    model = model_with_a_row_of_zeros()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    ids = torch.full((1, 3), TINY.vocab_size if fails else 5)  # outside of the vocabulary, or in it
    with pytest.raises(IndexError) if fails else nullcontext(), rounded(model):
        model(ids)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_tokens_are_rounded_one_by_one_as_the_engine_does() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 5, 40)).astype(np.float32)
    x[0, 0] = 2.5  # a constant row has no steps
    x[1, 2, 7] = 90.0  # an outlier coarsens its own row only
    slow = np.empty_like(x)
    for place in np.ndindex(3, 5):
        low, high = x[place].min(), x[place].max()
        step = (high - low) / np.float32(255.0)
        for i, value in enumerate(x[place]):
            code = np.rint((value - low) / step) if step > 0 else np.float32(0.0)
            slow[(*place, i)] = low + code * step
    np.testing.assert_allclose(round_tokens(torch.from_numpy(x)).numpy(), slow, rtol=1e-6, atol=1e-6)
    half = torch.from_numpy(x).bfloat16()
    assert round_tokens(half).dtype == torch.bfloat16


def test_inside_logits_are_the_native_engines_int8_logits() -> None:
    native = pytest.importorskip(
        "tinyrerank.engine.native", reason="the native engine is not built here", exc_type=ImportError
    )
    # Short sequences, and no gelu (the engine's is approximate): a value that falls on the other side of a
    # step by the order of additions alone is rare enough for the median to be exact.
    config = ModelConfig(
        vocab_size=150, hidden_size=96, n_layers=3, n_heads=3, intermediate_size=128, feed_forward="reglu"
    )
    weights = random_weights(config)
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 150, n).astype(np.int32) for n in (1, 2, 3, 4, 5) * 8]
    ids, cu = np.concatenate(parts), np.cumsum([0, *map(len, parts)]).astype(np.int32)
    engine = native.NativeEngine(weights, threads=1, mode="int8", attention="fp32")
    shipped = engine.score(ids, cu)
    engine.close()
    model = JinaBert.from_weights(weights)

    def inside() -> np.ndarray:
        with torch.no_grad():
            return np.array([model(torch.from_numpy(part).long()[None])[0, 0].item() for part in parts])

    with rounded(model):
        assert np.median(np.abs(inside() - shipped)) < 3e-6
        for module in _products(model).values():  # and each of the places counts
            kept = dict(module._forward_pre_hooks)
            module._forward_pre_hooks.clear()
            assert np.median(np.abs(inside() - shipped)) > 1e-3
            module._forward_pre_hooks.update(kept)


@pytest.mark.parametrize("feed_forward", ["geglu", "original"])
def test_each_product_of_the_engine_has_its_rounded_input(feed_forward: FeedForward) -> None:
    model = JinaBert.from_weights(random_weights(replace(TINY, feed_forward=feed_forward)))
    up, down = (
        ("mlp.gated_layers", "mlp.wo") if feed_forward == "geglu" else ("intermediate.dense", "output.dense")
    )
    parts = ["0.attention.self", *(f"{n}.{p}" for n in (0, 1) for p in ("attention.output.dense", up, down))]
    assert sorted(_products(model)) == sorted(f"bert.encoder.layer.{part}" for part in parts)


def test_gradients_pass_the_rounding_of_activations_unchanged() -> None:
    linear = torch.nn.Linear(8, 4)
    x = torch.randn(5, 8, requires_grad=True)
    linear.register_forward_pre_hook(_round_input)
    linear(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, linear.weight.sum(0).expand(5, 8))
    torch.testing.assert_close(linear.weight.grad, round_tokens(x.detach()).sum(0).expand(4, 8))


def test_gradients_are_those_at_the_rounded_weights() -> None:
    model, ids = model_with_a_row_of_zeros(), torch.tensor([[0, 9, 2, 2, 30, 41, 2]])
    with rounded(model):
        model(ids).sum().backward()
    shipped = JinaBert.from_weights(model.to_weights().to_int8())
    for name, module in _products(shipped).items():
        module.register_forward_pre_hook(_hook(shipped, name))
    shipped(ids).sum().backward()
    for (name, p), (_, q) in zip(model.named_parameters(), shipped.named_parameters(), strict=True):
        if q.grad is None:
            assert p.grad is None, name
        else:
            assert p.grad is not None, name
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-5, atol=1e-6)
