"""The torch module against the float64 twin, in every geometry and stored form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import twin

if TYPE_CHECKING:
    from torch import Tensor

torch = pytest.importorskip("torch", reason="the reference module needs the torch extra")

from conftest import TINY, random_weights  # noqa: E402
from tinyrerank.errors import InputError  # noqa: E402
from tinyrerank.model import load_reference, load_weights  # noqa: E402
from tinyrerank.model.config import ModelConfig  # noqa: E402
from tinyrerank.model.jinabert import JinaBert  # noqa: E402

GEOMETRIES = {
    "small geglu": TINY,
    "small reglu": replace(TINY, feed_forward="reglu"),
    "small original": replace(TINY, feed_forward="original"),
    "tiny": ModelConfig(vocab_size=500),
    "turbo": ModelConfig(vocab_size=500, n_layers=6),
    "base": ModelConfig(vocab_size=300, hidden_size=768, n_layers=12, intermediate_size=3072),
}


def _twin(folder: Path, ids: np.ndarray) -> np.ndarray:
    weights = load_weights(folder)
    c = weights.config
    tensors = weights.to_dense().tensors
    return twin.logits(
        tensors,
        ids,
        n_layers=c.n_layers,
        n_heads=c.n_heads,
        feed_forward=c.feed_forward,
        eps=c.layer_norm_eps,
    )


@pytest.mark.parametrize("name", GEOMETRIES)
def test_logits_agree_with_the_float64_twin(name: str, make_model: Callable[..., Path]) -> None:
    folder = make_model(GEOMETRIES[name])
    reference = load_reference(folder)
    rng = np.random.default_rng(1)
    for length in (1, 7, 130):
        ids = rng.integers(0, 200, length)
        got = reference(torch.from_numpy(ids)[None])[0].numpy()
        difference = np.abs(got - _twin(folder, ids))
        print(f"{name} at {length}: max {difference.max():.2e} mean {difference.mean():.2e}")  # noqa: T201
        assert difference.max() < 2e-5


def test_logits_agree_with_the_twin_at_1100_tokens(make_model: Callable[..., Path]) -> None:
    folder = make_model(ModelConfig(vocab_size=500))
    ids = np.random.default_rng(2).integers(0, 500, 1100)
    got = load_reference(folder)(torch.from_numpy(ids)[None])[0].numpy()
    assert np.abs(got - _twin(folder, ids)).max() < 2e-5


def test_attention_in_blocks_of_queries_gives_the_same_logits(
    make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_model(TINY)
    ids = torch.from_numpy(np.random.default_rng(3).integers(0, 200, (2, 300)))
    whole = load_reference(folder)(ids)
    monkeypatch.setattr("tinyrerank.model.jinabert._TILE_CELLS", 300 * 7)
    assert torch.allclose(load_reference(folder)(ids), whole, atol=1e-6)


def test_padding_and_its_ids_do_not_change_logits(make_model: Callable[..., Path]) -> None:
    reference = load_reference(make_model(TINY))
    ids = torch.from_numpy(np.random.default_rng(4).integers(0, 200, (1, 20)))
    alone = reference(ids)
    for pad in (0, 1):
        padded = torch.cat([ids, torch.full((1, 9), pad)], dim=1)
        mask = torch.cat([torch.ones(1, 20), torch.zeros(1, 9)], dim=1).long()
        assert torch.allclose(reference(padded, mask), alone, atol=1e-6)


def test_type_ids_of_zero_are_the_default_and_others_matter(make_model: Callable[..., Path]) -> None:
    reference = load_reference(make_model(TINY))
    ids = torch.from_numpy(np.random.default_rng(5).integers(0, 200, (1, 20)))
    assert torch.equal(reference(ids), reference(ids, None, torch.zeros_like(ids)))
    assert not torch.allclose(reference(ids), reference(ids, None, torch.ones_like(ids)), atol=1e-3)


def test_several_labels_come_from_the_classifier(make_model: Callable[..., Path]) -> None:
    reference = load_reference(make_model(TINY, n_labels=3))
    assert reference(torch.zeros((2, 4), dtype=torch.int64)).shape == (2, 3)


def test_int8_folder_scores_as_its_dequantized_twin(make_model: Callable[..., Path]) -> None:
    folder = make_model(TINY, int8=True)
    ids = np.random.default_rng(6).integers(0, 200, 40)
    got = load_reference(folder)(torch.from_numpy(ids)[None])[0].numpy()
    assert np.abs(got - _twin(folder, ids)).max() < 2e-5


def test_module_and_weights_round_trip() -> None:
    weights = random_weights(TINY)
    back = JinaBert.from_weights(weights).to_weights()
    assert back.tensors.keys() == weights.tensors.keys()
    assert all(np.array_equal(back.tensors[n], weights.tensors[n]) for n in weights.tensors)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), "int64"),
        (torch.zeros((1, 0), dtype=torch.int64), "int64"),
        (torch.full((1, 3), 200), "outside 0..199"),
        (torch.zeros((1, 513), dtype=torch.int64), "more than the model's 512"),
    ],
)
def test_reference_refuses_bad_ids(ids: Tensor, message: str, tiny_folder: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_reference(tiny_folder)(ids)


def test_training_scores_as_inference_does(tiny_folder: Path) -> None:
    model = JinaBert.from_weights(load_weights(tiny_folder))
    ids = torch.from_numpy(np.random.default_rng(7).integers(0, 200, (3, 30)))
    mask = torch.arange(30)[None, :] < torch.tensor([[30], [11], [1]])
    with torch.no_grad():
        fused = model(ids, mask)
    trained = model(ids, mask)
    assert trained.requires_grad
    assert torch.allclose(trained.detach(), fused, atol=1e-5)
