"""The contract between the text side and whatever computes logits."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Engine(Protocol):
    """Scores packed token ids. Engines know ids and lengths, never text, files or HTTP.

    A packed batch is ``ids`` (total_tokens,) int32, the sequences one after the other without padding, and
    ``cu_seqlens`` (n + 1,) int32, their cumulative lengths: sequence ``i`` is
    ``ids[cu_seqlens[i]:cu_seqlens[i + 1]]``. The order and the neighbours of a sequence never change its
    logit. ``score`` may be called from several threads.

    Attributes:
        name: how users choose it: ``native``, ``onnx`` or ``torch``.
        max_length: the longest sequence it accepts, in tokens.
    """

    name: str
    max_length: int

    def score(self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Logits, shape (n,), in the order given.

        Raises:
            InputError: shapes, dtypes, ids or lengths are out of range.
            EngineError: the computation failed.
        """
        ...

    def close(self) -> None:
        """Free threads and memory; the engine cannot be used afterwards."""
        ...
