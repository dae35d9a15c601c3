"""JinaBERT for ranking in torch: the readable reference, and the module that training uses.

Post-LN BERT without position embeddings: symmetric ALiBi is added to the attention scores, the feed-forward
is gated, and the first token of the last layer goes through pooler and classifier (Günther et al. 2023, arXiv
2310.19923; GEGLU: Shazeer 2020, arXiv 2002.05202). Module names are those of the official checkpoint.

Shapes: B sequences, T tokens, H width, N heads of D = H / N dimensions, I feed-forward width.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tinyrerank.errors import InputError
from tinyrerank.model.alibi import alibi_slopes
from tinyrerank.model.config import ModelConfig
from tinyrerank.model.weights import Weights, from_tensors, load_weights

#: Cells of one (T_query x T_key) score tile; longer inputs are attended to in blocks of queries.
_TILE_CELLS = 1 << 22
#: Kernels of attention, all but cuDNN's: it is the first choice on new GPUs, plans for every shape anew, and
#: made steps thrice as long on an H200.
BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class AttentionBias:
    """Symmetric ALiBi and the key mask of one batch, made in blocks of queries, never whole at 8192.

    Args:
        slopes: one a head, (N,).
        mask: True at real keys (B, T), or None when all are real.
        n_keys: T.
    """

    def __init__(self, slopes: Tensor, mask: Tensor | None, n_keys: int) -> None:
        self.slopes, self.mask, self.n_keys = slopes, mask, n_keys
        self.block_size = max(1, _TILE_CELLS // n_keys)
        self._last: tuple[int, int, torch.dtype, Tensor] | None = None

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """Bias of query positions start..stop against all keys, (B or 1, N, stop - start, T)."""
        if self._last is None or self._last[:3] != (start, stop, dtype):  # layers of one pass share it
            queries = torch.arange(start, stop, device=self.slopes.device)
            keys = torch.arange(self.n_keys, device=self.slopes.device)
            distance = (queries[:, None] - keys[None, :]).abs().float()
            bias = -self.slopes[None, :, None, None] * distance
            if self.mask is not None:
                bias = bias.masked_fill(~self.mask[:, None, None, :], torch.finfo(torch.float32).min)
            self._last = (start, stop, dtype, bias.to(dtype))
        return self._last[3]


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """``softmax(q k^T / sqrt(D) + bias) v``: q (B, N, t, D), k and v (B, N, T, D), bias (B, N, t, T)."""
    if q.device.type == "cpu" and torch.is_grad_enabled():
        # The fused kernel's backward pass on the CPU is several times slower than plain products.
        weights = torch.softmax((q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5 + bias, dim=-1)
        return weights.to(v.dtype) @ v
    with sdpa_kernel(BACKENDS):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


class SelfAttention(nn.Module):
    """Multi-head attention with a bias that is added after the 1/sqrt(D) scaling."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.head_size = config.n_heads, config.head_size
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, bias: AttentionBias, n_queries: int) -> Tensor:
        """Context of the first ``n_queries`` positions of x (B, T, H): T, or 1 where one row is enough."""

        def heads(y: Tensor) -> Tensor:  # (B, t, H) -> (B, N, t, D)
            return y.view(y.shape[0], y.shape[1], self.n_heads, self.head_size).transpose(1, 2)

        q, k, v = heads(self.query(x[:, :n_queries])), heads(self.key(x)), heads(self.value(x))
        outputs = []
        for start in range(0, n_queries, bias.block_size):
            stop = min(start + bias.block_size, n_queries)
            tile = bias.block(start, stop, q.dtype).expand(x.shape[0], -1, -1, -1)
            outputs.append(_attend(q[:, :, start:stop], k, v, tile))
        context = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
        return context.transpose(1, 2).flatten(2)  # (B, N, t, D) -> (B, t, H)


class AttentionOutput(nn.Module):
    """Output projection, residual and LayerNorm."""

    def __init__(self, config: ModelConfig, n_in: int) -> None:
        super().__init__()
        self.dense = nn.Linear(n_in, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, y: Tensor, residual: Tensor) -> Tensor:
        """(B, t, n_in) and (B, t, H) -> (B, t, H)."""
        output: Tensor = self.LayerNorm(residual + self.dropout(self.dense(y)))
        return output


class Attention(nn.Module):
    """Self-attention and its output block."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = AttentionOutput(config, config.hidden_size)

    def forward(self, x: Tensor, bias: AttentionBias, n_queries: int) -> Tensor:
        """(B, T, H) -> (B, n_queries, H)."""
        output: Tensor = self.output(self.self(x, bias, n_queries), x[:, :n_queries])
        return output


class GatedFeedForward(nn.Module):
    """``LN(a + W_2 (act(g) * u) + b_2)`` with ``[g; u] = W_g a``: the first half is the gate."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.act: Callable[[Tensor], Tensor] = F.gelu if config.feed_forward == "geglu" else F.relu
        self.gated_layers = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.wo = nn.Linear(config.intermediate_size, config.hidden_size)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, a: Tensor) -> Tensor:
        """(B, t, H) -> (B, t, H)."""
        gate, value = self.gated_layers(a).chunk(2, dim=-1)  # (B, t, I) each
        output: Tensor = self.layernorm(a + self.wo(self.dropout(self.act(gate) * value)))
        return output


class Intermediate(nn.Module):
    """BERT's first feed-forward projection (``original`` only)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, a: Tensor) -> Tensor:
        """(B, t, H) -> (B, t, I)."""
        return F.gelu(self.dense(a))


class Layer(nn.Module):
    """One post-LN encoder layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.gated = config.feed_forward != "original"
        if self.gated:
            self.mlp = GatedFeedForward(config)
        else:
            self.intermediate = Intermediate(config)
            self.output = AttentionOutput(config, config.intermediate_size)

    def forward(self, x: Tensor, bias: AttentionBias, n_queries: int) -> Tensor:
        """(B, T, H) -> (B, n_queries, H)."""
        a = self.attention(x, bias, n_queries)
        output: Tensor = self.mlp(a) if self.gated else self.output(self.intermediate(a), a)
        return output


class Embeddings(nn.Module):
    """``LN(word + type)``: no positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, ids: Tensor, type_ids: Tensor | None) -> Tensor:
        """Ids (B, T) -> (B, T, H); missing type ids mean zeros, whose row is always added."""
        types = (
            self.token_type_embeddings.weight[0] if type_ids is None else self.token_type_embeddings(type_ids)
        )
        output: Tensor = self.dropout(self.LayerNorm(self.word_embeddings(ids) + types))
        return output


class Encoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.n_layers))


class Pooler(nn.Module):
    """``tanh(W x_first + b)``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, first: Tensor) -> Tensor:
        """(B, H) -> (B, H)."""
        return torch.tanh(self.dense(first))


class Backbone(nn.Module):
    """Everything under the ``bert.`` prefix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = Pooler(config)


class JinaBert(nn.Module):
    """A cross-encoder: token ids of a (query, document) pair in, one logit a label out."""

    def __init__(self, config: ModelConfig, n_labels: int = 1) -> None:
        super().__init__()
        self.config, self.n_labels = config, n_labels
        self.bert = Backbone(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, n_labels)
        self.slopes: Tensor
        slopes = torch.from_numpy(alibi_slopes(config.n_heads)).float()
        self.register_buffer("slopes", slopes, persistent=False)

    @classmethod
    def from_weights(cls, weights: Weights) -> JinaBert:
        """Build from checked weights (official or int8 form), in eval mode, float32."""
        dense = weights.to_dense()
        model = cls(dense.config, dense.n_labels)
        model.load_state_dict(
            {name: torch.from_numpy(np.array(array)) for name, array in dense.tensors.items()}
        )
        return model.eval()

    def to_weights(self) -> Weights:
        """The parameters as checked float32 weights."""
        tensors = {name: p.detach().float().cpu().numpy() for name, p in self.state_dict().items()}
        return from_tensors(self.config, tensors, "this model")

    def _bias(self, input_ids: Tensor, attention_mask: Tensor | None) -> AttentionBias:
        mask = None if attention_mask is None else attention_mask.bool()
        return AttentionBias(self.slopes, mask, input_ids.shape[1])

    def hidden_states(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> list[Tensor]:
        """Embedding output and every layer's output, each (B, T, H)."""
        bias = self._bias(input_ids, attention_mask)
        states = [self.bert.embeddings(input_ids, token_type_ids)]
        for layer in self.bert.encoder.layer:
            states.append(layer(states[-1], bias, input_ids.shape[1]))
        return states

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Logits (B, n_labels) of ids (B, T); mask 1 at real tokens. The last layer computes one row only."""
        bias = self._bias(input_ids, attention_mask)
        x = self.bert.embeddings(input_ids, token_type_ids)
        last = self.config.n_layers - 1
        for n, layer in enumerate(self.bert.encoder.layer):
            x = layer(x, bias, 1 if n == last else input_ids.shape[1])
        logits: Tensor = self.classifier(self.dropout(self.bert.pooler(x[:, 0])))
        return logits


def load_reference(folder: str | Path) -> Callable[..., Tensor]:
    """The model of a folder as a plain function: the yardstick for every engine.

    Args:
        folder: a model folder in the official or the int8 form.

    Returns:
        ``f(input_ids, attention_mask=None, token_type_ids=None) -> logits``: ids (B, T) int64 in, logits
        (B, n_labels) float32 out, dropout off, on the CPU.

    Raises:
        ModelError: the folder is not a usable model.
        InputError: (from the function) ids are not (B, T) int64, out of range, or too many.
    """
    model = JinaBert.from_weights(load_weights(folder))
    config = model.config

    @torch.no_grad()
    def reference(
        input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        if input_ids.ndim != 2 or input_ids.dtype != torch.int64 or input_ids.shape[1] == 0:
            raise InputError(
                f"input_ids must be int64 (batch, tokens), not {input_ids.dtype} {tuple(input_ids.shape)}"
            )
        if input_ids.shape[1] > config.max_length:
            raise InputError(f"{input_ids.shape[1]} tokens are more than the model's {config.max_length}")
        if input_ids.numel() and not 0 <= int(input_ids.min()) <= int(input_ids.max()) < config.vocab_size:
            raise InputError(f"a token id lies outside 0..{config.vocab_size - 1}")
        logits: Tensor = model(input_ids, attention_mask, token_type_ids)
        return logits

    return reference
