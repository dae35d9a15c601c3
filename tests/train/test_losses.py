"""Every loss against a twin that loops over candidates in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from torch import Tensor

torch = pytest.importorskip("torch", reason="training needs the train extra")

from tinyrerank.train.losses import LOSSES  # noqa: E402

Row = Sequence[float]
Batch = tuple[list[list[float]], list[list[float]], list[list[float]], list[list[bool]]]
TEACHER_ONLY = [name for name in LOSSES if name != "label_cross_entropy"]


def softmax(row: Row) -> list[float]:
    top = max(row)
    e = [math.exp(x - top) for x in row]
    return [x / sum(e) for x in e]


def slow_kl(student: Row, teacher: Row) -> float:
    return sum(p * math.log(p / q) for p, q in zip(softmax(teacher), softmax(student), strict=True))


def slow_margin(student: Row, teacher: Row) -> float:
    n = len(student)
    pairs = [(i, j) for i in range(n) for j in range(n)]
    return sum(((student[i] - student[j]) - (teacher[i] - teacher[j])) ** 2 / 2 for i, j in pairs) / n**2


def slow_ranknet(student: Row, teacher: Row) -> list[float]:
    n = len(student)
    better = [(i, j) for i in range(n) for j in range(n) if teacher[i] > teacher[j]]
    return [math.log1p(math.exp(student[j] - student[i])) for i, j in better]


def slow_lambda(student: Row, teacher: Row) -> float:
    p = softmax(teacher)
    gain = [x / max(p) for x in p]
    discount = [1 / math.log2(2 + sum(other > own for other in student)) for own in student]
    total = 0.0
    for i in range(len(student)):
        for j in range(len(student)):
            if teacher[i] > teacher[j]:
                weight = abs(gain[i] - gain[j]) * abs(discount[i] - discount[j])
                total += weight * math.log1p(math.exp(student[j] - student[i]))
    return total


def slow_cross_entropy(student: Row, labels: Row) -> list[float]:
    wrong = [math.exp(s) for s, label in zip(student, labels, strict=True) if label == 0]
    right = [s for s, label in zip(student, labels, strict=True) if label == 1]
    return [math.log(math.exp(s) + sum(wrong)) - s for s in right] if wrong else []


def slow(name: str, batch: Batch) -> float:
    """The loss of a batch, candidate by candidate."""
    rows = []
    for student, teacher, labels, mask in zip(*batch, strict=True):
        real = [k for k, m in enumerate(mask) if m]
        rows.append([[values[k] for k in real] for values in (student, teacher, labels)])

    def average(values: Sequence[float]) -> float:
        return sum(values) / max(1, len(values))

    if name == "listwise_kl":
        return average([slow_kl(s, t) if s else 0.0 for s, t, _ in rows])
    if name == "margin_mse":
        return average([slow_margin(s, t) if s else 0.0 for s, t, _ in rows])
    if name == "lambda_ndcg":
        return average([slow_lambda(s, t) if s else 0.0 for s, t, _ in rows])
    if name == "ranknet":
        return average([x for s, t, _ in rows for x in slow_ranknet(s, t)])
    return average([x for s, _, labels in rows for x in slow_cross_entropy(s, labels)])


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """1-3 lists of 1-5 places; student scores differ within a list, others tie, are masked or unknown."""
    q, k = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    student = [
        draw(st.lists(st.integers(-30, 30), min_size=k, max_size=k, unique=True).map(quarters))
        for _ in range(q)
    ]
    teacher = [draw(st.lists(st.integers(-8, 8), min_size=k, max_size=k).map(quarters)) for _ in range(q)]
    label = st.sampled_from([0.0, 1.0, math.nan])
    labels = [draw(st.lists(label, min_size=k, max_size=k)) for _ in range(q)]
    mask = [draw(st.lists(st.booleans(), min_size=k, max_size=k)) for _ in range(q)]
    return student, teacher, labels, mask


def quarters(values: list[int]) -> list[float]:
    return [x / 4 for x in values]


def tensors(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    student, teacher, labels = (torch.tensor(x, dtype=torch.float64) for x in batch[:3])
    return student.requires_grad_(), teacher, labels, torch.tensor(batch[3])


@pytest.mark.parametrize("name", LOSSES)
@given(batch=batches())
@settings(max_examples=60, deadline=None)
def test_a_loss_is_what_its_definition_says(name: str, batch: Batch) -> None:
    assert float(LOSSES[name](*tensors(batch)).detach()) == pytest.approx(
        slow(name, batch), rel=1e-5, abs=1e-7
    )


@pytest.mark.parametrize("name", LOSSES)
@given(batch=batches(), shift=st.integers(-40, 40))
@settings(max_examples=25, deadline=None)
def test_a_constant_added_to_a_list_of_logits_changes_no_loss(name: str, batch: Batch, shift: int) -> None:
    student, *rest = tensors(batch)
    shifts = shift * torch.arange(1, len(student) + 1)[:, None]
    assert float(LOSSES[name](student + shifts, *rest).detach()) == pytest.approx(
        float(LOSSES[name](student, *rest).detach()), rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize("name", LOSSES)
@given(batch=batches(), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_masked_entries_never_matter(name: str, batch: Batch, seed: int) -> None:
    student, teacher, labels, mask = tensors(batch)
    noise = torch.from_numpy(np.random.default_rng(seed).normal(0, 50, (3, *mask.shape)))
    other_student, other_teacher = (
        torch.where(mask, x, n) for x, n in ((student, noise[0]), (teacher, noise[1]))
    )
    other_labels = torch.where(mask, labels, (noise[2] > 0).double())
    loss = LOSSES[name](student, teacher, labels, mask)
    other = LOSSES[name](other_student, other_teacher, other_labels, mask)
    assert float(other.detach()) == pytest.approx(float(loss.detach()), rel=1e-12)
    loss.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert not student.grad[~mask].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_are_finite_at_any_scale(name: str, size: float, dtype: str) -> None:
    rng = np.random.default_rng(3)
    kind = getattr(torch, dtype)
    student = torch.tensor(rng.normal(0, size, (6, 5)), dtype=kind, requires_grad=True)
    teacher = torch.tensor(rng.normal(0, size, (6, 5)), dtype=kind)
    labels = torch.tensor(rng.choice([0.0, 1.0, math.nan], (6, 5)), dtype=kind)
    labels[0], labels[1], labels[2] = 1.0, 0.0, math.nan  # answers only, none, nothing known
    mask = torch.tensor(rng.random((6, 5)) < 0.7)
    mask[3] = torch.tensor([True, False, False, False, False])
    mask[4] = False
    loss = LOSSES[name](student, teacher, labels, mask)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_list_of_one_teaches_nothing(name: str) -> None:
    student = torch.tensor([[3.0]], requires_grad=True)
    loss = LOSSES[name](student, torch.tensor([[-1.0]]), torch.tensor([[1.0]]), torch.tensor([[True]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0.0
    assert student.grad is not None
    assert not student.grad.any()


@pytest.mark.parametrize("name", TEACHER_ONLY)
def test_following_the_teacher_costs_less_than_opposing_it(name: str) -> None:
    teacher = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    nothing, mask = torch.full_like(teacher, math.nan), torch.ones_like(teacher, dtype=torch.bool)
    assert LOSSES[name](teacher, teacher, nothing, mask) < LOSSES[name](-teacher, teacher, nothing, mask)
