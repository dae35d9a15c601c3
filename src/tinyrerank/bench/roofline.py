"""How long a request must take at the least: its operations at the speed of the bare instructions.

The operations are those of the exact algorithm that the native engine uses: layer 0's Q, K and V once for
each distinct token, the last layer for the first token only, everything else for every token, and attention
in full. What the engine leaves out because its weight is negligible counts as done, so that long inputs may
seem to pass the limit. Each part is taken at the peak of the type it is computed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyrerank.bench.workload import Workload
from tinyrerank.model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Operations:
    """Multiplications and additions of one request, by the type they are computed in.

    Attributes:
        linear: products with weights, in the engine's mode.
        attention: scores and weighted sums.
        head: the last layer's attention and the pooler, always in float32.
    """

    linear: float
    attention: float
    head: float

    def seconds(self, peak: Mapping[str, float], mode: str) -> float:
        """Time at the peak speeds ``peak`` (operations a second, by type) with products in ``mode``."""
        attention = peak["fp32"] if mode == "fp32" else peak.get("bf16", peak["fp32"])
        return self.linear / peak[mode] + self.attention / attention + self.head / peak["fp32"]


def operations(config: ModelConfig, workload: Workload, *, group_tokens: int = 8192) -> Operations:
    """Count the operations of a request."""
    h, i = config.hidden_size, config.intermediate_size
    lengths = workload.lengths.astype(np.int64)
    tokens, pairs = int(lengths.sum()), len(lengths)
    block = h * h + i * h + (1 if config.feed_forward == "original" else 2) * i * h
    full_layers = config.n_layers - 1
    linear = full_layers * tokens * block + pairs * block
    linear += max(0, full_layers - 1) * tokens * 3 * h * h
    linear += (_distinct(workload, group_tokens) if full_layers else 0) * 3 * h * h
    attention = full_layers * int((lengths**2).sum()) * 2 * h
    head = pairs * 4 * h * h + tokens * 2 * config.n_heads * h
    return Operations(2.0 * linear, 2.0 * attention, 2.0 * head)


def _distinct(workload: Workload, group_tokens: int) -> int:
    """Distinct tokens, group by group as the engine cuts them."""
    bounds: NDArray[np.int32] = workload.cu_seqlens
    total = start = 0
    while start < len(bounds) - 1:
        end = start + 1
        while end < len(bounds) - 1 and bounds[end + 1] - bounds[start] <= group_tokens:
            end += 1
        total += len(np.unique(workload.ids[bounds[start] : bounds[end]]))
        start = end
    return total
