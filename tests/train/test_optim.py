"""A stage that was killed goes on as if nothing had happened; its schedule and averages are what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the train extra")

from torch import nn  # noqa: E402

from tinyrerank.errors import DataError  # noqa: E402
from tinyrerank.train.optim import Stage  # noqa: E402
from tinyrerank.train.recipe import StageRecipe  # noqa: E402

RECIPE = StageRecipe(steps=60, learning_rate=0.1, warmup=0.1, average=0.9)


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 2)


def train(stage: Stage, until: int) -> None:
    """Regression on data that depends on the step alone."""
    while stage.step < until:
        generator = torch.Generator().manual_seed(stage.step)
        x = torch.randn(8, 4, generator=generator)
        loss = ((stage.model(x) - x[:, :2].flip(1)) ** 2).mean()
        loss.backward()
        stage.update()


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("killed_at", [1, 23, 48])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, killed_at: int, average: float, optimizer: str
) -> None:
    recipe = replace(RECIPE, average=average, optimizer=optimizer)
    straight = Stage(linear(), recipe, tmp_path / "straight", "key")
    train(straight, 60)
    first = Stage(linear(), recipe, tmp_path / "killed", "key")
    train(first, killed_at)
    first.save()
    train(first, killed_at + 5)  # lost: after the checkpoint
    second = Stage(nn.Linear(4, 2), recipe, tmp_path / "killed", "key")
    assert second.resume()
    assert second.step == killed_at
    train(second, 60)
    for stage in (straight, second):
        stage.finish()
    for mine, other in zip(straight.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(mine, other)
    assert second.rate() == straight.rate()


def test_a_step_whose_gradients_are_not_finite_moves_nothing_and_ten_end_the_stage(tmp_path: Path) -> None:
    stage = Stage(linear(), RECIPE, tmp_path, "key")
    train(stage, 3)
    before = [p.detach().clone() for p in stage.model.parameters()]
    for n in range(9):
        stage.model(torch.full((1, 4), float("nan" if n % 2 else "inf"))).sum().backward()
        stage.update()
    assert stage.step == 12
    assert all(torch.equal(a, b) for a, b in zip(before, stage.model.parameters(), strict=True))
    train(stage, 13)  # a good one in between: the count starts anew
    assert not all(torch.equal(a, b) for a, b in zip(before, stage.model.parameters(), strict=True))

    def ten_bad_ones() -> None:
        for _ in range(10):
            stage.model(torch.full((1, 4), float("nan"))).sum().backward()
            stage.update()

    with pytest.raises(DataError, match=r"not finite in 10 steps in a row, up to step 22; lower learning_"):
        ten_bad_ones()


def test_a_stage_without_a_checkpoint_starts_from_the_beginning(tmp_path: Path) -> None:
    stage = Stage(linear(), RECIPE, tmp_path / "none", "key")
    assert not stage.resume()
    assert stage.step == 0


def test_a_checkpoint_of_another_recipe_is_refused_and_leaves_the_model_alone(tmp_path: Path) -> None:
    stage = Stage(linear(), RECIPE, tmp_path, "one recipe")
    train(stage, 3)
    stage.save()
    other = Stage(linear(), RECIPE, tmp_path, "another")
    with pytest.raises(DataError, match=r"checkpoint\.pt: made by another recipe"):
        other.resume()
    assert other.step == 0
    assert torch.equal(other.parameters[0], linear().weight)


def test_a_checkpoint_replaces_the_last_one_and_leaves_no_partial_file(tmp_path: Path) -> None:
    stage = Stage(linear(), RECIPE, tmp_path, "key")
    for until in (2, 4):
        train(stage, until)
        stage.save()
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    fresh = Stage(linear(), RECIPE, tmp_path, "key")
    fresh.resume()
    assert fresh.step == 4


def test_the_rate_rises_in_the_warm_up_then_falls_to_a_hundredth(tmp_path: Path) -> None:
    stage = Stage(linear(), replace(RECIPE, steps=100), tmp_path, "key")
    rates = []
    for step in range(101):
        stage.step = step
        rates.append(stage.rate())
    peak = rates.index(max(rates))
    assert peak == 10
    assert max(rates) == pytest.approx(0.1)
    assert 0 < rates[0] <= 0.001
    assert rates[5] == pytest.approx(0.05)
    assert rates[55] == pytest.approx(0.1 * (0.01 + 0.99 / 2))
    assert rates[100] == pytest.approx(0.001)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_rate_stays_level_until_the_share_over_which_it_falls(tmp_path: Path) -> None:
    stage = Stage(linear(), replace(RECIPE, steps=100, fall=0.2), tmp_path, "key")
    rates = []
    for step in range(101):
        stage.step = step
        rates.append(stage.rate())
    assert rates[10:81] == pytest.approx([0.1] * 71)
    assert rates[90] == pytest.approx(0.1 * (0.01 + 0.99 / 2))
    assert rates[100] == pytest.approx(0.001)


def test_the_rate_of_the_schedule_is_the_rate_of_the_optimizer(tmp_path: Path) -> None:
    stage = Stage(linear(), RECIPE, tmp_path, "key")
    train(stage, 20)
    expected = stage.rate()
    train(stage, 21)
    assert [group["lr"] for group in stage.optimizers[0].param_groups] == [expected] * 2


def test_muon_turns_every_direction_of_a_matrix_by_the_same_angle(tmp_path: Path) -> None:
    model = nn.Linear(16, 8, bias=False)
    before = model.weight.detach().clone()
    stage = Stage(model, replace(RECIPE, optimizer="muon", weight_decay=0.0, warmup=0.0), tmp_path, "key")
    (model.weight * torch.randn(8, 16) * torch.logspace(0, -1, 8)[:, None]).sum().backward()
    stage.update()
    turned = torch.linalg.svdvals(model.weight.detach() - before)
    # AdamW's size: 0.2 a cell, which is 0.2 sqrt(16) for each direction of 8 x 16; the iteration is rough.
    assert turned / (0.1 * 0.2 * 4) == pytest.approx(torch.ones(8).numpy(), abs=0.35)


def test_an_unknown_optimizer_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'sgd'.*adamw, muon"):
        Stage(linear(), replace(RECIPE, optimizer="sgd"), tmp_path, "key")


def test_minutes_end_a_stage_before_its_steps_do(tmp_path: Path) -> None:
    stage = Stage(linear(), replace(RECIPE, minutes=2.0), tmp_path, "key")
    stage.elapsed_s = 60.0
    assert stage.fraction == pytest.approx(0.5)
    stage.step = 45
    assert stage.fraction == pytest.approx(0.75)
    stage.elapsed_s = 500.0
    assert stage.fraction == 1.0


def test_finish_leaves_an_average_of_the_steps_and_no_averaging_the_last_one(tmp_path: Path) -> None:
    last = Stage(linear(), replace(RECIPE, average=0.0), tmp_path / "last", "key")
    averaged = Stage(linear(), RECIPE, tmp_path / "averaged", "key")
    expected = linear().weight.detach().clone()
    for step in range(60):
        for stage in (last, averaged):
            train(stage, step + 1)
        if step % 8 == 0:
            decay = min(0.9, (1 + step) / (10 + step)) ** 8
            expected = decay * expected + (1 - decay) * last.parameters[0].detach()
    end = last.parameters[0].detach().clone()
    assert torch.equal(averaged.parameters[0], end)
    last.finish()
    averaged.finish()
    assert torch.equal(last.parameters[0], end)
    torch.testing.assert_close(averaged.parameters[0].detach(), expected)
    assert not torch.equal(averaged.parameters[0], end)


def test_frozen_parameters_stay_and_only_matrices_decay(tmp_path: Path) -> None:
    model = nn.Sequential(linear(), nn.Linear(2, 2))
    model[0].requires_grad_(requires_grad=False)
    before = [p.detach().clone() for p in model.parameters()]
    stage = Stage(model, replace(RECIPE, weight_decay=0.5, average=0.0), tmp_path, "key")
    for p in stage.parameters:
        p.grad = torch.zeros_like(p)
    stage.step = 30
    rate = stage.rate()
    stage.update()
    stage.finish()
    frozen_w, frozen_b, weight, bias = model.parameters()
    assert torch.equal(frozen_w, before[0])
    assert torch.equal(frozen_b, before[1])
    torch.testing.assert_close(weight.detach(), before[2] * (1 - rate * 0.5))
    assert torch.equal(bias, before[3])
