"""Ranking losses, one file each.

All share one signature, ``loss(student, teacher, labels, mask) -> scalar``:

=========  =============  ==============================================================
argument   shape, dtype   meaning
=========  =============  ==============================================================
student    (Q, K) float   logits of the model in training
teacher    (Q, K) float   teacher scores, already divided by the temperature
labels     (Q, K) float   1 known relevant, 0 known or assumed not, NaN unknown
mask       (Q, K) bool    True at real candidates (lists may be shorter than K)
=========  =============  ==============================================================
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from tinyrerank.train.losses.label_cross_entropy import label_cross_entropy
from tinyrerank.train.losses.lambda_ndcg import lambda_ndcg
from tinyrerank.train.losses.listwise_kl import listwise_kl
from tinyrerank.train.losses.margin_mse import margin_mse
from tinyrerank.train.losses.ranknet import ranknet

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

LOSSES: dict[str, Loss] = {
    "label_cross_entropy": label_cross_entropy,
    "lambda_ndcg": lambda_ndcg,
    "listwise_kl": listwise_kl,
    "margin_mse": margin_mse,
    "ranknet": ranknet,
}

__all__ = ["LOSSES", "Loss", "label_cross_entropy", "lambda_ndcg", "listwise_kl", "margin_mse", "ranknet"]
