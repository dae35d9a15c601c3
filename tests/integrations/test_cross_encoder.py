"""The object that stands in for a sentence-transformers cross-encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinyrerank import Reranker
from tinyrerank.errors import InputError
from tinyrerank.integrations.cross_encoder import CrossEncoder

PAIRS = [("tides", "the tide rises"), ("bread", "yeast makes gas"), ("tides", "the moon pulls the sea")]


@pytest.fixture(scope="module")
def encoder(tiny_folder: Path) -> CrossEncoder:
    return CrossEncoder(str(tiny_folder))


def logits_of(folder: Path) -> np.ndarray:
    with Reranker(str(folder)) as reranker:
        return reranker.score_pairs(PAIRS)


def test_predict_gives_sigmoids_in_the_order_of_the_pairs(encoder: CrossEncoder, tiny_folder: Path) -> None:
    scores = encoder.predict(PAIRS)
    assert scores.dtype == np.float32
    assert scores == pytest.approx(1 / (1 + np.exp(-logits_of(tiny_folder))), rel=1e-6)
    assert encoder.predict([list(pair) for pair in PAIRS]) == pytest.approx(scores)
    assert encoder.predict(np.array(PAIRS)) == pytest.approx(scores)


def test_one_pair_gives_one_score_and_none_an_empty_array(encoder: CrossEncoder) -> None:
    one = encoder.predict(PAIRS[0])
    assert np.ndim(one) == 0
    assert one == pytest.approx(encoder.predict(PAIRS)[0])
    assert encoder.predict([]).shape == (0,)


def test_an_activation_replaces_the_sigmoid(encoder: CrossEncoder, tiny_folder: Path) -> None:
    raw = encoder.predict(PAIRS, activation_fn=lambda logits: logits)
    assert raw == pytest.approx(logits_of(tiny_folder))
    fixed = CrossEncoder(str(tiny_folder), activation_fn=lambda logits: 2 * logits)
    assert fixed.predict(PAIRS) == pytest.approx(2 * raw)
    rows = encoder.rank("tides", [text for _, text in PAIRS], activation_fn=lambda logits: logits)
    assert rows[0]["score"] == pytest.approx(max(row["score"] for row in rows))


def test_tensors_and_torch_activations_come_as_asked_for(encoder: CrossEncoder, tiny_folder: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    tensor = encoder.predict(PAIRS, convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.numpy() == pytest.approx(encoder.predict(PAIRS))
    listed = encoder.predict(PAIRS, convert_to_numpy=False)
    assert isinstance(listed, list)
    assert len(listed) == 3
    raw = encoder.predict(PAIRS, activation_fn=torch.nn.Identity())
    assert raw == pytest.approx(logits_of(tiny_folder))


def test_rank_refuses_to_return_no_document(encoder: CrossEncoder) -> None:
    with pytest.raises(InputError, match="top_k is 0"):
        encoder.rank("tides", ["a"], top_k=0)
    assert encoder.max_length == 512
