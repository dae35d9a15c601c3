"""Muon against its slow twins: the singular value decomposition, and torch's own in bfloat16."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs the train extra")

from tinyrerank.train.muon import Muon, orthogonalized  # noqa: E402


@pytest.mark.parametrize("shape", [(24, 24), (96, 24), (24, 64)])
def test_singular_values_move_to_about_one_and_directions_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    found = orthogonalized(matrix)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ found @ right.T  # diagonal, if the directions are the same
    inner = values / values.max() > 0.1
    moved = turned.diagonal()[inner]
    assert moved.min() > 0.6
    assert moved.max() < 1.3
    assert (turned - torch.diag(turned.diagonal())).abs().max() < 1e-3


@pytest.mark.parametrize("decay", [10, 40])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_no_singular_value_grows_where_they_span_many_orders(decay: int, kind: str) -> None:
    """Gradients do; with a Gram matrix in bfloat16 some came out as 2,000 and more."""
    torch.manual_seed(2)
    left, right = (torch.linalg.qr(torch.randn(n, 96))[0] for n in (96, 256))
    values = 10.0 ** (-torch.arange(96) / decay)
    found = orthogonalized(((left * values) @ right.T).to(getattr(torch, kind))).float()
    assert torch.linalg.svdvals(found).max() < 1.4


def test_matrices_of_one_shape_move_as_each_alone() -> None:
    torch.manual_seed(3)
    stack = torch.randn(3, 24, 40)
    alone = torch.stack([orthogonalized(matrix) for matrix in stack])
    torch.testing.assert_close(orthogonalized(stack), alone, rtol=1e-4, atol=1e-5)


def test_steps_are_those_of_torch() -> None:
    torch.manual_seed(1)
    start = torch.randn(32, 48)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    made = [
        Muon([ours], lr=0.02, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ]
    for _ in range(5):
        gradient = torch.randn(32, 48)
        for parameter, optimizer in zip((ours, theirs), made, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    moved = (ours - start).detach().norm()
    assert moved > 0.5
    assert (ours - theirs).detach().norm() < 0.02 * moved


def test_a_parameter_without_a_gradient_stays() -> None:
    parameter = torch.nn.Parameter(torch.ones(4, 4))
    Muon([parameter], lr=0.1, weight_decay=0.1).step()
    assert torch.equal(parameter.detach(), torch.ones(4, 4))
