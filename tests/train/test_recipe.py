"""Recipes: the committed ones load, and a slip in one is named where it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tinyrerank.errors import DataError
from tinyrerank.train.recipe import Recipe, load_recipe, trial

RECIPES = Path(__file__).parents[2] / "recipes" / "tiny-en"
STUDENT_LAYERS, EMBEDDING_ROWS = 4, 61_056


@pytest.mark.parametrize("name", sorted(path.name for path in RECIPES.glob("*.toml")))
def test_the_committed_recipes_load_and_fit_the_model(name: str) -> None:
    recipe = load_recipe(RECIPES / name)
    assert recipe.name == "tiny-en"
    assert len(recipe.warm_start.layers) == STUDENT_LAYERS
    assert recipe.tokenizer.vocab_size <= EMBEDDING_ROWS
    assert recipe.teacher
    assert recipe.start or recipe.warm_start.folder in {teacher.folder for teacher in recipe.teacher}
    assert recipe.data.labelled or recipe.beside
    mined = recipe.mine
    assert mined.dense + mined.lexical + mined.chance <= mined.length
    known = {"label_cross_entropy", "lambda_ndcg", "listwise_kl", "margin_mse", "ranknet"}
    assert set(recipe.rank[0].losses) <= known
    for stage in (recipe.hidden, *recipe.rank):
        assert stage.minutes > 0 or stage.steps < 10_000, "a stage that ends in good time"
        assert stage.micro_tokens <= stage.tokens
        assert 0 <= stage.average < 1


@pytest.mark.parametrize("name", sorted(path.name for path in RECIPES.glob("*.toml")))
def test_in_miniature_every_stage_is_there_and_none_is_long(name: str) -> None:
    recipe = load_recipe(RECIPES / name)
    small = trial(recipe)
    assert len(small.rank) == len(recipe.rank)
    for stage, whole in zip((small.hidden, *small.rank), (recipe.hidden, *recipe.rank), strict=True):
        assert stage.steps <= 3
        assert stage.minutes == 0  # it ends by its steps
        assert stage.tokens <= 2048
        alike = replace(
            stage,
            steps=whole.steps,
            minutes=whole.minutes,
            tokens=whole.tokens,
            micro_tokens=whole.micro_tokens,
        )
        assert alike == whole
    for teacher, whole_teacher in zip(small.teacher, recipe.teacher, strict=True):
        assert teacher.minutes <= 0.2
        assert bool(teacher.minutes) == bool(whole_teacher.minutes)  # 0 asks for a ready one
    assert small.data.labelled == recipe.data.labelled
    assert bool(small.data.synth.titles) == bool(recipe.data.synth.titles)
    assert small.data.max_queries <= 300
    assert (small.start, small.beside) == (recipe.start, recipe.beside)


def read(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "r.toml"
    path.write_text(text)
    return load_recipe(path)


def test_what_a_recipe_leaves_out_has_its_default_and_what_it_says_counts(tmp_path: Path) -> None:
    recipe = read(
        tmp_path,
        'name = "x"\n[data]\nlabelled = ["a", "b"]\n[[rank]]\nminutes = 3\nlosses = { ranknet = 2 }\n'
        '[[teacher]]\nfolder = "t"\n[[teacher]]\nweight = 0.25\n',
    )
    assert recipe.name == "x"
    assert recipe.seed == Recipe().seed
    assert recipe.data.labelled == ["a", "b"]
    assert recipe.rank[0].losses == {"ranknet": 2.0}
    assert recipe.rank[0].minutes == 3.0
    assert isinstance(recipe.rank[0].minutes, float)
    assert recipe.hidden == Recipe().hidden
    assert [(t.folder, t.weight) for t in recipe.teacher] == [("t", 1.0), ("", 0.25)]
    assert read(tmp_path, "") == Recipe()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sed = 1", r"r\.toml: unknown key 'sed'; known: name, seed, start, data"),
        ("[[rank]]\nstep = 5", r"r\.toml\.rank\[0\]: unknown key 'step'; known: runs, steps, minutes"),
        ("[data.synth]\nhalfs = 5", r"r\.toml\.data\.synth: unknown key 'halfs'"),
        ("[[teacher]]\n[[teacher]]\nwidth = 5", r"r\.toml\.teacher\[1\]: unknown key 'width'"),
        ("[[rank]]\nsteps = 1.5", r"r\.toml\.rank\[0\]\.steps: expected int, not 1\.5"),
        ("[[rank]]\nsteps = true", r"r\.toml\.rank\[0\]\.steps: expected int, not True"),
        ('[[rank]]\nminutes = "2"', r"r\.toml\.rank\[0\]\.minutes: expected float, not '2'"),
        ("[[rank]]\nminutes = false", r"r\.toml\.rank\[0\]\.minutes: expected float, not False"),
        (
            "[[rank]]\nlosses = { ranknet = 'much' }",
            r"r\.toml\.rank\[0\]\.losses\.ranknet: expected float, not 'much'",
        ),
        ("[data]\nlabelled = 'a'", r"r\.toml\.data\.labelled: expected list, not 'a'"),
        ("[data]\nlabelled = ['a', 3]", r"r\.toml\.data\.labelled\[1\]: expected str, not 3"),
        ("[warm_start]\nlayers = [0, '2']", r"r\.toml\.warm_start\.layers\[1\]: expected int, not '2'"),
        ("data = 5", r"r\.toml\.data: expected a table, not 5"),
        ("name = ", r"r\.toml: not valid TOML"),
    ],
)
def test_a_slip_is_named_by_its_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(tmp_path, text)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.toml: no such recipe"):
        load_recipe(tmp_path / "none.toml")
