"""tinyrerank: a small, fast and honest cross-encoder reranker that works offline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinyrerank.fusion import fuse_with_list
from tinyrerank.types import Document, Hit, Policy, Ranking, Receipt, Timings

if TYPE_CHECKING:
    from tinyrerank.reranker import Reranker

__all__ = [
    "Document",
    "Hit",
    "Policy",
    "Ranking",
    "Receipt",
    "Reranker",
    "Timings",
    "__version__",
    "fuse_with_list",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: numpy and the engine load on first use
    if name == "Reranker":
        from tinyrerank.reranker import Reranker

        return Reranker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
