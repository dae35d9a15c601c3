"""Attention and gated feed-forward with backward passes of their own, for training on a CPU.

torch's own keep more tensors, add gradients of halves into zeros, and take the softmax of bfloat16 scores in
float32. These do the same sums in fewer passes over memory, in the type that comes in.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Geglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, joined: Tensor) -> Tensor:  # noqa: ANN401 - torch's protocol
        ctx.save_for_backward(joined)
        gate, value = joined.chunk(2, dim=-1)
        return F.gelu(gate).mul_(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        (gradient,) = gradients
        (joined,) = ctx.saved_tensors
        gate, value = joined.chunk(2, dim=-1)
        out = torch.empty_like(joined)
        of_gate, of_value = out.chunk(2, dim=-1)
        torch.mul(F.gelu(gate), gradient, out=of_value)
        torch.ops.aten.gelu_backward.grad_input(gradient * value, gate, grad_input=of_gate)
        return out


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:  # noqa: ANN401
        batch, heads, n_queries, size = q.shape
        q, k, v = (x.reshape(batch * heads, -1, size) for x in (q, k, v))
        with torch.autocast(q.device.type, enabled=False):
            scores = torch.bmm(q * size**-0.5, k.mT)
            scores.view(batch, heads, n_queries, -1).add_(bias)
            weights = scores.softmax(-1)
            context = torch.bmm(weights, v)
        ctx.save_for_backward(q, k, v, weights)
        ctx.n_heads = heads
        return context.view(batch, heads, n_queries, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        q, k, v, weights = ctx.saved_tensors
        gradient = gradients[0].reshape(q.shape)
        of_weights = torch.bmm(gradient, v.mT)
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)  # noqa: SLF001 - no public form
        scale = q.shape[-1] ** -0.5
        found = (
            torch.bmm(of_scores, k).mul_(scale),
            torch.bmm(of_scores.mT, q).mul_(scale),
            torch.bmm(weights.mT, gradient),
        )
        return *(x.view(-1, ctx.n_heads, *x.shape[1:]) for x in found), None


def geglu(joined: Tensor) -> Tensor:
    """``gelu(g) * u`` of ``[g; u]``, (..., 2 I) to (..., I)."""
    out: Tensor = _Geglu.apply(joined)  # type: ignore[no-untyped-call]
    return out


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """``softmax(q k^T / sqrt(D) + bias) v``; the bias learns nothing.

    Args:
        q: (B, N, t, D).
        k: (B, N, T, D).
        v: (B, N, T, D).
        bias: (B, N, t, T).
    """
    out: Tensor = _Attend.apply(q, k, v, bias)  # type: ignore[no-untyped-call]
    return out
