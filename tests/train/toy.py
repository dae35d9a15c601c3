"""Small things to train on: flat token arrays, a WordPiece tokenizer, a random BERT folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

if TYPE_CHECKING:
    from tinyrerank.train.tokens import Flat

WORDS = ["the", "tide", "moon", "sea", "bread", "rises", "pulls", "when", "water", "sun"]
BERT = {"hidden": 16, "heads": 4, "intermediate": 24, "layers": 3}


def flat(texts: Sequence[Sequence[int]]) -> Flat:
    """Lists of ids as a Flat (needs torch)."""
    from tinyrerank.train.tokens import Flat

    ids = np.array([i for text in texts for i in text], dtype=np.int32)
    return Flat(ids, np.cumsum([0, *map(len, texts)]).astype(np.int64))


def word_piece() -> Tokenizer:
    """A lower-casing WordPiece tokenizer with a few whole words and every letter, as BERT has it."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?!-"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *(f"##{x}" for x in letters)]
    tokenizer = Tokenizer(models.WordPiece({p: n for n, p in enumerate(pieces)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def bert_tensors(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Random weights of a small BERT; every position has the same embedding, so that order says nothing."""
    rng = np.random.default_rng(seed)
    h, i = BERT["hidden"], BERT["intermediate"]

    def normal(*shape: int) -> NDArray[np.float32]:
        return np.asarray(rng.standard_normal(shape) * (1.5 / np.sqrt(shape[-1])), dtype=np.float32)

    tensors = {
        "embeddings.word_embeddings.weight": normal(word_piece().get_vocab_size(), h),
        "embeddings.token_type_embeddings.weight": normal(2, h),
        "embeddings.position_embeddings.weight": np.repeat(normal(1, h), 512, axis=0),
    }
    norms = ["embeddings.LayerNorm"]
    for n in range(BERT["layers"]):
        layer = f"encoder.layer.{n}."
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            tensors[f"{layer}attention.{part}.weight"] = 2 * normal(h, h)
            tensors[f"{layer}attention.{part}.bias"] = normal(h)
        tensors[layer + "intermediate.dense.weight"] = normal(i, h)
        tensors[layer + "intermediate.dense.bias"] = normal(i)
        tensors[layer + "output.dense.weight"] = normal(h, i)
        tensors[layer + "output.dense.bias"] = normal(h)
        norms += [layer + "attention.output.LayerNorm", layer + "output.LayerNorm"]
    for name in norms:
        tensors[name + ".weight"] = 1 + 0.2 * normal(h)
        # An offset of one sign keeps the warm start well conditioned.
        tensors[name + ".bias"] = 0.4 + 0.2 * normal(h)
    return tensors


def write_bert(folder: Path, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """A BERT encoder folder (config.json, model.safetensors, tokenizer.json); returns its tensors."""
    tokenizer, tensors = word_piece(), bert_tensors(seed)
    config: dict[str, Any] = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": BERT["hidden"],
        "num_hidden_layers": BERT["layers"],
        "num_attention_heads": BERT["heads"],
        "intermediate_size": BERT["intermediate"],
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    return tensors
