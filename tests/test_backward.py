"""Hand-written backward passes against torch's own of the plain formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import Tensor

torch = pytest.importorskip("torch", reason="training needs the train extra")

from tinyrerank.model.backward import attend, geglu  # noqa: E402


def plain_attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    context: Tensor = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5 + bias, dim=-1) @ v
    return context


def plain_geglu(joined: Tensor) -> Tensor:
    gate, value = joined.chunk(2, dim=-1)
    product: Tensor = torch.nn.functional.gelu(gate) * value
    return product


def leaves(shapes: list[tuple[int, ...]], dtype: Any = torch.float64) -> list[Tensor]:
    draw = torch.Generator().manual_seed(7)
    return [torch.randn(s, generator=draw, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def check(
    ours: Callable[..., Tensor], plain: Callable[..., Tensor], inputs: list[Tensor], *fixed: Tensor
) -> None:
    theirs = [x.detach().clone().requires_grad_() for x in inputs]
    out, expected = ours(*inputs, *fixed), plain(*theirs, *fixed)
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-11)
    weight = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view(out.shape)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    for x, y in zip(inputs, theirs, strict=True):
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-9, atol=1e-11)


def test_geglu() -> None:
    check(geglu, plain_geglu, leaves([(3, 5, 14)]))


@pytest.mark.parametrize("n_queries", [1, 6])
def test_attend(n_queries: int) -> None:
    bias = -torch.rand((2, 4, n_queries, 6), dtype=torch.float64)
    bias[1, ..., 4:] = torch.finfo(torch.float32).min  # two keys of the second sequence are padding
    inputs = leaves([(2, 4, n_queries, 8), (2, 4, 6, 8), (2, 4, 6, 8)])
    check(attend, plain_attend, inputs, bias)
    of_v = inputs[2].grad
    assert of_v is not None
    assert not of_v[1, :, 4:].any()


def test_attend_reads_transposed_heads_and_a_shared_bias() -> None:
    bias = -torch.rand((1, 4, 6, 6), dtype=torch.float64).expand(2, -1, -1, -1)
    rows = leaves([(2, 6, 4, 8)] * 3)

    def of(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda q, k, v, b: function(*(x.transpose(1, 2) for x in (q, k, v)), b)

    check(of(attend), of(plain_attend), rows, bias)


def test_bfloat16_stays_bfloat16_under_autocast() -> None:
    q, k, v = leaves([(2, 4, 6, 8)] * 3, torch.bfloat16)
    bias = torch.zeros((2, 4, 6, 6), dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = attend(q, k, v, bias)
    out.sum().backward()  # type: ignore[no-untyped-call]
    assert q.grad is not None
    assert out.dtype == q.grad.dtype == torch.bfloat16
    expected = plain_attend(q.double(), k.double(), v.double(), bias.double())
    torch.testing.assert_close(out.double(), expected, rtol=0.02, atol=0.02)
