"""JinaBERT in plain torch, padded, as a user would write it; eager or fused attention, compiled or not.

``hf`` imitates the Hugging Face reference as it is usually run: batches of 32 in the caller's order, padded
to their longest, the ALiBi bias made whole for every batch, float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from numpy.typing import NDArray
from torch import Tensor, nn

from tinyrerank.bench.peer_graph import Feed, PaddedEngine, feed
from tinyrerank.engine.packing import gather
from tinyrerank.model.alibi import alibi_slopes
from tinyrerank.model.weights import Weights, load_weights

_HF_BATCH = 32


class PaddedModel(nn.Module):
    """The whole model on a padded batch: every layer computes every token.

    Args:
        weights: the model.
        dtype: of weights and activations.
        fused: use torch's fused attention, rather than products and a softmax.
    """

    def __init__(self, weights: Weights, *, fused: bool, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config, self.fused = weights.config, fused
        self.tensors = {
            name: torch.from_numpy(np.array(array)).to(dtype)
            for name, array in weights.to_dense().tensors.items()
        }
        slopes = torch.from_numpy(alibi_slopes(self.config.n_heads).astype(np.float32))
        self.slopes = slopes.reshape(1, -1, 1, 1)

    def linear(self, x: Tensor, name: str) -> Tensor:
        """A linear layer by its official name."""
        return F.linear(x, self.tensors[name + ".weight"], self.tensors.get(name + ".bias"))

    def norm(self, x: Tensor, name: str) -> Tensor:
        """A LayerNorm by its official name."""
        eps = self.config.layer_norm_eps
        return F.layer_norm(
            x, x.shape[-1:], self.tensors[name + ".weight"], self.tensors[name + ".bias"], eps
        )

    def forward(self, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Padded ids (B, T), mask (B, 1, 1, T) and positions (T,), as the graph takes them -> (B,)."""
        p = "bert.embeddings."
        words, kinds = (self.tensors[f"{p}{kind}_embeddings.weight"] for kind in ("word", "token_type"))
        x = self.norm(F.embedding(ids, words) + kinds[0], p + "LayerNorm")
        distance = (positions[:, None] - positions[None, :]).abs()
        bias = (mask - self.slopes * distance).to(x.dtype)  # (B, heads, T, T)
        for n in range(self.config.n_layers):
            x = self.layer(x, bias, f"bert.encoder.layer.{n}.")
        pooled = torch.tanh(self.linear(x[:, 0], "bert.pooler.dense"))
        return self.linear(pooled, "classifier")[:, 0].float()

    def layer(self, x: Tensor, bias: Tensor, p: str) -> Tensor:
        """One layer, (B, T, H) -> (B, T, H)."""
        c = self.config
        q, k, v = (
            self.linear(x, f"{p}attention.self.{part}")
            .view(x.shape[0], x.shape[1], c.n_heads, c.head_size)
            .transpose(1, 2)
            for part in ("query", "key", "value")
        )
        if self.fused:
            context = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            context = torch.softmax(q @ k.transpose(-1, -2) * c.head_size**-0.5 + bias, -1) @ v
        y = self.linear(context.transpose(1, 2).flatten(2), p + "attention.output.dense")
        a = self.norm(x + y, p + "attention.output.LayerNorm")
        if c.feed_forward == "original":
            h = F.gelu(self.linear(a, p + "intermediate.dense"))
            return self.norm(a + self.linear(h, p + "output.dense"), p + "output.LayerNorm")
        gate, value = self.linear(a, p + "mlp.gated_layers").chunk(2, -1)
        h = (F.gelu(gate) if c.feed_forward == "geglu" else F.relu(gate)) * value
        return self.norm(a + self.linear(h, p + "mlp.wo"), p + "mlp.layernorm")


def load_torch(folder: Path, variant: str, *, threads: int) -> PaddedEngine:
    """``eager``, ``sdpa`` or ``compile``, each with ``-fp32`` or ``-bf16``; or ``hf``."""
    torch.set_num_threads(threads)
    kind, _, dtype = variant.partition("-")
    weights = load_weights(folder)
    model: Any = PaddedModel(
        weights,
        fused=kind in ("sdpa", "compile"),
        dtype=torch.bfloat16 if dtype == "bf16" else torch.float32,
    ).eval()
    if kind == "compile":
        model = torch.compile(model, dynamic=True)

    def run(batch: Feed) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = model(
                *(torch.from_numpy(array) for array in batch.values())
            ).numpy()
        return logits

    if kind == "hf":
        return _HfStyle("torch", run, weights.config.max_length)
    return PaddedEngine("torch", run, weights.config.max_length)


class _HfStyle(PaddedEngine):
    """Batches of 32 in the caller's order."""

    def score(self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Logits (n,) of packed sequences, padded inside."""
        n = len(cu_seqlens) - 1
        groups = [np.arange(i, min(i + _HF_BATCH, n)) for i in range(0, n, _HF_BATCH)]
        return np.concatenate([self._run(feed(*gather(ids, cu_seqlens, members))) for members in groups])


def openvino_from_torch(folder: Path) -> Any:  # noqa: ANN401 - openvino ships no types
    """The fused-attention module as an OpenVINO model, which keeps attention as one operator."""
    import openvino

    model = PaddedModel(load_weights(folder), fused=True).eval()
    sizes = np.array([0, 20, 32], np.int64)
    example = feed(np.arange(32, dtype=np.int32) + 5, sizes)
    with torch.inference_mode():
        return openvino.convert_model(
            model, example_input=tuple(torch.from_numpy(array) for array in example.values())
        )
