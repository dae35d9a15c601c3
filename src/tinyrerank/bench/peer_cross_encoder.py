"""sentence-transformers' CrossEncoder at MiniLM's dimensions, with random weights: as fast as real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinyrerank.bench.workload import Workload
from tinyrerank.errors import MissingExtraError

_LAYERS = {"minilm-l6": 6, "minilm-l12": 12}


def prepare_cross_encoder(model: Path, out: Path, variant: str) -> None:
    """Write a BERT folder of this size, with the tokenizer of ``model`` so that lengths are the same."""
    if out.exists():
        return
    try:
        from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
    except ImportError:
        raise MissingExtraError("the peer cross-encoder (package sentence-transformers)", "bench") from None
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "unk": "<unk>", "pad": "<pad>"}
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_file=str(model / "tokenizer.json"),
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=8192,
        **{f"{role}_token": token for role, token in names.items()},
    )
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        num_hidden_layers=_LAYERS[variant],
        num_attention_heads=12,
        intermediate_size=1536,
        max_position_embeddings=8192,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(out)
    tokenizer.save_pretrained(out)


class CrossEncoderPeer:
    """Scores texts, tokenization included: it takes nothing else."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        import torch
        from sentence_transformers import CrossEncoder

        torch.set_num_threads(threads)
        self._model: Any = CrossEncoder(str(folder), device="cpu", max_length=8192)

    def rank(self, workload: Workload) -> None:
        """One request, in the library's own batches."""
        pairs = [(workload.query, document) for document in workload.documents]
        self._model.predict(pairs, show_progress_bar=False)
