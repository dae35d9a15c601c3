"""Candidate lists for teachers to judge: neighbours by meaning, neighbours by words, and chance."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinyrerank.train.pool import Pool
from tinyrerank.train.recipe import MineRecipe
from tinyrerank.train.synth import ASKS_FOR_OTHERS
from tinyrerank.train.tokens import Flat

_GIVEN_POSITIVES, _GIVEN_NEGATIVES = 2, 4


@dataclass(slots=True)
class Lists:
    """L lists of K candidates.

    Attributes:
        query: number of each list's query, (L,).
        candidate: passage numbers, (L, K), -1 at padding.
        label: 1 known answer, 0 given or mined non-answer, NaN unknown, (L, K).
        teacher: fused teacher scores, (L, K); zeros before teachers have run.
    """

    query: NDArray[np.int32]
    candidate: NDArray[np.int32]
    label: NDArray[np.float32]
    teacher: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write an ``.npz``."""
        np.savez(path, query=self.query, candidate=self.candidate, label=self.label, teacher=self.teacher)

    def share(self, part: int, parts: int) -> Lists:
        """Every list whose number leaves the rest ``part`` when divided by ``parts``."""
        rows = slice(part, None, parts)
        return Lists(self.query[rows], self.candidate[rows], self.label[rows], self.teacher[rows])

    def moved(self, queries: int, passages: int) -> Lists:
        """The same lists where so many queries and passages stand before those that they name."""
        candidate = np.where(self.candidate >= 0, self.candidate + passages, -1).astype(np.int32)
        return replace(self, query=(self.query + queries).astype(np.int32), candidate=candidate)

    @classmethod
    def joined(cls, parts: Sequence[Lists]) -> Lists:
        """All of their lists."""
        names = ("query", "candidate", "label", "teacher")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @classmethod
    def load(cls, path: Path) -> Lists:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as f:
            return cls(f["query"], f["candidate"], f["label"], f["teacher"])


class Bm25:
    """BM25 over token ids, as products of sparse matrices on the training device (k1 0.9, b 0.4).

    A candidate generator, not a baseline: its terms are the student's tokens, without stemming.
    """

    def __init__(
        self, flat: Flat, n_terms: int, device: torch.device, *, k1: float = 0.9, b: float = 0.4
    ) -> None:
        n = len(flat.lengths)
        document = np.repeat(np.arange(n, dtype=np.int64), flat.lengths)
        cells, counts = np.unique(document * n_terms + flat.ids, return_counts=True)
        rows, terms = cells // n_terms, cells % n_terms
        frequency = np.bincount(terms, minlength=n_terms)
        idf = np.log1p((n - frequency + 0.5) / (frequency + 0.5))
        norm = k1 * (1 - b + b * flat.lengths / max(1.0, flat.lengths.mean()))
        impact = idf[terms] * counts / (counts + norm[rows])
        starts = np.searchsorted(rows, np.arange(n + 1))
        if device.type == "cuda":  # whose products are faster with short indices
            starts, terms = starts.astype(np.int32), terms.astype(np.int32)
        values = torch.from_numpy(impact.astype(np.float32))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR")  # that torch calls it beta
            matrix = torch.sparse_csr_tensor(
                torch.from_numpy(starts), torch.from_numpy(terms), values, (n, n_terms), check_invariants=True
            )
        self.matrix = matrix.to(device)
        self.n_terms, self.device = n_terms, device

    def _of(self, queries: Flat, rows: NDArray[np.int64]) -> Tensor:
        """Scores (n, len(rows)) of all passages for some queries."""
        dense = torch.zeros((self.n_terms, len(rows)), device=self.device)
        some = queries.take(rows)
        column = np.repeat(np.arange(len(rows)), some.lengths)
        ids = torch.from_numpy(some.ids.astype(np.int64)).to(self.device)
        dense[ids, torch.from_numpy(column).to(self.device)] = 1.0
        scores: Tensor = self.matrix @ dense
        return scores

    def shares(
        self, queries: Flat, query: NDArray[np.int32], candidate: NDArray[np.int32], batch: int = 256
    ) -> NDArray[np.float32]:
        """Scores (L, K) of lists over the best score that any passage has for the query; 0 at padding."""
        out = np.zeros(candidate.shape, dtype=np.float32)
        for start in range(0, len(query), batch):
            scores = self._of(queries, query[start : start + batch].astype(np.int64))  # (n, batch)
            rows = torch.from_numpy(candidate[start : start + batch].astype(np.int64)).to(self.device)
            found = scores.gather(0, rows.clamp(min=0).T).T
            best = scores.amax(dim=0).clamp(min=1e-6)[:, None]
            out[start : start + batch] = torch.where(rows >= 0, found / best, 0.0).cpu().numpy()
        return out

    def top(self, queries: Flat, depth: int, batch: int = 256) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield ``(first query, (batch, depth) passage numbers)``, best first."""
        for start in range(0, len(queries.lengths), batch):
            stop = min(start + batch, len(queries.lengths))
            scores = self._of(queries, np.arange(start, stop)).T.contiguous()  # (batch, n)
            yield start, scores.topk(min(depth, scores.shape[1]), dim=1).indices.cpu().numpy()


def nearest(queries: Tensor, passages: Tensor, depth: int, batch: int = 1024) -> NDArray[np.int32]:
    """Numbers of the passages with the largest inner products, (n, depth), best first."""
    out = np.zeros((len(queries), min(depth, len(passages))), dtype=np.int32)
    for start in range(0, len(queries), batch):
        scores = queries[start : start + batch] @ passages.T
        out[start : start + batch] = scores.topk(out.shape[1], dim=1).indices.cpu().numpy()
    return out


def mine(
    pool: Pool,
    numbers: NDArray[np.int32],
    dense: NDArray[np.int32],
    lexical: NDArray[np.int32],
    recipe: MineRecipe,
    seed: int,
) -> Lists:
    """Compose one list for each query.

    Args:
        pool: queries with their given positives and negatives.
        numbers: queries to make lists for, (L,).
        dense: nearest passages of each, (L, depth).
        lexical: BM25's best of each, (L, depth).
        recipe: how many of each kind; draws favour the top (half of them from the first ten).
        seed: for the draws.

    Returns:
        Lists without teacher scores; given positives are labelled 1, everything else of a query with real
        positives 0 until :func:`doubt` looks at it, everything else NaN.
    """
    rng, chooser = np.random.default_rng(seed), random.Random(seed)
    width, n = recipe.length, len(numbers)
    given = np.full((n, _GIVEN_POSITIVES + _GIVEN_NEGATIVES), -1, dtype=np.int32)
    itself = np.full((n, 1), -1, dtype=np.int32)  # a passage that asks for others like it
    for row, number in enumerate(numbers):
        query = pool.queries[number]
        chosen = chooser.sample(list(query.positives), min(_GIVEN_POSITIVES, len(query.positives)))
        if query.source in ASKS_FOR_OTHERS:
            itself[row], chosen = chosen[0], []
        chosen += chooser.sample(query.negatives, min(_GIVEN_NEGATIVES, len(query.negatives)))
        given[row, : len(chosen)] = chosen
    drawn = rng.integers(0, pool.n_trainable, (n, width), dtype=np.int32)
    found = np.concatenate(
        [given, _draw(dense, recipe.dense, rng), _draw(lexical, recipe.lexical, rng), drawn], axis=1
    )
    found[found == itself] = -1
    for column in range(1, found.shape[1]):
        again = (found[:, :column] == found[:, column : column + 1]).any(axis=1)
        found[again, column] = -1
    found = np.take_along_axis(found, (found < 0).argsort(axis=1, kind="stable"), axis=1)
    n_found, place = (found >= 0).sum(axis=1, keepdims=True), np.arange(width)
    # Where more were found than a list holds, the last places stay chance's.
    by_chance = (place >= width - recipe.chance) & (n_found > width)
    candidate = np.take_along_axis(found, np.where(by_chance, n_found - width + place, place), axis=1)
    label = np.full((n, width), np.nan, dtype=np.float32)
    for row, number in enumerate(numbers):
        query = pool.queries[number]
        if query.positives and not query.source.startswith("synthetic"):
            real = candidate[row][candidate[row] >= 0].tolist()
            label[row, : len(real)] = [float(p in query.positives) for p in real]
    return Lists(numbers.astype(np.int32), candidate, label, np.zeros(candidate.shape, dtype=np.float32))


def _draw(ranked: NDArray[np.int32], n: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """N of every row's passages, (L, n) or fewer: half of them from the first ten."""
    n_head = min(10, ranked.shape[1])
    head = rng.random((len(ranked), n_head)).argsort(axis=1)[:, : (n + 1) // 2]
    tail = n_head + rng.random((len(ranked), ranked.shape[1] - n_head)).argsort(axis=1)[:, : n // 2]
    return np.take_along_axis(ranked, np.concatenate([head, tail], axis=1), axis=1)


def doubt(lists: Lists, similarity: NDArray[np.float32], margin: float) -> None:
    """Turn labels of 0 into unknown where the teacher finds the candidate nearly as close as the best answer.

    Args:
        lists: changed in place.
        similarity: a teacher's scores (L, K).
        margin: a candidate closer to the query than the best known answer minus this is doubted.
    """
    answer = np.where(lists.label == 1, similarity, -np.inf).max(axis=1, keepdims=True)
    doubtful = (lists.label == 0) & (similarity > answer - margin)
    lists.label[doubtful] = np.nan


def centered(scores: NDArray[np.float32], candidate: NDArray[np.int32]) -> NDArray[np.float32]:
    """Scores minus their list's mean; 0 at padding."""
    real = candidate >= 0
    mean = np.where(real, scores, 0).sum(1, keepdims=True) / np.maximum(real.sum(1, keepdims=True), 1)
    return np.where(real, scores - mean, 0).astype(np.float32)


def spread(scores: NDArray[np.float32], candidate: NDArray[np.int32]) -> float:
    """Standard deviation within lists (1 where all scores of every list are equal)."""
    found = float(np.sqrt((centered(scores, candidate) ** 2).sum() / max(1, int((candidate >= 0).sum()))))
    return found or 1.0
