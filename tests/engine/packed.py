"""Random packed input, the twin's answer to it, and a model that reads 1200 tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import twin
from conftest import TINY
from tinyrerank.model import load_weights

MODEL = replace(TINY, max_length=1200)
Packed = tuple[NDArray[np.int32], NDArray[np.int32]]


def sequences(lengths: list[int], vocab_size: int = 150, seed: int = 0) -> list[NDArray[np.int32]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocab_size, n).astype(np.int32) for n in lengths]


def pack(parts: list[NDArray[np.int32]]) -> Packed:
    cu = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int32)
    return np.concatenate([np.zeros(0, np.int32), *parts]), cu


def truth(folder: Path, parts: list[NDArray[np.int32]]) -> NDArray[np.float64]:
    weights = load_weights(folder).to_dense()
    c = weights.config
    return np.array(
        [
            twin.logits(
                weights.tensors,
                ids,
                n_layers=c.n_layers,
                n_heads=c.n_heads,
                feed_forward=c.feed_forward,
                eps=c.layer_norm_eps,
            )[0]
            for ids in parts
        ]
    )


def report(what: str, given: NDArray[Any], expected: NDArray[Any]) -> float:
    """Print and return the largest difference."""
    difference = np.abs(given - expected)
    print(  # noqa: T201 - shown with pytest -s
        f"{what}: max {difference.max():.2e} mean {difference.mean():.2e}, logit sd {expected.std():.3f}"
    )
    return float(difference.max())
