"""KL divergence of the student's list distribution from the teacher's."""

from __future__ import annotations

import torch
from torch import Tensor


def listwise_kl(student: Tensor, teacher: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Mean over lists of ``KL(softmax(teacher) || softmax(student))``.

    Prefer it where the teacher's whole ordering is worth learning; it weighs the head of the list most. Lists
    of one candidate add nothing. Source: ListNet (Cao et al. 2007) with teacher probabilities, as in
    RankDistil and RocketQAv2 (arXiv 2110.07367). Inputs as in :mod:`tinyrerank.train.losses`; labels are not
    used.
    """
    del labels
    low = torch.finfo(student.dtype).min
    target = torch.log_softmax(teacher.masked_fill(~mask, low), dim=-1)
    log_p = torch.log_softmax(student.masked_fill(~mask, low), dim=-1)
    terms = torch.where(mask, target.exp() * (target - log_p), 0.0)
    return terms.sum(-1).mean()
