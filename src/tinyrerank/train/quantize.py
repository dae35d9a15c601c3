"""Quantization-aware finish: the student computes with its own int8 form while it learns the last steps.

What the native engine rounds in mode int8 is rounded here, by the same rules: the matrices that ship as int8,
one scale a row, up projections without their part along the direction that LayerNorm makes constant; and the
input of every product with one, in 8 bits over the range of each token. The last layer's query, key and value
see unrounded tokens, as in the engine. The bf16 of its attention is left out (autocast to bf16 has it).
Gradients pass as if nothing were rounded: the straight-through estimator (Bengio
et al. 2013, arXiv 1308.3432).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tinyrerank.model.hyperplane import constant_direction, norm_before
from tinyrerank.model.jinabert import JinaBert
from tinyrerank.model.weights import quantizable


def round_tokens(x: Tensor) -> Tensor:
    """Each row of the last dimension on 256 even steps from its smallest to its largest value; any dtype.

    Example:
        >>> round_tokens(torch.tensor([0.0, 1.2, 254.7, 255.0]))
        tensor([  0.,   1., 255., 255.])
    """
    exact = x.float()
    low, high = exact.amin(-1, keepdim=True), exact.amax(-1, keepdim=True)  # aminmax is 7 times slower
    step = (high - low).div_(255.0)
    codes = torch.sub(exact, low).div_(step.clamp(min=1e-30)).round_()
    return codes.mul_(step).add_(low).to(x.dtype)


class _Rounded(torch.autograd.Function):
    """:func:`round_tokens` whose gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401, ARG004 - torch's protocol
        return round_tokens(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401, ARG004
        return gradients[0]


def _round_input(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A hook that rounds a module's first argument."""
    return (_Rounded.apply(args[0]), *args[1:])  # type: ignore[no-untyped-call]


def _round_and_return(model: JinaBert, name: str) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    """A hook for the up projection ``name``: rounds its input, but not along v, which is not multiplied."""
    direction, c = _direction(model, name)

    def hook(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x: Tensor = _Rounded.apply(args[0])  # type: ignore[no-untyped-call]
        with torch.no_grad():
            off = (x.float() @ direction - c)[..., None] * direction
        return (x - off.to(x.dtype), *args[1:])

    return hook


def _direction(model: JinaBert, name: str) -> tuple[Tensor, float]:
    """Unit v and c with v . x = c for every input x of the up projection ``name``."""
    norm = norm_before(name)
    gain, bias = (model.get_parameter(f"{norm}.{part}").detach() for part in ("weight", "bias"))
    v, c = constant_direction(gain.float().cpu().numpy(), bias.float().cpu().numpy())
    return torch.from_numpy(v).to(gain.device), c


def _products(model: JinaBert) -> dict[str, nn.Module]:
    """The modules whose input the engine rounds; one for query, key and value, which read the same rows."""
    last = f"{model.config.n_layers - 1}.attention.self"
    linear = (".dense", ".gated_layers", ".wo")
    return {
        f"bert.encoder.layer.{name}": module
        for name, module in model.bert.encoder.layer.named_modules()
        if name.endswith(linear) or (name.endswith(".self") and name != last)
    }


def _hook(model: JinaBert, name: str) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    """The hook of one of :func:`_products`."""
    return _round_and_return(model, f"{name}.weight") if norm_before(f"{name}.weight") else _round_input


def _round_matrix(matrix: Tensor, v: Tensor | None) -> None:
    """A matrix as its int8 form gives it back, in place; v is the direction that is kept apart."""
    shift = None
    if v is not None:
        shift = (matrix.double() @ v.double()).float()[:, None] * v
        matrix.sub_(shift)
    peak = torch.maximum(matrix.amax(1, keepdim=True), -matrix.amin(1, keepdim=True))
    scale = torch.where(peak > 1e-30, peak / 127.0, torch.ones_like(peak))
    matrix.div_(scale).round_().mul_(scale)  # no code leaves -127..127
    if shift is not None:
        matrix.add_(shift)


@contextmanager
def rounded(model: JinaBert) -> Iterator[None]:
    """Within it, the model computes as its int8 form does in the native engine.

    The weights hold what their int8 form would give back. Gradients taken inside are those at the rounded
    weights and activations, to be applied to the unrounded weights that return on leaving.
    """
    parameters = dict(model.named_parameters())
    matrices = {name: parameters[name].data for name in quantizable(parameters)}
    with ExitStack() as stack:
        for name, matrix in matrices.items():
            stack.callback(matrix.copy_, matrix.clone())
            _round_matrix(matrix, _direction(model, name)[0] if norm_before(name) else None)
        for name, module in _products(model).items():
            stack.callback(module.register_forward_pre_hook(_hook(model, name)).remove)
        yield
