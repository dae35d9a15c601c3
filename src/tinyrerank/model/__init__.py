"""JinaBERT for ranking: config, weights in official and int8 form, and the readable torch module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinyrerank.model.config import ModelConfig
from tinyrerank.model.weights import Weights, load_weights

if TYPE_CHECKING:
    from tinyrerank.model.jinabert import load_reference

__all__ = ["ModelConfig", "Weights", "load_reference", "load_weights"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name == "load_reference":
        from tinyrerank.model.jinabert import load_reference

        return load_reference
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
