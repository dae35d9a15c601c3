"""What the student takes from a BERT encoder: exactly its feed-forward, its heads and its word pieces."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer
from toy import BERT, WORDS, bert_tensors, word_piece, write_bert

import twin
from conftest import tiny_tokenizer
from tinyrerank.errors import ModelError
from tinyrerank.model.alibi import alibi_slopes
from tinyrerank.model.config import ModelConfig
from tinyrerank.train.recipe import TokenizerRecipe
from tinyrerank.train.tokenizer import train_tokenizer
from tinyrerank.train.warmstart import (
    _embedding_rows,
    _layer,
    _permute_heads,
    constant_direction,
    head_orders,
    warm_start,
)

H, HEADS = BERT["hidden"], BERT["heads"]
CONFIG = ModelConfig(
    vocab_size=120, hidden_size=H, n_layers=2, n_heads=HEADS, intermediate_size=BERT["intermediate"]
)
SAMPLE = ["the tide rises when the moon pulls", "bread rises, the sea rises", "sun and water"]


def student_tokenizer() -> Tokenizer:
    return train_tokenizer([], TokenizerRecipe(vocab_size=120, word_weight=3), WORDS)


def norm_outputs(gamma: NDArray[Any], beta: NDArray[Any], seed: int, n: int = 50) -> NDArray[np.float64]:
    x = np.random.default_rng(seed).normal(0, 3, (n, len(gamma)))
    out: NDArray[np.float64] = twin.layer_norm(x, gamma.astype(float), beta.astype(float), 1e-12)
    return out


@given(seed=st.integers(0, 10_000), width=st.sampled_from([8, 32, 384]), sign=st.sampled_from([-1.0, 1.0]))
@settings(max_examples=40, deadline=None)
def test_the_constant_direction_gives_one_on_every_norm_output(seed: int, width: int, sign: float) -> None:
    rng = np.random.default_rng(seed)
    gamma = rng.uniform(0.6, 1.6, width)
    beta = sign * 0.4 + rng.normal(0, 0.2, width)
    c = (beta / gamma).sum()
    u = constant_direction(gamma, beta)
    if abs(c) < 1.0:
        return  # badly conditioned: the ridge rules
    np.testing.assert_allclose(norm_outputs(gamma, beta, seed) @ u, 1.0, atol=0.02)
    np.testing.assert_allclose(u, 1 / (gamma * c), rtol=0.02)


def test_the_constant_direction_stays_bounded_where_none_exists() -> None:
    gamma = np.ones(16)
    beta = np.tile([0.5, -0.5], 8)  # c = 0: no vector gives 1
    u = constant_direction(gamma, beta)
    assert np.isfinite(u).all()
    assert np.linalg.norm(u) < 10


@pytest.mark.parametrize("source", range(BERT["layers"]))
def test_a_gated_layer_reproduces_berts_feed_forward(source: int) -> None:
    bert = bert_tensors()
    layer = _layer(bert, source)
    p = f"encoder.layer.{source}."
    x = norm_outputs(
        bert[p + "attention.output.LayerNorm.weight"], bert[p + "attention.output.LayerNorm.bias"], 1
    )
    inner = twin.gelu(x @ bert[p + "intermediate.dense.weight"].T + bert[p + "intermediate.dense.bias"])
    expected = inner @ bert[p + "output.dense.weight"].T + bert[p + "output.dense.bias"]
    gate, value = np.split(x @ layer["mlp.gated_layers.weight"].T, 2, axis=1)
    got = (twin.gelu(gate) * value) @ layer["mlp.wo.weight"].T + layer["mlp.wo.bias"]
    print(f"max difference {np.abs(got - expected).max():.2e}")  # noqa: T201 - shown when it fails
    np.testing.assert_allclose(got, expected, atol=0.01)


def test_embedding_rows_are_means_of_the_pieces_of_their_text() -> None:
    old, new = word_piece(), student_tokenizer()
    words = bert_tensors()["embeddings.word_embeddings.weight"]
    rows = _embedding_rows(words, old, new, 120)
    piece, vocab = old.get_vocab(), new.get_vocab()
    np.testing.assert_allclose(rows[vocab["tide"]], words[piece["tide"]], rtol=1e-6)
    apart = {text: old.encode(text, add_special_tokens=False).tokens for text in vocab}
    several = [t for t, tokens in apart.items() if len(tokens) > 1 and "[UNK]" not in tokens and "<" not in t]
    assert several
    for text in several:
        np.testing.assert_allclose(
            rows[vocab[text]], words[[piece[t] for t in apart[text]]].mean(0), rtol=1e-5, atol=1e-6
        )


def test_specials_start_as_berts_and_rows_without_a_text_as_the_mean() -> None:
    old, new = word_piece(), student_tokenizer()
    words = bert_tensors()["embeddings.word_embeddings.weight"]
    rows = _embedding_rows(words, old, new, 120)
    for row, token in enumerate(["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]):
        np.testing.assert_array_equal(rows[row], words[old.get_vocab()[token]])
    spare = [n for n in range(120) if n >= new.get_vocab_size()]
    assert spare
    for row in [*spare, new.get_vocab()["%"]]:  # a text that BERT does not know
        np.testing.assert_allclose(rows[row], words.mean(0), rtol=1e-5, atol=1e-6)


def attend(layer: dict[str, NDArray[Any]], x: NDArray[Any]) -> NDArray[np.float64]:
    """Plain attention of one sequence (T, H), without positions."""

    def dense(y: NDArray[Any], name: str) -> NDArray[Any]:
        return np.asarray(y @ layer[name + ".weight"].T + layer[name + ".bias"])

    d = H // HEADS
    q, k, v = (dense(x, f"attention.self.{part}") for part in ("query", "key", "value"))
    context = np.empty_like(x)
    for h in range(HEADS):
        s = slice(h * d, (h + 1) * d)
        weight = np.exp(q[:, s] @ k[:, s].T / math.sqrt(d))
        context[:, s] = weight / weight.sum(1, keepdims=True) @ v[:, s]
    return dense(context, "attention.output.dense")


@given(order=st.permutations(range(HEADS)))
@settings(max_examples=10, deadline=None)
def test_exchanging_heads_changes_nothing_without_alibi(order: list[int]) -> None:
    layer = _layer(bert_tensors(), 1)
    before = {name: a.copy() for name, a in layer.items()}
    x = np.random.default_rng(0).standard_normal((7, H))
    moved = _permute_heads(layer, order, H // HEADS)
    np.testing.assert_allclose(attend(moved, x), attend(before, x), atol=1e-5)
    d = H // HEADS  # and head order[0] is the first one now
    np.testing.assert_array_equal(
        moved["attention.self.key.weight"][:d],
        before["attention.self.key.weight"][order[0] * d : (order[0] + 1) * d],
    )


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    write_bert(folder)
    return folder


def needs_transformers() -> None:
    pytest.importorskip("torch", reason="head ordering runs the encoder")
    pytest.importorskip("transformers", reason="head ordering runs the encoder")


def test_heads_that_look_near_stand_where_slopes_are_steep(bert_folder: Path) -> None:
    needs_transformers()
    import torch
    from transformers import AutoModel

    orders = head_orders(bert_folder, word_piece(), SAMPLE, HEADS)
    encoder = AutoModel.from_pretrained(str(bert_folder), attn_implementation="eager").eval()
    distance = np.zeros((BERT["layers"], HEADS))
    for text in SAMPLE:
        ids = torch.tensor([word_piece().encode(text).ids])
        with torch.no_grad():
            attentions = encoder(input_ids=ids, output_attentions=True).attentions
        for n, weights in enumerate(attentions):
            for h in range(HEADS):
                for i, row in enumerate(weights[0, h].tolist()):
                    distance[n, h] += sum(w * abs(i - j) for j, w in enumerate(row)) / ids.shape[1]
    slopes = alibi_slopes(HEADS)
    for n, order in enumerate(orders):
        assert sorted(order) == list(range(HEADS))
        placed = sorted(range(HEADS), key=lambda slot: -slopes[slot])
        near_first = [distance[n, order[slot]] for slot in placed]
        assert near_first == sorted(near_first)
    assert any(order != list(range(HEADS)) for order in orders)


def test_a_warm_started_student_is_the_bert_it_came_from_but_for_positions(bert_folder: Path) -> None:
    needs_transformers()
    import torch
    from transformers import AutoModel

    from tinyrerank.model.jinabert import JinaBert

    old, new = word_piece(), student_tokenizer()
    weights = warm_start(bert_folder, [0, 1], new, CONFIG, 5, SAMPLE)
    student = JinaBert.from_weights(weights)
    student.slopes.zero_()  # no positions, as in the folder
    words = ["tide", "rises", "moon", "the", "sea"]
    mine = [0, *(new.get_vocab()[w] for w in words), 2]
    theirs = [2, *(old.get_vocab()[w] for w in words), 3]
    encoder = AutoModel.from_pretrained(str(bert_folder)).eval()
    with torch.no_grad():
        ours = student.hidden_states(torch.tensor([mine]))
        wanted = encoder(input_ids=torch.tensor([theirs]), output_hidden_states=True).hidden_states
    for n in range(3):
        torch.testing.assert_close(ours[n], wanted[n], atol=0.02, rtol=0.0)


def test_a_warm_start_says_what_does_not_fit(bert_folder: Path) -> None:
    tokenizer = tiny_tokenizer()
    with pytest.raises(ModelError, match=r"3 layers chosen for a geglu model of 2"):
        warm_start(bert_folder, [0, 1, 2], tokenizer, CONFIG, 0, SAMPLE)
    wide = ModelConfig(vocab_size=200, hidden_size=32, n_layers=2, n_heads=4, intermediate_size=24)
    with pytest.raises(ModelError, match=r"hidden size 16, the student has 32"):
        warm_start(bert_folder, [0, 1], tokenizer, wide, 0, SAMPLE)
