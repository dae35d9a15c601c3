"""Late interaction: a bi-encoder's token states compared one by one, without any training.

A query's token finds the passage's token most like it, and the pair's score is the mean of those cosines
(MaxSim: Khattab & Zaharia 2020, arXiv 2004.12832). Mean-pooled encoders were never trained for it, and yet
all-MiniLM-L6-v2 orders passages better so than by the cosine of its vectors (docs/experiments.md). Special
tokens take part on both sides: their states sum up the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from numpy.typing import NDArray
from torch import Tensor

from tinyrerank.progress import Progress
from tinyrerank.train.encoders import token_states
from tinyrerank.train.tokens import Flat, Template


@torch.no_grad()
def late_interaction(
    backbone: Any,  # noqa: ANN401 - a transformers model
    template: Template,
    queries: Flat,
    passages: Flat,
    pairs: tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]],
    device: torch.device,
    *,
    max_length: int = 256,
    micro_tokens: int = 4_096,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Mean greatest cosine of the query's tokens, one a pair, (n,).

    Every text is read once. The states of all queries asked are held (2 bytes a number where the device
    computes in 16 bits), those of passages a batch at a time.

    Args:
        backbone: the encoder.
        template: its special tokens.
        queries: their ids, without specials.
        passages: likewise.
        pairs: numbers of queries and of passages, each (n,).
        device: where it computes.
        max_length: tokens of a text, specials included; the rest is cut.
        micro_tokens: tokens of one forward pass.
        progress: advanced by pairs.
    """
    asked, query = np.unique(pairs[0], return_inverse=True)
    named, passage = np.unique(pairs[1], return_inverse=True)

    def read(texts: Flat) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        made = token_states(
            backbone, template, texts, device, max_length=max_length, micro_tokens=micro_tokens
        )
        return ((rows, F.normalize(states, dim=-1), mask) for rows, states, mask in made)

    kept: list[Tensor] = [torch.empty(0)] * len(asked)
    for rows, unit, mask in read(queries.take(asked)):
        for row, state, n in zip(rows.tolist(), unit, mask.sum(1).tolist(), strict=True):
            kept[row] = state[:n].clone()
    by_passage = np.argsort(passage, kind="stable")
    bounds = np.searchsorted(passage[by_passage], np.arange(len(named) + 1))
    scores = np.zeros(len(query), dtype=np.float32)
    for rows, unit, mask in read(passages.take(named)):
        for row, state, n in zip(rows.tolist(), unit, mask.sum(1).tolist(), strict=True):
            mine = by_passage[bounds[row] : bounds[row + 1]]
            asking = [kept[number] for number in query[mine]]
            best = (torch.cat(asking) @ state[:n].T).amax(1).float()  # of every token of every query
            means = [part.mean() for part in best.split(list(map(len, asking)))]
            scores[mine] = torch.stack(means).cpu().numpy()
            if progress is not None:
                progress.advance(len(mine))
    return scores
