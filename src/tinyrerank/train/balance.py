"""Rescaled feed-forward channels, so that rounding to 8 bits costs less; in float32 nothing changes.

Channel j between the two halves of a GEGLU may be divided by any s_j, if column j of the down projection is
multiplied by it: the value row j of the up projection takes the division. The range of a token's channels is
set by the largest, and the range of a row of weights too, so s_j moves spread from where there is more to
where there is less (SmoothQuant: Xiao et al. 2022, arXiv 2211.10438), here
s_j = sqrt(rms_j / max_i |W_ij|), rms_j measured on a few texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from tinyrerank.model.jinabert import JinaBert
from tinyrerank.model.weights import Weights
from tinyrerank.train.examples import general_examples
from tinyrerank.train.tokens import Template

#: Tokens of a calibration pair at most.
_MAX_TOKENS = 128


def calibration_pairs(tokenizer: Tokenizer, n: int = 48) -> list[NDArray[np.int64]]:
    """Ids of everyday questions that come with the package, each with its answer."""
    pool, template = general_examples(), Template()

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return found

    pairs = []
    for query in pool.queries[:n]:
        both = [template.start, *ids(query.text), *template.middle, *ids(pool.passages[min(query.positives)])]
        pairs.append(np.array([*both[: _MAX_TOKENS - 1], template.end], np.int64))
    return pairs


def balanced(weights: Weights, pairs: Sequence[NDArray[np.int64]]) -> Weights:
    """Float weights that compute the same function and lose less in their int8 form.

    Args:
        weights: in either form; a feed-forward without gates is left as it is.
        pairs: token ids of pairs to measure the channels on.
    """
    if weights.config.feed_forward == "original":
        return weights
    dense = weights.to_dense()
    tensors = dict(dense.tensors)
    for layer, rms in enumerate(_channel_rms(JinaBert.from_weights(dense), pairs)):
        name = f"bert.encoder.layer.{layer}.mlp."
        up, down = tensors[f"{name}gated_layers.weight"].copy(), tensors[f"{name}wo.weight"]
        peak = np.abs(down).max(axis=0)
        used = (rms > 0) & (peak > 0)
        scale = np.ones_like(peak)
        scale[used] = np.sqrt(rms[used] / peak[used])
        scale[used] /= np.exp(np.log(scale[used]).mean())
        up[len(scale) :] /= scale[:, None]
        tensors[f"{name}gated_layers.weight"], tensors[f"{name}wo.weight"] = up, down * scale
    return replace(dense, tensors=tensors)


@torch.no_grad()
def _channel_rms(model: JinaBert, pairs: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
    """Root mean square of each channel before each down projection."""
    squares: dict[nn.Module, list[Tensor]] = {}

    def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
        squares.setdefault(module, []).append(args[0][0].square().sum(0))

    downs = [module for name, module in model.bert.encoder.layer.named_modules() if name.endswith(".wo")]
    for module in downs:
        module.register_forward_pre_hook(keep)
    for pair in pairs:
        model(torch.from_numpy(pair)[None])
    return [torch.stack(squares[module]).sum(0).sqrt().numpy() for module in downs]
