"""NDCG@10 on held-out lists: what stages are compared by. Test queries never come here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tinyrerank.train.encoders import score_pairs
from tinyrerank.train.pool import Pool
from tinyrerank.train.tokens import PairBuilder


@dataclass(slots=True)
class DevLists:
    """Lists to rank, (L, K), with the gain of every candidate and the best reachable DCG@10 of every list."""

    query: NDArray[np.int32]
    candidate: NDArray[np.int32]
    gain: NDArray[np.float32]
    ideal: NDArray[np.float32]
    source: list[str]

    def values(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """NDCG@10 of every list (L,) for scores (L, K)."""
        scores = np.where(self.candidate >= 0, scores, -np.inf)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :10]
        dcg = (np.take_along_axis(self.gain, order, axis=1) * discounts(order.shape[1])).sum(1)
        return np.asarray(dcg / self.ideal, dtype=np.float64)

    def ndcg(self, scores: NDArray[np.float32]) -> dict[str, float]:
        """Mean NDCG@10 of each source, and ``mean`` over sources, for scores (L, K); none without lists."""
        values = self.values(scores)
        by_source = {s: float(values[[x == s for x in self.source]].mean()) for s in sorted(set(self.source))}
        return by_source | ({"mean": float(np.mean(list(by_source.values())))} if by_source else {})


def discounts(n: int) -> NDArray[np.float64]:
    """What a gain at each of the first n ranks is multiplied by."""
    return np.asarray(1 / np.log2(np.arange(2, n + 2)), dtype=np.float64)


def make_dev_lists(
    pool: Pool,
    numbers: NDArray[np.int32],
    dense: NDArray[np.int32],
    lexical: NDArray[np.int32],
    depth: int = 50,
) -> DevLists:
    """Lists of held-out queries: BM25's best, filled up with nearest passages and the known answers.

    Lists of evaluation sets' development queries hold BM25's best alone, as a first stage would give them.
    """
    candidate = np.full((len(numbers), depth), -1, dtype=np.int32)
    gain = np.zeros((len(numbers), depth), dtype=np.float32)
    ideal = np.ones(len(numbers), dtype=np.float32)
    for row, number in enumerate(numbers):
        query = pool.queries[number]
        if query.source.startswith("dev "):
            chosen = [int(p) for p in lexical[row] if p >= 0][:depth]
        else:
            found = dict.fromkeys([*query.positives, *map(int, lexical[row][:25]), *map(int, dense[row])])
            chosen = [p for p in found if p >= 0][:depth]
            chosen.sort()  # an order that knows nothing of the answer
        candidate[row, : len(chosen)] = chosen
        gain[row, : len(chosen)] = [query.positives.get(p, 0) for p in chosen]
        best = np.sort(np.fromiter(query.positives.values(), dtype=np.float64))[::-1][:10]
        ideal[row] = (best * discounts(len(best))).sum()
    return DevLists(
        numbers.astype(np.int32), candidate, gain, ideal, [pool.queries[n].source for n in numbers]
    )


def dev_scores(
    model: nn.Module, builder: PairBuilder, dev: DevLists, device: torch.device
) -> dict[str, float]:
    """NDCG@10 of a cross-encoder on held-out lists, by source and on average; nothing where none are."""
    if not dev.source:
        return {}
    return dev.ndcg(score_lists(model, builder, dev.query, dev.candidate, device))


def score_lists(
    model: nn.Module,
    builder: PairBuilder,
    query: NDArray[np.int32],
    candidate: NDArray[np.int32],
    device: torch.device,
    micro_tokens: int = 65_536,
) -> NDArray[np.float32]:
    """Logits (L, K) of lists; 0 at padding."""
    real = candidate >= 0
    numbers = np.broadcast_to(query[:, None], candidate.shape)[real]
    flat = score_pairs(
        model,
        builder,
        torch.from_numpy(numbers.astype(np.int64)).to(device),
        torch.from_numpy(candidate[real].astype(np.int64)).to(device),
        micro_tokens=micro_tokens,
        device=device,
    )
    out = np.zeros(candidate.shape, dtype=np.float32)
    out[real] = flat.cpu().numpy()
    return out
