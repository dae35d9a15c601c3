"""An object with ``predict`` and ``rank``, for code that expects a sentence-transformers ``CrossEncoder``.

It needs nothing but this package; torch is used only where its tensors or modules are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyrerank.errors import InputError, MissingExtraError
from tinyrerank.integrations.base import LazyReranker
from tinyrerank.reranker import Reranker
from tinyrerank.types import Policy

__all__ = ["CrossEncoder"]


class CrossEncoder:
    """Scores (query, document) pairs; stands in for ``sentence_transformers.CrossEncoder``.

    Scores are sigmoids in 0..1, as there for models with one label; ``activation_fn`` changes that.

    Args:
        model_name_or_path: None for the model in the package, a folder, or a hub name.
        max_length: tokens of a model input; None for the model's own limit.
        activation_fn: from logits (n,) to scores (n,), on numpy arrays, or a torch module; None is the
            sigmoid.
        engine: name of the engine.
        policy: what happens to longer pairs.
        threads: threads of the engine.
        reranker: an open :class:`~tinyrerank.Reranker` to use; the other settings of the model are then not
            looked at.
    """

    num_labels = 1

    def __init__(
        self,
        model_name_or_path: str | None = None,
        *,
        max_length: int | None = None,
        activation_fn: Callable[[Any], Any] | None = None,
        engine: str = "auto",
        policy: Policy = "truncate",
        threads: int | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self.activation_fn = activation_fn
        self._lazy = LazyReranker(
            model_name_or_path,
            engine=engine,
            max_length=max_length,
            policy=policy,
            threads=threads,
            reranker=reranker,
        )

    @property
    def max_length(self) -> int:
        """Tokens of a model input."""
        return self._lazy.get().max_length

    def predict(
        self,
        inputs: Sequence[Any] | NDArray[Any],
        batch_size: int = 32,
        *,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[Any], Any] | None = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> Any:  # noqa: ANN401 - array, tensor, list or float, as the original has it
        """Score pairs in the order given.

        Args:
            inputs: pairs of (query, document), or one such pair.
            batch_size: taken, but without effect: the engine packs texts by their tokens.
            show_progress_bar: taken, but without effect.
            activation_fn: for this call.
            apply_softmax: taken, but without effect on a model with one label.
            convert_to_numpy: give a float32 array (n,); otherwise a list of torch scalars.
            convert_to_tensor: give one torch tensor (n,).

        Returns:
            Scores; for one pair, one score.

        Raises:
            MissingExtraError: tensors were asked for, but torch is not installed.
        """
        del batch_size, show_progress_bar, apply_softmax
        pairs = inputs.tolist() if isinstance(inputs, np.ndarray) else list(inputs)
        single = len(pairs) == 2 and all(isinstance(part, str) for part in pairs)
        if single:
            pairs = [tuple(pairs)]
        logits = self._lazy.get().score_pairs(pairs) if pairs else np.zeros(0, dtype=np.float32)
        scores = self._activate(logits, activation_fn)
        if convert_to_tensor or not convert_to_numpy:
            tensor = _torch().from_numpy(scores)
            if single:
                return tensor[0]
            return tensor if convert_to_tensor else list(tensor)
        return scores[0] if single else scores

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[Any], Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Documents as dicts of ``corpus_id``, ``score`` and, if asked for, ``text``, best first.

        The order is by falling logit, equal logits in the order given; the arguments are those of the
        original, of which ``batch_size`` and ``show_progress_bar`` have no effect.
        """
        del batch_size, show_progress_bar
        if top_k is not None and top_k < 1:
            raise InputError(f"top_k is {top_k}; give a whole number from 1, or None for all")
        hits = self._lazy.rank(query, list(documents), top_k).hits
        scores = self._activate(np.array([hit.logit for hit in hits], dtype=np.float32), activation_fn)
        rows = []
        for hit, score in zip(hits, scores.tolist(), strict=True):
            row = {"corpus_id": hit.index, "score": score}
            rows.append({**row, "text": hit.text} if return_documents else row)
        return rows

    def _activate(
        self, logits: NDArray[np.float32], chosen: Callable[[Any], Any] | None
    ) -> NDArray[np.float32]:
        function = chosen or self.activation_fn
        if function is None:
            z = np.exp(-np.abs(logits.astype(np.float64)))
            return np.where(logits >= 0, 1.0 / (1.0 + z), z / (1.0 + z)).astype(np.float32)
        if type(function).__module__.startswith("torch."):
            return np.asarray(function(_torch().from_numpy(logits)).numpy(), dtype=np.float32)
        return np.asarray(function(logits), dtype=np.float32)


def _torch() -> Any:  # noqa: ANN401 - a module
    try:
        import torch
    except ImportError:
        raise MissingExtraError("a score as a torch tensor", "torch") from None
    return torch
