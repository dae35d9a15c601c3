"""The card tells of every run that the weights went through, in order, and of all their data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs the train extra")

from tinyrerank.train.card import model_card
from tinyrerank.train.recipe import Recipe, StageRecipe, TeacherRecipe


def manifest(recipe: Recipe, data: list[str], **more: Any) -> dict[str, Any]:
    stages = {"rank-1": {"dev_before": {"mean": 0.1}, "dev_after": {"mean": 0.2}}, "rank": {"seconds": 600}}
    return {
        "name": "m",
        "parameters": 33_000_000,
        "recipe": asdict(recipe),
        "data": dict.fromkeys(data, ""),
        "stages": stages,
        "teachers": {},
        "machine": {"cpu": "some CPU"},
        "revision": "0123456789abcdef",
        **more,
    }


def test_a_run_that_goes_on_from_another_tells_of_both() -> None:
    recipe = Recipe(teacher=[TeacherRecipe(folder="big")])
    first = manifest(recipe, ["boolq"], note="A word on the first run.")
    first["stages"]["hidden"] = {"seconds": 120}
    teachers = [TeacherRecipe(folder="big"), TeacherRecipe(folder="here/multilingual-e5-small")]
    stage = StageRecipe(runs=2, max_length=512, start_share=0.5)
    second = manifest(
        Recipe(teacher=teachers, start="m", rank=[stage]),
        ["boolq", "medquad"],
        start={"sha256": "", "manifest": first},
        machine={"cpu": "some CPU", "gpu": "a GPU"},
    )
    card = model_card(second)
    assert card.count("| boolq | CC BY-SA 3.0 |") == card.count("| medquad | CC BY 4.0 |") == 1
    assert "Teachers: big (see its own card), multilingual-e5-small (MIT)." in card
    assert "1. It starts from" in card
    assert "2. Hidden-state distillation on plain text: 2 minutes." in card
    assert "3. Ranking distillation on candidate lists of pairs of up to 256 tokens" in card
    assert "4. Ranking distillation on candidate lists of pairs of up to 512 tokens" in card
    assert "10 minutes in 1 round(s) of 2 runs" in card
    assert card.count("The weights from before have a share of 0.5 in those after.") == 1
    assert "Machine: some CPU with a GPU." in card
    mixed = manifest(
        Recipe(teacher=teachers, rank=[StageRecipe(start_share=0.3, share_of="runs/old/model")]), ["boolq"]
    )
    assert "Weights from further back (`runs/old/model`) have a share of 0.3 in those after." in model_card(
        mixed
    )
    assert card.endswith("A word on the first run.\n")


def test_the_card_says_what_every_teacher_was_asked_for() -> None:
    ready = TeacherRecipe(folder="ms-marco-MiniLM-L-12-v2", weight=0.0, cross_weight=0.4, minutes=0.0)
    late = TeacherRecipe(folder="bge-small-en-v1.5", weight=0.0, late_weight=0.8)
    both, made = TeacherRecipe(folder="mini", late_weight=0.8), TeacherRecipe(folder="net", cross_weight=1.4)
    card = " ".join(model_card(manifest(Recipe(teacher=[ready, late, both, made]), ["boolq"])).split())
    assert (
        "labelled by the cross-encoder ms-marco-MiniLM-L-12-v2 and late interaction over bge-small-en-v1.5's"
        " tokens and the similarities of mini (and late interaction over its tokens) and the similarities of"
        " net and a cross-encoder from it" in card
    )
    assert "ms-marco-MiniLM-L-12-v2 (Apache-2.0), bge-small-en-v1.5 (MIT), mini (see its own card)" in card


def test_a_run_on_its_own_has_three_steps() -> None:
    alone = manifest(Recipe(teacher=[TeacherRecipe(folder="big")]), ["boolq"])
    alone["stages"]["hidden"] = {"seconds": 120}
    card = model_card(alone)
    assert "3. Ranking distillation" in card
    assert "4." not in card.split("## Data")[0].replace("0.", "")


@pytest.mark.parametrize(("window", "said"), [(0, False), (64, True)])
def test_the_card_says_how_long_queries_are_read(window: int, said: bool) -> None:
    alone = manifest(Recipe(query_window=window), ["boolq"])
    alone["stages"]["hidden"] = {"seconds": 120}
    card = model_card(alone)
    assert ("A query of more than 64 tokens is read in even parts" in card) == said


def test_the_card_says_how_long_windows_are() -> None:
    alone = manifest(Recipe(query_window=80, document_window=192), ["boolq"])
    alone["stages"]["hidden"] = {"seconds": 120}
    assert "windows have 192 tokens (`document_window`)" in model_card(alone)
    alone["recipe"]["document_window"] = 0
    assert "document_window" not in model_card(alone)


def test_where_nothing_was_held_out_the_card_says_so() -> None:
    made = manifest(Recipe(teacher=[TeacherRecipe(folder="big")]), ["boolq"])
    made["stages"]["rank-1"] = {"dev_before": {}, "dev_after": {}}
    assert "| (nothing was held out) | | |" in model_card(made)
