"""Starts the student from a BERT encoder of the same width.

The plain feed-forward ``W_2 gelu(W_1 x + b_1) + b_2`` becomes a gated one exactly: a post-LN output x obeys
``sum_i (x_i - beta_i) / gamma_i = 0``, so ``u_i = 1 / (gamma_i c)`` with ``c = sum_i beta_i / gamma_i`` gives
``u . x = 1`` for every x. Gate rows ``W_1 + b_1 u^T`` and value rows ``u^T`` then reproduce it without
biases. Where ``|c|`` is small that u is huge; a ridge keeps it bounded there, and training heals the rest. A
new tokenizer's embedding rows start as the mean of the old rows of their text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tinyrerank.errors import ModelError
from tinyrerank.model.alibi import alibi_slopes
from tinyrerank.model.config import ModelConfig
from tinyrerank.model.safetensors import read_safetensors
from tinyrerank.model.weights import Weights, from_tensors

F32 = NDArray[np.float32]


def warm_start(
    folder: Path, layers: list[int], tokenizer: Tokenizer, config: ModelConfig, seed: int, sample: list[str]
) -> Weights:
    """Weights for ``config`` from a BERT folder.

    Args:
        folder: config.json, model.safetensors and tokenizer.json of a BERT encoder of the same hidden and
            intermediate sizes.
        layers: one of its layers for each of the student's.
        tokenizer: the student's.
        config: the student's geometry (GEGLU).
        seed: for the new head.
        sample: some texts of the kind that the model will read.

    Raises:
        ModelError: the encoder does not fit the geometry.
    """
    bert = {
        name.removeprefix("bert."): array
        for name, array in read_safetensors(folder / "model.safetensors").items()
    }
    if len(layers) != config.n_layers or config.feed_forward != "geglu":
        raise ModelError(
            f"warm start: {len(layers)} layers chosen for a {config.feed_forward} model of {config.n_layers}"
        )
    words = bert["embeddings.word_embeddings.weight"]
    if words.shape[1] != config.hidden_size:
        raise ModelError(f"{folder}: hidden size {words.shape[1]}, the student has {config.hidden_size}")
    rng = np.random.default_rng(seed)
    old = Tokenizer.from_file(str(folder / "tokenizer.json"))
    h = config.hidden_size
    tensors: dict[str, NDArray[Any]] = {
        "bert.embeddings.word_embeddings.weight": _embedding_rows(words, old, tokenizer, config.vocab_size),
        # The mean position is part of what every layer expects; ALiBi brings no such offset.
        "bert.embeddings.token_type_embeddings.weight": np.tile(
            bert["embeddings.token_type_embeddings.weight"][:1]
            + bert["embeddings.position_embeddings.weight"][:256].mean(0, keepdims=True),
            (config.type_vocab_size, 1),
        ),
        "bert.embeddings.LayerNorm.weight": bert["embeddings.LayerNorm.weight"],
        "bert.embeddings.LayerNorm.bias": bert["embeddings.LayerNorm.bias"],
        "bert.pooler.dense.weight": rng.normal(0, 0.02, (h, h)),
        "bert.pooler.dense.bias": np.zeros(h),
        "classifier.weight": rng.normal(0, 0.02, (1, h)),
        "classifier.bias": np.zeros(1),
    }
    orders = head_orders(folder, old, sample, config.n_heads)
    for n, source in enumerate(layers):
        layer = _permute_heads(_layer(bert, source), orders[source], config.head_size)
        tensors |= {f"bert.encoder.layer.{n}.{name}": a for name, a in layer.items()}
    return from_tensors(
        config, {n: np.asarray(a, dtype=np.float32) for n, a in tensors.items()}, "warm start"
    )


def _layer(bert: Mapping[str, NDArray[Any]], source: int) -> dict[str, NDArray[Any]]:
    p = f"encoder.layer.{source}."
    out: dict[str, NDArray[Any]] = {}
    for part in (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
    ):
        out[part + ".weight"], out[part + ".bias"] = bert[f"{p}{part}.weight"], bert[f"{p}{part}.bias"]
    gamma = bert[p + "attention.output.LayerNorm.weight"].astype(np.float64)
    beta = bert[p + "attention.output.LayerNorm.bias"].astype(np.float64)
    u = constant_direction(gamma, beta)
    w1, b1 = bert[p + "intermediate.dense.weight"], bert[p + "intermediate.dense.bias"]
    out["mlp.gated_layers.weight"] = np.concatenate([w1 + b1[:, None] * u[None, :], np.tile(u, (len(w1), 1))])
    out["mlp.wo.weight"], out["mlp.wo.bias"] = bert[p + "output.dense.weight"], bert[p + "output.dense.bias"]
    for ours, theirs in (
        ("attention.output.LayerNorm", "attention.output.LayerNorm"),
        ("mlp.layernorm", "output.LayerNorm"),
    ):
        for kind in ("weight", "bias"):
            out[f"{ours}.{kind}"] = bert[f"{p}{theirs}.{kind}"]
    return out


def constant_direction(gamma: NDArray[np.float64], beta: NDArray[np.float64]) -> NDArray[np.float64]:
    """A vector u with ``u . x`` near 1 for LayerNorm outputs ``x = gamma * z + beta``.

    Minimizes ``E (u . x - 1)^2 + ridge |u|^2`` over z of mean 0 and unit variance (z = n - mean(n)): exact
    where the identity is well conditioned, a bounded vector where it is not.
    """
    h = len(gamma)
    center = np.eye(h) - np.full((h, h), 1.0 / h)
    second_moment = gamma[:, None] * center * gamma[None, :] + np.outer(beta, beta)
    return np.asarray(np.linalg.solve(second_moment + 1e-4 * np.eye(h), beta), dtype=np.float64)


def head_orders(folder: Path, tokenizer: Tokenizer, sample: list[str], n_heads: int) -> list[list[int]]:
    """For every layer of an encoder, which of its heads suits each ALiBi slope.

    A head that looks at near tokens goes where the slope is steep, one that looks everywhere where it is
    flat, by the mean distance it attends to on the sample. Exchanging whole heads changes nothing else.
    """
    import torch
    from transformers import AutoModel

    backbone = AutoModel.from_pretrained(
        str(folder), local_files_only=True, attn_implementation="eager"
    ).eval()
    distance_of = np.zeros((backbone.config.num_hidden_layers, n_heads))
    for encoding in tokenizer.encode_batch(sample):
        ids = torch.tensor([encoding.ids[:128]])
        position = torch.arange(ids.shape[1])
        distance = (position[:, None] - position[None, :]).abs().float()
        with torch.no_grad():
            for n, weights in enumerate(backbone(input_ids=ids, output_attentions=True).attentions):
                distance_of[n] += (weights[0] * distance).sum(-1).mean(-1).numpy()
    steepest = np.argsort(-alibi_slopes(n_heads))
    orders = []
    for row in distance_of:
        order = np.empty(n_heads, dtype=int)
        order[steepest] = np.argsort(row)
        orders.append(order.tolist())
    return orders


def _permute_heads(
    layer: dict[str, NDArray[Any]], order: list[int], head_size: int
) -> dict[str, NDArray[Any]]:
    rows = np.concatenate([np.arange(h * head_size, (h + 1) * head_size) for h in order])
    for part in ("query", "key", "value"):
        for kind in ("weight", "bias"):
            layer[f"attention.self.{part}.{kind}"] = layer[f"attention.self.{part}.{kind}"][rows]
    layer["attention.output.dense.weight"] = layer["attention.output.dense.weight"][:, rows]
    return layer


def _embedding_rows(words: F32, old: Tokenizer, new: Tokenizer, n_rows: int) -> F32:
    rows = np.tile(words.mean(0), (n_rows, 1)).astype(np.float32)
    vocab = new.get_vocab()
    texts = sorted(vocab, key=lambda t: vocab[t])
    unknown = old.token_to_id("[UNK]")
    old.no_truncation()
    old.no_padding()
    for text, encoding in zip(texts, old.encode_batch(texts, add_special_tokens=False), strict=True):
        ids = [i for i in encoding.ids if i != unknown]
        if ids:
            rows[vocab[text]] = words[ids].mean(0)
    for ours, theirs in (
        ("<s>", "[CLS]"),
        ("<pad>", "[PAD]"),
        ("</s>", "[SEP]"),
        ("<unk>", "[UNK]"),
        ("<mask>", "[MASK]"),
    ):
        rows[vocab[ours]] = words[old.token_to_id(theirs)]
    return rows
