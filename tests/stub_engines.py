"""Engines that tests of the public class rank with, and a request for them."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

import twin
from conftest import TINY, random_weights
from tinyrerank.types import Document

QUERY = "how do tides work?"
DOCUMENTS: list[Document] = [
    "bread dough rises because yeast makes gas",
    {"title": "Tides", "text": "the moon and the sun pull on the ocean"},
    "a reranker gives one score",
    "",
]


class TwinEngine:
    """The float64 twin, one sequence at a time; remembers what it read."""

    name = "twin"
    max_length = TINY.max_length

    def __init__(self) -> None:
        tensors = random_weights(TINY).tensors
        self.sizes: list[int] = []
        self.closed = False

        @cache
        def logit(ids: tuple[int, ...]) -> float:
            return float(twin.logits(tensors, np.array(ids), n_layers=TINY.n_layers, n_heads=TINY.n_heads)[0])

        self.logit = logit

    def score(self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32]) -> NDArray[np.float32]:
        self.sizes.append(len(cu_seqlens) - 1)
        return np.array(
            [self.logit(tuple(ids[a:b].tolist())) for a, b in pairwise(cu_seqlens.tolist())], dtype=np.float32
        )

    def close(self) -> None:
        self.closed = True


class SumEngine:
    """A cheap logit that depends on every id and its place."""

    name = "sum"
    max_length = 8192

    def score(self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32]) -> NDArray[np.float32]:
        return np.array(
            [np.sin(ids[a:b] * np.arange(1, b - a + 1)).sum() for a, b in pairwise(cu_seqlens.tolist())],
            dtype=np.float32,
        )

    def close(self) -> None:
        pass


class ConstantEngine(SumEngine):
    """The same logit for everything."""

    name = "constant"

    def __init__(self, logit: float) -> None:
        self.logit = logit

    def score(self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32]) -> NDArray[np.float32]:
        assert cu_seqlens[-1] == len(ids)
        return np.full(len(cu_seqlens) - 1, self.logit, dtype=np.float32)


ENGINE = TwinEngine()
