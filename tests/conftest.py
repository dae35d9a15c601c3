"""Shared fixtures: tiny random models in the official form, made on the spot, no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from tinyrerank.model.config import ModelConfig
from tinyrerank.model.weights import Weights, expected_shapes, from_tensors

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
TEXT = [
    "the tide rises when the moon pulls the sea toward it",
    "how do tides work? the moon and the sun pull on the ocean.",
    "bread dough rises because yeast makes gas; bake it for thirty minutes at 220 degrees",
    "a reranker reads a query and a document together and gives one score",
]


def random_weights(config: ModelConfig, n_labels: int = 1, seed: int = 0, scale: float = 0.3) -> Weights:
    """Seeded weights with spread-out logits: norms near 1, the rest normal(0, scale / sqrt(fan in))."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, NDArray[Any]] = {}
    for name, shape in expected_shapes(config, n_labels).items():
        noise = rng.standard_normal(shape).astype(np.float32)
        if "norm" in name.lower() and name.endswith("weight"):
            tensors[name] = 1.0 + 0.1 * noise
        elif len(shape) == 1:
            tensors[name] = 0.1 * noise
        elif "embeddings" in name:
            tensors[name] = 0.5 * noise
        else:
            tensors[name] = noise * np.float32(scale * 4 / np.sqrt(shape[1]))
    return from_tensors(config, tensors, "random")


def tiny_tokenizer(vocab_size: int = 200) -> Tokenizer:
    """A character BPE in the official form, trained on four sentences."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))  # noqa: S106
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIALS, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


TINY = ModelConfig(
    vocab_size=200, hidden_size=16, n_layers=2, n_heads=4, intermediate_size=24, max_length=512
)


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes a random model folder of any geometry and returns its path."""

    def make(config: ModelConfig = TINY, *, n_labels: int = 1, seed: int = 0, int8: bool = False) -> Path:
        folder = tmp_path_factory.mktemp("model")
        weights = random_weights(config, n_labels, seed)
        (weights.to_int8() if int8 else weights).save(folder)
        tiny_tokenizer(min(config.vocab_size, 200)).save(str(folder / "tokenizer.json"))
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_folder(make_model: Callable[..., Path]) -> Path:
    """A random model of 2 layers and width 16, fp32, with its tokenizer. Read it, do not change it."""
    return make_model()
