"""Stages up to the teachers' scores: resumed, passed over, refused after a change, kept in the cache."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy import WORDS, write_bert

from tinyrerank.errors import DataError, ModelError
from tinyrerank.train.recipe import (
    DataRecipe,
    MineRecipe,
    Recipe,
    SynthRecipe,
    TeacherRecipe,
    TokenizerRecipe,
    WarmStartRecipe,
)

torch = pytest.importorskip("torch", reason="training needs the train extra")
pytest.importorskip("transformers", reason="teachers need the train extra")

from tinyrerank.train.encoders import TeacherText, load_backbone  # noqa: E402
from tinyrerank.train.mine import Lists  # noqa: E402
from tinyrerank.train.pipeline import Pipeline  # noqa: E402
from tinyrerank.train.pool import Pool  # noqa: E402
from tinyrerank.train.teachers import Teacher  # noqa: E402
from tinyrerank.train.tokens import DeviceText, PairBuilder, Template  # noqa: E402
from tinyrerank.train.tune import DevLists, dev_scores  # noqa: E402

STAGES = ["pool", "tokenizer", "mine", "teach"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
    for n in range(60):
        words = rng.choice(WORDS, 12).tolist()
        rows.append({"query": f"{words[0]} {words[1]} {n}", "positive": f"number {n}: {' '.join(words)}."})
    (folder / "train").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train/asked.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    write_bert(folder / "bert")
    return folder


def pipeline(data: Path, work: Path, cache: Path, recipe: Recipe | None = None) -> Pipeline:
    work.mkdir(exist_ok=True)
    return Pipeline(recipe or toy_recipe(data), data, work, work / "model", torch.device("cpu"), [], cache)


def toy_recipe(data: Path) -> Recipe:
    return Recipe(
        data=DataRecipe(labelled=["asked"], held_out=5, synth=SynthRecipe(keywords=10)),
        tokenizer=TokenizerRecipe(vocab_size=200),
        warm_start=WarmStartRecipe(folder=str(data / "bert")),
        mine=MineRecipe(dense=2, lexical=2, chance=1, depth=8, length=5, held_out=3),
        teacher=[TeacherRecipe(folder=str(data / "bert"), max_length=32)],
    )


def test_every_stage_leaves_its_result_and_a_manifest_of_it(data: Path, tmp_path: Path) -> None:
    pipeline(data, tmp_path / "work", tmp_path / "cache").run(STAGES)
    for stage in STAGES:
        manifest = json.loads((tmp_path / f"work/manifests/{stage}.json").read_text())
        assert manifest["stage"] == stage
        assert manifest["recipe"]["data"]["labelled"] == ["asked"]
        assert manifest["seconds"] >= 0
        assert all(len(digest) == 64 for digest in manifest["files"].values())
        assert all((tmp_path / "work" / file).exists() for file in manifest["files"])
        assert {"revision", "libraries", "machine"} <= manifest.keys()
    lists = Lists.load(tmp_path / "work/lists.npz")
    assert len(lists.query) > 50
    assert lists.teacher.any()


def test_what_is_done_is_passed_over_and_what_is_lost_is_made_again_alike(data: Path, tmp_path: Path) -> None:
    work, cache = tmp_path / "work", tmp_path / "cache"
    pipeline(data, work, cache).run(STAGES)
    first = Lists.load(work / "lists.npz")
    made = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}
    pipeline(data, work, cache).run(STAGES)
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()} == made
    kept = {path: path.read_bytes() for path in cache.iterdir()}
    for name in ("mined.npz", "lists.npz", "dev.npz"):
        (work / name).unlink()
    pipeline(data, work, cache).run(STAGES)
    again = Lists.load(work / "lists.npz")
    np.testing.assert_array_equal(again.candidate, first.candidate)
    np.testing.assert_array_equal(again.teacher, first.teacher)
    assert {path: path.read_bytes() for path in cache.iterdir()} == kept  # nothing was embedded again


def test_a_stage_of_another_recipe_is_refused_and_one_that_does_not_depend_on_it_is_not(
    data: Path, tmp_path: Path
) -> None:
    work, cache, recipe = tmp_path / "work", tmp_path / "cache", toy_recipe(data)
    pipeline(data, work, cache).run(STAGES)
    other_rank = replace(recipe, rank=[replace(recipe.rank[0], steps=5)])
    pipeline(data, work, cache, other_rank).run(STAGES)
    other_mine = replace(recipe, mine=replace(recipe.mine, length=6))
    with pytest.raises(DataError, match="the stage teach was made by another recipe"):
        pipeline(data, work, cache, other_mine).run(STAGES)
    with pytest.raises(DataError, match=r"the stage pool was made by another recipe .* delete pool/"):
        pipeline(data, work, cache, replace(recipe, seed=2)).run(STAGES)


def test_where_nothing_is_labelled_nothing_is_held_out(data: Path, tmp_path: Path) -> None:
    rows = [{"title": f"{w} {n}", "text": f"{w} {n} and more of it, {w}."} for n, w in enumerate(WORDS)]
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = DataRecipe(extra=[str(tmp_path / "plain.jsonl")], synth=SynthRecipe(titles=20))
    made = pipeline(data, tmp_path / "work", tmp_path / "cache", replace(toy_recipe(data), data=plain))
    made.run(STAGES)
    assert Lists.load(tmp_path / "work/lists.npz").teacher.any()
    assert json.loads((tmp_path / "work/teachers.json").read_text())["all fused"] == {}
    with np.load(tmp_path / "work/dev.npz") as f:
        none = DevLists(f["query"], f["candidate"], f["gain"], f["ideal"], [])
    queries, passages, _ = made.taught()
    cpu = torch.device("cpu")
    builder = PairBuilder(DeviceText(queries, cpu), DeviceText(passages, cpu), Template(), 32)
    assert dev_scores(torch.nn.Identity(), builder, none, cpu) == {}


def test_lists_of_another_folder_are_learned_from_as_their_own_folder_would(
    data: Path, tmp_path: Path
) -> None:
    cache, recipe = tmp_path / "cache", toy_recipe(data)
    other = replace(recipe, data=replace(recipe.data, synth=SynthRecipe(keywords=4), held_out=2))
    pipeline(data, tmp_path / "a", cache).run(STAGES)
    pipeline(data, tmp_path / "b", cache, other).run(STAGES[:1])
    both = replace(recipe, beside=[str(tmp_path / "b")])
    with pytest.raises(DataError, match=r"b/lists.npz: no such file; run that folder's recipe"):
        pipeline(data, tmp_path / "a", cache, both).taught()
    pipeline(data, tmp_path / "b", cache, other).run(STAGES)
    with pytest.raises(DataError, match="its tokenizer is another than that of"):
        pipeline(data, tmp_path / "a", cache, both).taught()
    shutil.copyfile(tmp_path / "a/tokenizer.json", tmp_path / "b/tokenizer.json")

    queries, passages, lists = pipeline(data, tmp_path / "a", cache, both).taught()
    seen: list[int] = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        theirs, theirs_passages, theirs_lists = pipeline(data, folder, cache).taught()
        for row in range(len(theirs_lists.query)):
            place = len(seen)
            seen.append(row)
            np.testing.assert_array_equal(lists.teacher[place], theirs_lists.teacher[row])
            np.testing.assert_array_equal(lists.label[place], theirs_lists.label[row])
            asked = theirs.take([theirs_lists.query[row]]).ids
            np.testing.assert_array_equal(queries.take([lists.query[place]]).ids, asked)
            real = theirs_lists.candidate[row] >= 0
            np.testing.assert_array_equal(lists.candidate[place] >= 0, real)
            read = passages.take(lists.candidate[place][real])
            np.testing.assert_array_equal(
                read.ids, theirs_passages.take(theirs_lists.candidate[row][real]).ids
            )
    assert len(seen) == len(lists.query)

    longer = replace(other, mine=replace(other.mine, length=6))
    for made in ("mined.npz", "lists.npz", "dev.npz"):
        (tmp_path / "b" / made).unlink()
    pipeline(data, tmp_path / "b", cache, longer).run(["mine", "teach"])
    with pytest.raises(DataError, match="their lists must be of one length"):
        pipeline(data, tmp_path / "a", cache, both).taught()


def test_a_query_that_nothing_is_close_to_is_left_out_unless_its_answer_is_known(
    data: Path, tmp_path: Path
) -> None:
    rows = "".join(json.dumps({"query": f"bare {n}", "source": "web"}) + "\n" for n in range(12))
    (data / "train/bare.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    recipe = toy_recipe(data)
    recipe = replace(recipe, data=replace(recipe.data, queries=["bare"]))

    def asked(name: str, least: float) -> tuple[int, int]:
        """Lists of bare queries, and of others."""
        mine = replace(recipe.mine, min_cosine=least)
        done = pipeline(data, tmp_path / name, tmp_path / "cache", replace(recipe, mine=mine))
        done.run(STAGES)
        queries = Pool.load(tmp_path / name / "pool").queries
        bare = [queries[i].source == "web" for i in Lists.load(tmp_path / name / "lists.npz").query]
        return sum(bare), len(bare) - sum(bare)

    bare, others = asked("all", -1)
    assert bare == 12
    assert asked("none", 1.01) == (0, others)


def assert_added(both: Lists, similar: Lists, weight: float) -> None:
    """What a teacher adds to the similarities is centered by list, and weighs so much of its own spread."""
    np.testing.assert_array_equal(both.candidate, similar.candidate)
    real = both.candidate >= 0
    added = np.where(real, both.teacher - similar.teacher, 0)
    np.testing.assert_allclose(added.sum(1), 0, atol=1e-4)
    assert np.sqrt((added[real] ** 2).mean()) == pytest.approx(weight, rel=1e-3)


def test_a_cross_encoder_joins_the_similarities_with_its_weight_and_is_trained_once(
    data: Path, tmp_path: Path
) -> None:
    recipe = toy_recipe(data)
    pipeline(data, tmp_path / "similar", tmp_path / "cache", recipe).run(STAGES)
    teacher = replace(recipe.teacher[0], cross_weight=0.7, minutes=0.02, tokens=512)
    work, crossed = tmp_path / "crossed", replace(recipe, teacher=[teacher])
    pipeline(data, work, tmp_path / "cache", crossed).run(STAGES)
    assert {"bert cosine", "bert cross-encoder", "all fused"} <= json.loads(
        (work / "teachers.json").read_text()
    ).keys()
    both = Lists.load(work / "lists.npz")
    assert_added(both, Lists.load(tmp_path / "similar/lists.npz"), 0.7)
    (work / "lists.npz").unlink()
    pipeline(data, work, tmp_path / "cache", crossed).run(STAGES)
    np.testing.assert_array_equal(Lists.load(work / "lists.npz").teacher, both.teacher)


def test_a_ready_cross_encoder_says_what_its_folder_says_and_embeds_nothing(
    data: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file
    from transformers import BertConfig, BertForSequenceClassification

    folder, rng = tmp_path / "ready", np.random.default_rng(1)
    tensors = {f"bert.{name}": values for name, values in write_bert(folder).items()}
    width = tensors["bert.embeddings.LayerNorm.bias"].shape[0]
    for name, rows in (("bert.pooler.dense", width), ("classifier", 1)):
        tensors[f"{name}.weight"] = rng.normal(0, 0.3, (rows, width)).astype(np.float32)
        tensors[f"{name}.bias"] = rng.normal(0, 0.3, rows).astype(np.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    recipe = toy_recipe(data)
    pipeline(data, tmp_path / "similar", tmp_path / "cache", recipe).run(STAGES)
    ready = TeacherRecipe(folder=str(folder), weight=0.0, cross_weight=0.7, minutes=0.0, max_length=48)
    work, both = tmp_path / "both", replace(recipe, teacher=[*recipe.teacher, ready])
    pipeline(data, work, tmp_path / "cache", both).run(STAGES)
    assert "ready cosine" not in json.loads((work / "teachers.json").read_text())
    lists, similar = Lists.load(work / "lists.npz"), Lists.load(tmp_path / "similar/lists.npz")
    assert_added(lists, similar, 0.7)

    # The first list against the classifier of transformers, token types and all.
    model = BertForSequenceClassification(BertConfig.from_pretrained(folder, num_labels=1))
    model.load_state_dict(
        {name: torch.from_numpy(x) for name, x in load_file(folder / "model.safetensors").items()}
    )
    tokenizer, pool = TeacherText(folder).tokenizer, Pool.load(work / "pool")
    logits = []
    for passage in lists.candidate[0][lists.candidate[0] >= 0]:
        pair = tokenizer.encode(pool.queries[lists.query[0]].text, pool.passages[passage])
        inputs = {"input_ids": pair.ids, "token_type_ids": pair.type_ids}
        with torch.no_grad():
            logits.append(model.eval()(**{k: torch.tensor([v]) for k, v in inputs.items()}).logits.item())
    added = (lists.teacher - similar.teacher)[0][lists.candidate[0] >= 0]
    assert np.corrcoef(added, logits)[0, 1] > 0.99  # bf16, where the CPU has it


def test_a_folder_without_a_head_is_no_ready_cross_encoder(data: Path, tmp_path: Path) -> None:
    recipe = toy_recipe(data)
    teacher = replace(recipe.teacher[0], cross_weight=0.7, minutes=0.0)
    with pytest.raises(ModelError, match="give it minutes to be trained"):
        pipeline(data, tmp_path / "work", tmp_path / "cache", replace(recipe, teacher=[teacher])).run(STAGES)


def test_another_pooling_is_refused(data: Path, tmp_path: Path) -> None:
    recipe = toy_recipe(data)
    teacher = replace(recipe.teacher[0], pooling="max")
    with pytest.raises(DataError, match="pooling is 'max'; known: mean, first"):
        pipeline(data, tmp_path / "work", tmp_path / "cache", replace(recipe, teacher=[teacher])).run(STAGES)


def test_vectors_are_the_first_tokens_states_where_the_recipe_says_so(data: Path, tmp_path: Path) -> None:
    recipe = toy_recipe(data)
    pipeline(data, tmp_path / "mean", tmp_path / "cache", recipe).run(STAGES[:2])
    pool = Pool.load(tmp_path / "mean/pool")
    first = Teacher(
        replace(recipe.teacher[0], pooling="first"), pool, torch.device("cpu"), tmp_path / "cache"
    )
    backbone = load_backbone(data / "bert")
    ids = torch.tensor([first.text.tokenizer.encode(pool.queries[0].text).ids])
    with torch.no_grad():
        state = backbone(input_ids=ids).last_hidden_state[0, 0]
    cosine = torch.nn.functional.cosine_similarity(first.query_vectors[0], state, dim=0)
    assert cosine > 0.999


def test_late_interaction_joins_the_similarities_with_its_weight_and_is_kept(
    data: Path, tmp_path: Path
) -> None:
    recipe = toy_recipe(data)
    pipeline(data, tmp_path / "similar", tmp_path / "cache", recipe).run(STAGES)
    late = replace(recipe, teacher=[replace(recipe.teacher[0], late_weight=0.5)])
    work = tmp_path / "late"
    pipeline(data, work, tmp_path / "cache", late).run(STAGES)
    names = {"bert cosine", "bert late interaction", "untrained fused", "all fused"}
    assert names <= json.loads((work / "teachers.json").read_text()).keys()
    both = Lists.load(work / "lists.npz")
    assert_added(both, Lists.load(tmp_path / "similar/lists.npz"), 0.5)
    kept = {path: path.read_bytes() for path in (tmp_path / "cache").iterdir()}
    (work / "lists.npz").unlink()
    pipeline(data, work, tmp_path / "cache", late).run(STAGES)
    np.testing.assert_array_equal(Lists.load(work / "lists.npz").teacher, both.teacher)
    assert {
        path: path.read_bytes() for path in (tmp_path / "cache").iterdir()
    } == kept  # nothing compared again


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        ("mine", "no pool here; run the stage pool first"),
        ("teach", "no mined lists here; run the stage mine first"),
    ],
)
def test_a_stage_that_comes_too_early_says_what_is_missing(
    data: Path, tmp_path: Path, stage: str, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        pipeline(data, tmp_path / "work", tmp_path / "cache").run([stage])
