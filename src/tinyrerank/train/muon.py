"""Muon, in float32 everywhere.

Muon (Jordan et al. 2024) steps along the orthogonalized momentum of a whole matrix; its steps are scaled to
the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so that both share one learning rate.
``torch.optim.Muon`` computes in bfloat16: 40 s a step of this model on one AVX2 core without bf16 products,
1.2 s here. The Gram matrix bears no bfloat16 at all: rounding gives it negative eigenvalues, which every
round multiplies (singular values of 2,000 to 150,000 in place of 1 were seen; training on a GPU blew up).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

#: Of the quintic polynomial, and how often it is applied (Jordan et al. 2024).
_A, _B, _C, _ROUNDS = 3.4445, -4.7750, 2.0315, 5


def orthogonalized(matrix: Tensor) -> Tensor:
    """Matrices with all singular values moved to about 1, (..., m, n), in the same type.

    Newton-Schulz on the Gram matrix of the shorter side: with A = X X^T, every round maps X to P X for
    P = a I + b A + c A^2 and A to P A P, so that only the first and last product see the longer side.
    """
    x = matrix.float()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    gram = x @ x.mT
    whole = torch.eye(gram.shape[-1], device=x.device)
    for _ in range(_ROUNDS):
        step = _B * gram + _C * (gram @ gram)
        step.diagonal(dim1=-2, dim2=-1).add_(_A)
        whole = step @ whole
        gram = step @ gram @ step
    x = whole @ x
    moved: Tensor = (x.mT if tall else x).to(matrix.dtype)
    return moved


class Muon(torch.optim.Optimizer):
    """Momentum 0.95 with Nesterov's look ahead, orthogonalized.

    Args:
        parameters: matrices.
        lr: learning rate, in AdamW's measure.
        weight_decay: in units of the learning rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.95})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step on the gradients at hand."""
        assert closure is None  # noqa: S101 - training calls it without
        for group in self.param_groups:
            decay, rate = 1 - group["lr"] * group["weight_decay"], group["lr"]
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}  # one product for all matrices of a shape
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, alike in by_shape.items():
                ahead = torch.stack([self._ahead(p, group["momentum"]) for p in alike])
                scale = 0.2 * max(shape) ** 0.5  # the root mean square of AdamW's steps
                for parameter, step in zip(alike, orthogonalized(ahead), strict=True):
                    parameter.mul_(decay).add_(step, alpha=-rate * scale)

    def _ahead(self, parameter: nn.Parameter, share: float) -> Tensor:
        """Nesterov's look ahead along the momentum, the gradient at hand taken in."""
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None  # noqa: S101 - the caller has looked
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum: Tensor = state["momentum_buffer"].lerp_(gradient, 1 - share)
        return gradient.lerp(momentum, share)
