"""Quantization-aware finish: the student sees its own int8 weights while it learns the last steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tinyrerank.model.jinabert import JinaBert
from tinyrerank.model.weights import quantizable


@contextmanager
def rounded(model: JinaBert) -> Iterator[None]:
    """Within it, every matrix that ships as int8 holds what its int8 form would give back.

    Gradients taken inside are those at the rounded weights, to be applied to the unrounded ones that return
    on leaving: the straight-through estimator (Bengio et al. 2013, arXiv 1308.3432).
    """
    parameters = dict(model.named_parameters())
    matrices = [parameters[name].data for name in quantizable(parameters)]
    kept = [matrix.clone() for matrix in matrices]
    for matrix in matrices:
        peak = matrix.abs().amax(dim=1, keepdim=True)
        scale = torch.where(peak > 1e-30, peak / 127.0, torch.ones_like(peak))
        matrix.copy_(torch.clamp(torch.round(matrix / scale), -127, 127) * scale)
    try:
        yield
    finally:
        for matrix, original in zip(matrices, kept, strict=True):
            matrix.copy_(original)
