"""Mean squared error of score differences."""

from __future__ import annotations

import torch
from torch import Tensor


def margin_mse(student: Tensor, teacher: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Mean over lists and pairs of ``((s_i - s_j) - (t_i - t_j))^2 / 2``.

    All pairs of a list, which equals the variance of ``s - t`` within the list. Prefer it to keep the
    teacher's spacing, not only its order. Source: Hofstätter et al. 2020 (arXiv 2010.02666). Inputs as in
    :mod:`tinyrerank.train.losses`; labels are not used.
    """
    del labels
    difference = torch.where(mask, student - teacher, 0.0)
    n = mask.sum(-1).clamp(min=1)
    mean = difference.sum(-1, keepdim=True) / n[:, None]
    squares = torch.where(mask, (difference - mean) ** 2, 0.0)
    return (squares.sum(-1) / n).mean()
