"""Cross-entropy of known answers against the rest of their list."""

from __future__ import annotations

import torch
from torch import Tensor


def label_cross_entropy(student: Tensor, teacher: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Mean over known answers of ``-log softmax`` among itself and the list's known or assumed non-answers.

    Candidates without a label, and other answers, leave the sum. Lists without a known answer add nothing.
    The localized contrastive loss of Gao et al. 2021 (arXiv 2101.08751). Inputs as in
    :mod:`tinyrerank.train.losses`; the teacher is not used.
    """
    del teacher
    known = mask & ~labels.isnan()
    positive = known & (labels > 0)
    negative = known & (labels == 0)
    low = torch.finfo(student.dtype).min
    rest = torch.logsumexp(student.masked_fill(~negative, low), dim=-1, keepdim=True)  # (Q, 1)
    loss = torch.logaddexp(rest, student) - student
    usable = positive & negative.any(-1, keepdim=True)
    return torch.where(usable, loss, 0.0).sum() / usable.sum().clamp(min=1)
