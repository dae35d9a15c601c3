from typing import Any

import numpy as np
from numpy.typing import NDArray

def best_isa() -> str: ...
def peak_ops(mode: str, isa: str, threads: int, seconds: float) -> float: ...

class Engine:
    path: str
    buffer_bytes: int
    def __init__(
        self,
        geometry: dict[str, int | float | str],
        arrays: dict[str, NDArray[Any]],
        mode: str,
        isa: str,
        attention: str,
        threads: int,
        group_tokens: int,
    ) -> None: ...
    def score(
        self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32], out: NDArray[np.float32]
    ) -> None: ...
    def close(self) -> None: ...
