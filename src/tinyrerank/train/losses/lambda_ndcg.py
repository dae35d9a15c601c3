"""Pairwise logistic loss, each pair weighed by what swapping it would change in NDCG."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor


def lambda_ndcg(student: Tensor, teacher: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """RankNet on the teacher's order with ``|gain_i - gain_j| * |1/D(rank_i) - 1/D(rank_j)|`` as weight.

    Gains are the teacher's list probabilities over their maximum, ranks are the student's own, ``D(r) =
    log2(1 + r)``. Prefer it as a last stage for the head of the ranking. Source: LambdaLoss (Wang et al.
    2018, metric-driven weights). Inputs as in :mod:`tinyrerank.train.losses`; labels are not used.
    """
    del labels
    low = torch.finfo(student.dtype).min
    gain = torch.softmax(teacher.masked_fill(~mask, low), dim=-1)
    gain = gain / gain.amax(-1, keepdim=True)
    rank = student.detach().masked_fill(~mask, low).argsort(-1, descending=True).argsort(-1) + 1
    discount = 1.0 / torch.log2(1.0 + rank)
    weight = (gain[:, :, None] - gain[:, None, :]).abs() * (discount[:, :, None] - discount[:, None, :]).abs()
    better = (teacher[:, :, None] > teacher[:, None, :]) & mask[:, :, None] & mask[:, None, :]
    loss = F.softplus(student[:, None, :] - student[:, :, None]) * weight
    return torch.where(better, loss, 0.0).sum(dim=(1, 2)).mean()
