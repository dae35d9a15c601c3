"""Pairwise logistic loss on the teacher's order."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor


def ranknet(student: Tensor, teacher: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Mean over pairs with ``t_i > t_j`` of ``log(1 + exp(s_j - s_i))``.

    Prefer it where the teacher's order is better than its spacing. Source: Burges et al. 2005. Inputs as in
    :mod:`tinyrerank.train.losses`; labels are not used.
    """
    del labels
    better = (teacher[:, :, None] > teacher[:, None, :]) & mask[:, :, None] & mask[:, None, :]
    loss = F.softplus(student[:, None, :] - student[:, :, None])
    return torch.where(better, loss, 0.0).sum() / better.sum().clamp(min=1)
