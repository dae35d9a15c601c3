"""Ranking distillation on toys: the student learns an order; passages stay whole inside longer documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import flat

from conftest import TINY, random_weights

if TYPE_CHECKING:
    from torch import Tensor

torch = pytest.importorskip("torch", reason="training needs the train extra")

from tinyrerank.errors import DataError  # noqa: E402
from tinyrerank.model.jinabert import JinaBert  # noqa: E402
from tinyrerank.train.losses import listwise_kl  # noqa: E402
from tinyrerank.train.mine import Lists  # noqa: E402
from tinyrerank.train.rank import Enough, _hide, _step, _to, train_rank, without_easy  # noqa: E402
from tinyrerank.train.recipe import StageRecipe  # noqa: E402
from tinyrerank.train.tokens import DeviceText, PairBuilder, Template  # noqa: E402
from tinyrerank.train.tune import DevLists, score_lists  # noqa: E402

CPU = torch.device("cpu")
RECIPE = StageRecipe(
    steps=120,
    tokens=512,
    micro_tokens=256,
    learning_rate=1e-2,
    max_length=24,
    losses={"listwise_kl": 1.0, "margin_mse": 0.05, "label_cross_entropy": 0.1},
    average=0.9,
    long_share=0.1,
    long_tokens=64,
    quantize_share=0.2,
)


def toy(seed: int, n_lists: int = 60, k: int = 5) -> tuple[PairBuilder, Lists]:
    """Every token from 10 on has a worth; a document is as good as its tokens. Some lists are shorter."""
    rng = np.random.default_rng(seed)
    worth = np.random.default_rng(0).normal(0, 2, 40)
    passages = [rng.integers(10, 40, rng.integers(3, 8)).tolist() for _ in range(100)]
    queries = [[int(rng.integers(10, 40))] for _ in range(n_lists)]
    candidate = np.stack([rng.permutation(100)[:k] for _ in range(n_lists)]).astype(np.int32)
    teacher = np.array([[worth[passages[p]].mean() for p in row] for row in candidate], dtype=np.float32)
    label = (teacher == teacher.max(1, keepdims=True)).astype(np.float32)
    label[::3] = np.nan
    candidate[:10, -1], teacher[:10, -1], label[:10, -1] = -1, 0.0, np.nan
    builder = PairBuilder(DeviceText(flat(queries), CPU), DeviceText(flat(passages), CPU), Template(), 24)
    return builder, Lists(np.arange(n_lists, dtype=np.int32), candidate, label, teacher)


def quality(model: JinaBert, builder: PairBuilder, lists: Lists) -> tuple[float, float]:
    """Listwise loss, and NDCG@10 where the teacher's best is the answer."""
    scores = score_lists(model, builder, lists.query, lists.candidate, CPU)
    real = lists.candidate >= 0
    student, teacher, mask = (torch.from_numpy(x) for x in (scores, lists.teacher, real))
    best = np.where(real, lists.teacher, -np.inf).argmax(1)
    gain = np.eye(real.shape[1], dtype=np.float32)[best]
    dev = DevLists(lists.query, lists.candidate, gain, np.ones(len(best), np.float32), ["toy"] * len(best))
    return float(listwise_kl(student, teacher, teacher, mask)), dev.ndcg(scores)["mean"]


def test_training_learns_an_order_that_holds_on_lists_it_never_saw(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = JinaBert.from_weights(random_weights(replace(TINY, n_layers=1, hidden_dropout=0.0)))
    builder, lists = toy(1)
    unseen = toy(2)
    loss, ndcg = quality(model, *unseen)
    looks: list[float] = []

    def evaluate() -> str:
        assert not model.training
        looks.append(quality(model, builder, lists)[0])
        return f"loss {looks[-1]:.3f}"

    stage = train_rank(model, builder, lists, RECIPE, tmp_path, "key", 3, evaluate)
    assert stage.step == RECIPE.steps
    assert not model.training
    assert len(looks) > 3
    assert looks[-1] < 0.5 * looks[0]
    trained_loss, trained_ndcg = quality(model, *unseen)
    assert trained_loss < 0.6 * loss
    assert trained_ndcg > ndcg + 0.15


def test_an_unknown_loss_is_named_before_anything_runs(tmp_path: Path) -> None:
    model = JinaBert.from_weights(random_weights(TINY))
    with pytest.raises(DataError, match=r"unknown loss hinge; known: .*listwise_kl"):
        train_rank(model, *toy(1), replace(RECIPE, losses={"hinge": 1.0}), tmp_path, "key", 0)


def test_the_size_of_micro_batches_changes_neither_loss_nor_gradients() -> None:
    builder, lists = toy(1, n_lists=12)
    batch = _to(lists, np.arange(12), CPU)
    found = []
    for micro_tokens in (1, 64, 100_000):
        model = JinaBert.from_weights(random_weights(TINY))
        loss = _step(model, builder, batch, replace(RECIPE, micro_tokens=micro_tokens), 0.0)
        gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found.append((loss, gradients))
    for loss, gradients in found[1:]:  # to the precision of bf16
        assert loss == pytest.approx(found[0][0], rel=0.02)
        assert float((gradients - found[0][1]).norm() / found[0][1].norm()) < 0.05


def test_long_documents_give_the_gradients_of_one_pass() -> None:
    """They run twice to save memory, and once here."""
    builder, lists = toy(1, n_lists=6)
    batch = _to(lists, np.arange(6), CPU)
    model = JinaBert.from_weights(random_weights(replace(TINY, hidden_dropout=0.3))).train()
    recipe = replace(RECIPE, max_length=20)

    def gradients(step: Callable[[], float]) -> tuple[float, Tensor]:
        model.zero_grad()
        torch.manual_seed(5)
        loss = step()
        return loss, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    twice = gradients(lambda: _step(model, builder, batch, recipe, 0.0, 60))
    torch.manual_seed(5)
    longer, number = _hide(builder, batch[1][batch[2]], 60)

    def once() -> float:
        _hide(builder, batch[1][batch[2]], 60)  # the same chance is used up
        candidate = batch[1].clone()
        candidate[batch[2]] = number
        return _step(model, longer, (batch[0], candidate, *batch[2:]), recipe, 0.0)

    single = gradients(once)
    assert twice[0] == pytest.approx(single[0], rel=0.02)  # to the precision of bf16
    assert float((twice[1] - single[1]).norm() / single[1].norm()) < 0.1


def test_fillers_of_long_documents_come_from_the_allowed_passages() -> None:
    passages = [[n] * 5 for n in range(100, 160)]
    builder = PairBuilder(DeviceText(flat([[5]]), CPU), DeviceText(flat(passages), CPU), Template(), 24)
    torch.manual_seed(0)
    own = torch.arange(50, 60)
    longer, number = _hide(builder, own, 200, 40)
    ids, mask = longer.build(torch.zeros(10, dtype=torch.int64), number)
    for row in range(10):
        others = set(ids[row, : int(mask[row].sum())].tolist()) - {0, 2, 5, 150 + row}
        assert len(others) > 10
        assert max(others) < 140


class Broken(KeyboardInterrupt):
    """The run is broken off here."""


def test_a_run_that_was_broken_off_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    builder, lists = toy(1)
    recipe = replace(RECIPE, steps=30, looks=2, dropout=0.2, long_share=0.4)

    def trained(folder: Path, breaks: list[int]) -> dict[str, Tensor]:
        model = JinaBert.from_weights(random_weights(replace(TINY, hidden_dropout=0.2)))
        looks = 0

        def evaluate() -> str:
            nonlocal looks
            looks += 1
            if looks in breaks:
                raise Broken
            return ""

        train_rank(model, builder, lists, recipe, folder, "key", 3, evaluate)
        return dict(model.state_dict())

    unbroken = trained(tmp_path / "unbroken", [])
    with pytest.raises(Broken):
        trained(tmp_path / "broken", [1])
    assert (tmp_path / "broken" / "checkpoint.pt").exists()
    for name, tensor in trained(tmp_path / "broken", []).items():
        assert torch.equal(tensor, unbroken[name]), name


def test_an_evaluation_may_say_that_it_is_enough(tmp_path: Path) -> None:
    def evaluate() -> str:
        raise Enough

    model = JinaBert.from_weights(random_weights(TINY))
    stage = train_rank(model, *toy(1), replace(RECIPE, looks=3), tmp_path, "key", 0, evaluate)
    assert stage.step == pytest.approx(RECIPE.steps / 4, abs=1)
    assert not model.training


def test_a_list_without_teacher_scores_teaches_by_its_labels_alone() -> None:
    builder, lists = toy(1, n_lists=6)
    lists.teacher[:3] = np.nan
    model = JinaBert.from_weights(random_weights(TINY))
    losses = {
        name: _step(model, builder, _to(lists, rows, CPU), replace(RECIPE, losses={name: 1.0}), 0.0)
        for name, rows in (("listwise_kl", np.arange(3)), ("label_cross_entropy", np.arange(3)))
    }
    assert losses["listwise_kl"] == 0.0
    assert losses["label_cross_entropy"] > 0.0


@given(seed=st.integers(0, 10_000), max_length=st.integers(10, 40), spare=st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_a_hidden_passage_occurs_whole_and_the_budget_holds(seed: int, max_length: int, spare: int) -> None:
    rng = np.random.default_rng(seed)
    passages = [list(range(100 * n, 100 * n + int(rng.integers(1, 50)))) for n in range(1, 12)]
    queries = [list(range(5, 5 + int(rng.integers(1, 60)))) for _ in range(4)]
    template = Template()
    builder = PairBuilder(
        DeviceText(flat(queries), CPU), DeviceText(flat(passages), CPU), template, max_length
    )
    n_tokens = max_length + max_length // 2 + template.n_specials + spare
    torch.manual_seed(seed)
    query, passage = torch.arange(4).repeat(3), torch.from_numpy(rng.integers(0, len(passages), 12))
    longer, number = _hide(builder, passage, n_tokens)
    ids, mask = longer.build(query, number)
    assert ids.shape == mask.shape
    assert int(mask.sum(1).max()) <= n_tokens
    whole = {p[0]: p[:max_length] for p in passages}
    for row in range(12):
        kept = ids[row, : int(mask[row].sum())].tolist()
        asked = queries[int(query[row])][: max_length // 2]
        assert kept[: len(asked) + 3] == [0, *asked, 2, 2]
        document, read = kept[len(asked) + 3 : -1], []
        while document:  # nothing but whole passages, the own one among them
            part = whole[document[0]]
            assert document[: len(part)] == part
            read.append(part[0])
            document = document[len(part) :]
        assert passages[int(passage[row])][0] in read


def test_hidden_passages_stand_at_different_places_in_documents_of_the_wanted_length() -> None:
    passages = [[n] * 10 for n in range(100, 200)]
    builder = PairBuilder(DeviceText(flat([[5]]), CPU), DeviceText(flat(passages), CPU), Template(), 24)
    torch.manual_seed(0)
    longer, number = _hide(builder, torch.arange(100), 200)
    ids, mask = longer.build(torch.zeros(100, dtype=torch.int64), number)
    places = {int((row == n).nonzero()[0]) for n, row in zip(range(100, 200), ids, strict=True)}
    assert len(places) > 10
    assert int(mask.sum(1).min()) > 150


def test_a_stage_may_mix_lengths_and_drop_punctuation(tmp_path: Path) -> None:
    builder, lists = toy(3)
    seen: list[int] = []

    model = JinaBert.from_weights(random_weights(TINY))

    def look(_: object, given: tuple[Tensor, Tensor]) -> None:
        ids, mask = given
        seen.append(int(mask.sum(1).max()))
        assert not (ids[mask] == 13).any(), "a dropped token"

    model.register_forward_pre_hook(look)
    recipe = replace(
        RECIPE, steps=12, long_share=0.0, quantize_share=0.0, other_lengths=[8], max_length=16, bare_share=1.0
    )
    with pytest.raises(DataError, match="punctuation"):
        train_rank(model, builder, lists, recipe, tmp_path, "key", 0)
    train_rank(model, builder, lists, recipe, tmp_path, "key", 0, punctuation=np.arange(64) == 13)
    assert min(seen) <= 8 < max(seen)


def test_easy_candidates_leave_their_lists_but_answers_and_unjudged_lists_stay_whole() -> None:
    nan = float("nan")
    lists = Lists(
        np.arange(4, dtype=np.int32),
        np.arange(12, dtype=np.int32).reshape(4, 3),
        np.array([[1, 0, nan], [0, nan, 1], [0, 0, 0], [0, 0, 0]], np.float32),
        np.array([[1.0, -3.0, 0.5], [1.0, 0.5, -3.0], [1.0, 0.2, -1.0], [nan, -3.0, 1.0]], np.float32),
    )
    kept = without_easy(lists, 1.0, seed=0).candidate
    assert kept.tolist() == [[0, -1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert np.array_equal(without_easy(lists, 0.0, seed=0).candidate, lists.candidate)
    rows = np.zeros(1000, dtype=np.int64)
    many = Lists(lists.query[rows], lists.candidate[rows], lists.label[rows], lists.teacher[rows])
    assert 200 < (without_easy(many, 0.25, seed=0).candidate < 0).sum() < 300


def test_weights_from_before_the_stage_can_be_mixed_in(tmp_path: Path) -> None:
    builder, lists = toy(3)
    recipe = replace(RECIPE, steps=5, long_share=0.0)
    ends: dict[float, list[Tensor]] = {}
    for share in (0.0, 0.25, 1.0):
        model = JinaBert.from_weights(random_weights(TINY))
        train_rank(model, builder, lists, replace(recipe, start_share=share), tmp_path / str(share), "key", 0)
        ends[share] = [parameter.detach() for parameter in model.parameters()]
    for begin, mixed, end in zip(ends[1.0], ends[0.25], ends[0.0], strict=True):
        torch.testing.assert_close(mixed, 0.25 * begin + 0.75 * end)
    start = list(JinaBert.from_weights(random_weights(TINY)).parameters())
    assert all(torch.equal(a, b) for a, b in zip(ends[1.0], start, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(ends[0.0], start, strict=True))


def test_another_models_weights_can_be_mixed_in_instead(tmp_path: Path) -> None:
    builder, lists = toy(3)
    other = random_weights(TINY, seed=1)
    other.save(tmp_path / "other")
    recipe = replace(RECIPE, steps=5, long_share=0.0, share_of=str(tmp_path / "other"))
    ends: dict[float, list[Tensor]] = {}
    for share in (0.0, 0.25):
        model = JinaBert.from_weights(random_weights(TINY))
        train_rank(model, builder, lists, replace(recipe, start_share=share), tmp_path / str(share), "key", 0)
        ends[share] = [parameter.detach() for parameter in model.parameters()]
    theirs = [parameter.detach() for parameter in JinaBert.from_weights(other).parameters()]
    for begin, mixed, end in zip(theirs, ends[0.25], ends[0.0], strict=True):
        torch.testing.assert_close(mixed, 0.25 * begin + 0.75 * end)
