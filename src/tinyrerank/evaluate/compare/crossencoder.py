"""A Hugging Face cross-encoder in a local folder, to compare with: torch and transformers, float32.

No code from the folder is run, nothing is fetched, and a checkpoint without its ranking head is refused: the
library would make up a random one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyrerank.errors import InputError, MissingExtraError, ModelError
from tinyrerank.evaluate.beir import BeirDocument, whole_text

_BATCH_TOKENS = 8192
_ENOUGH = 10**6  # tokenizers without a limit state an enormous one


class CrossEncoder:
    """Scores pairs with a sequence classifier of one label.

    Args:
        folder: config, tokenizer and weights.
        max_length: tokens read of query and document together, at most the model's own limit; None for that.
        threads: torch threads, for the whole process; None leaves them as they are.

    Attributes:
        max_length: tokens that a pair may have; only the document is cut.
        parameters: numbers that the model has learned.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ModelError: the folder is no cross-encoder with one label, or lacks weights.
        InputError: ``max_length`` is below 1.
    """

    def __init__(self, folder: Path, *, max_length: int | None = None, threads: int | None = None) -> None:
        try:
            import torch
            from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging
        except ImportError:
            raise MissingExtraError(f"{folder.name}, a cross-encoder of another kind,", "train") from None
        if threads is not None:
            torch.set_num_threads(threads)
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), **local)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                str(folder), output_loading_info=True, **local
            )
        except Exception as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(f"{folder}: transformers cannot load it as a cross-encoder ({first})") from error
        missing = sorted(info["missing_keys"])
        if missing:
            raise ModelError(
                f"{folder}: the checkpoint lacks {', '.join(missing[:3])}{' …' if missing[3:] else ''}, which"
                " would be random; give a whole cross-encoder"
            )
        if model.config.num_labels != 1:
            raise ModelError(f"{folder}: {model.config.num_labels} labels; a reranker has exactly one")
        self._model: Any = model.float().eval()
        self.parameters = sum(int(tensor.numel()) for tensor in model.parameters())
        self.max_length = _limit(self._tokenizer, model.config, max_length)
        self._last_cut = 0

    @property
    def identity(self) -> dict[str, Any]:
        """What the scores depend on, the model's hash aside."""
        import torch
        import transformers

        return {
            "kind": "cross-encoder",
            "engine": f"transformers {transformers.__version__}, torch {torch.__version__}, fp32",
            "max_length": self.max_length,
        }

    def score(self, query: str, documents: Sequence[BeirDocument]) -> NDArray[np.float32]:
        """Logits in input order, shape (n_documents,)."""
        import torch

        self._last_cut = 0
        if not documents:
            return np.zeros(0, dtype=np.float32)
        texts = list(map(whole_text, documents))
        whole = self._tokenizer([query] * len(texts), texts, verbose=False)
        lengths = [len(ids) for ids in whole["input_ids"]]
        self._last_cut = sum(length > self.max_length for length in lengths)
        logits = np.zeros(len(texts), dtype=np.float32)
        order = sorted(range(len(texts)), key=lengths.__getitem__, reverse=True)
        start = 0
        while start < len(order):
            longest = min(lengths[order[start]], self.max_length)
            batch = order[start : start + max(1, _BATCH_TOKENS // longest)]
            inputs = self._tokenizer(
                [query] * len(batch),
                [texts[i] for i in batch],
                truncation="only_second",
                max_length=self.max_length,
                padding=True,
                return_tensors="pt",
            )
            with torch.inference_mode():
                logits[batch] = self._model(**inputs).logits[:, 0].numpy()
            start += len(batch)
        return logits

    def cut(self, _query: str, _documents: Sequence[BeirDocument]) -> int:
        """How many documents of the last query were not read to the end."""
        return self._last_cut


def _limit(tokenizer: Any, config: Any, wanted: int | None) -> int:  # noqa: ANN401 - of any architecture
    """Tokens that a pair may have: what tokenizer and position table allow, or less."""
    positions = getattr(config, "max_position_embeddings", None) or _ENOUGH
    if config.model_type in {"roberta", "xlm-roberta", "camembert", "mpnet"}:
        positions -= 2  # their positions start after the padding id
    allowed = int(min(positions, tokenizer.model_max_length, _ENOUGH))
    if wanted is not None and wanted < 1:
        raise InputError(f"max_length is {wanted}; give 1 or more")
    return allowed if wanted is None else min(wanted, allowed)
