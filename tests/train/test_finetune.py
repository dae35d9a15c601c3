"""Fine-tuning on a toy: held-out queries gain, nothing general is lost, and gaining nothing is said."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyrerank.errors import DataError
from tinyrerank.train.pool import Pool, Query

torch = pytest.importorskip("torch", reason="training needs the torch extra")

from tinyrerank import Reranker  # noqa: E402
from tinyrerank.model.weights import load_weights  # noqa: E402
from tinyrerank.train.finetune import _SHARES, TuneSettings, Tuning, _Looks  # noqa: E402
from tinyrerank.train.mine import centered, spread  # noqa: E402

WORDS = ["tide", "moon", "sea", "bread", "rises", "pulls", "sun", "bake", "gas", "yeast", "query", "document"]
SETTINGS = TuneSettings(
    minutes=1.0, epochs=4, learning_rate=1e-2, max_length=40, tokens=512, forget=0.05, general_share=0.1
)


def sentences(rng: random.Random, n: int) -> list[str]:
    return [" ".join(rng.choices(WORDS, k=rng.randint(5, 9))) for _ in range(n)]


def toy_pool(seed: int, n_queries: int = 30, source: str = "examples") -> Pool:
    """Documents with "score" are answers to every query, whatever the query says."""
    rng = random.Random(seed)
    passages = sentences(rng, 120)
    answers = list(range(0, 120, 4))
    for n in answers:
        passages[n] += " score"
    queries = [
        Query(text, source, dict.fromkeys(rng.sample(answers, 6), 1) if source == "examples" else {})
        for text in sentences(rng, n_queries)
    ]
    return Pool(passages, queries, len(passages))


def everyday(seed: int = 9) -> Pool:
    rng = random.Random(seed)
    passages = sentences(rng, 20)
    queries = [
        Query(f"{n % 7} " + " ".join(p.split()[:3]), "examples", {n: 1}) for n, p in enumerate(passages)
    ]
    return Pool(passages, queries, len(passages))


def score(folder: Path, pairs: Sequence[tuple[str, str]], longest: int) -> NDArray[np.float32]:
    with Reranker(folder, engine="torch", threads=1) as reranker:
        return reranker.score_pairs(pairs, max_length=longest)


def test_held_out_queries_gain_and_the_model_folder_is_whole(tiny_folder: Path, tmp_path: Path) -> None:
    tuning = Tuning(tiny_folder, toy_pool(1), everyday(), SETTINGS, score)
    report = tuning.run(tmp_path / "out")
    assert report["reported"]["after"] > report["reported"]["before"] + 0.1
    assert 0 < report["reported"]["p"] <= 1
    assert report["everyday"]["after"] >= 0.95 * report["everyday"]["before"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "README.md",
        "config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert load_weights(tmp_path / "out").config.quantized
    card = (tmp_path / "out/README.md").read_text()
    assert f"{report['reported']['after']:.4f}" in card
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["report"] == report
    assert manifest["settings"]["forget"] == 0.05
    assert not (tmp_path / "out.work").exists()


def test_a_teacher_without_labels_is_followed(tiny_folder: Path, tmp_path: Path) -> None:
    pool = toy_pool(2, 100, source="log")

    def teacher(_: NDArray[np.int32], candidate: NDArray[np.int32]) -> NDArray[np.float32]:
        good = np.array(["score" in p for p in pool.passages])
        return np.where(candidate >= 0, good[np.maximum(candidate, 0)], 0).astype(np.float32)

    tuning = Tuning(tiny_folder, pool, everyday(), replace(SETTINGS, own_weight=0.0), score, [teacher])
    report = tuning.run(tmp_path / "out")
    assert report["reported"]["after"] > report["reported"]["before"]
    assert "tinyrerank adapt" in (tmp_path / "out/README.md").read_text()


def test_queries_longer_than_half_a_pair_are_cut_and_said_to_be(
    tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = toy_pool(1)
    pool.queries[3] = replace(pool.queries[3], text="tide moon " * 40)  # 80 tokens; a pair has 40
    tuning = Tuning(tiny_folder, pool, everyday(), SETTINGS, score)
    assert tuning.pool.queries[3].text == ("tide moon " * 10).strip()
    assert tuning.pool.queries[2].text == pool.queries[2].text
    assert (
        "1 queries are longer than 20 tokens, half of what a pair may have, and were cut"
        in capsys.readouterr().err
    )


def test_held_out_queries_are_not_trained_on(tiny_folder: Path) -> None:
    tuning = Tuning(tiny_folder, toy_pool(1), everyday(), SETTINGS, score)
    n = len(tuning.pool.queries)
    trained = {int(q) for q in tuning.lists.query if q < n}
    held_out = {int(q) for dev in (tuning.choose, tuning.report) for q in dev.query}
    assert len(trained) + len(held_out) == n
    assert not trained & held_out
    checked = {int(q) + n for q in tuning.check.query}
    assert not checked & {int(q) for q in tuning.lists.query}


def test_held_out_lists_are_what_a_first_stage_gives(tiny_folder: Path) -> None:
    tuning = Tuning(tiny_folder, toy_pool(1), everyday(), SETTINGS, score)
    lexical = tuning._lexical(tuning.pool)
    with_one, without = 3, 4
    judged = tuning.pool.queries[without].positives
    lexical[without] = [p for p in range(120) if p not in judged][:40]
    lexical[with_one, 2] = next(iter(tuning.pool.queries[with_one].positives))
    dev = tuning._dev(tuning.pool, [with_one, without], lexical, 20)
    np.testing.assert_array_equal(dev.candidate[0], lexical[with_one, :20])
    np.testing.assert_array_equal(dev.candidate[1, :19], lexical[without, :19])
    assert dev.candidate[1, 19] in judged
    for row, n in enumerate((with_one, without)):
        gains = [tuning.pool.queries[n].positives.get(p, 0) for p in dev.candidate[row].tolist()]
        np.testing.assert_array_equal(dev.gain[row], gains)
    assert dev.ideal[0] == pytest.approx(sum(1 / np.log2(np.arange(2, 8))))  # six answers of grade 1


def test_labels_move_targets_and_the_unknown_keeps_its_place(tiny_folder: Path) -> None:
    pool = toy_pool(1)
    graded = [
        replace(q, positives={p: 1 + n for n, p in enumerate(q.positives)}, negatives=[1, 2])
        for q in pool.queries
    ]
    tuning = Tuning(tiny_folder, Pool(pool.passages, graded, 120), everyday(), SETTINGS, score)
    n = len(pool.queries)
    rows = np.flatnonzero(tuning.lists.query < n)
    own = 0.35 * centered(
        tuning._list_scores(tiny_folder, _rows(tuning, rows), tuning.pool, SETTINGS.max_length),
        tuning.lists.candidate[rows],
    )
    moved = tuning.lists.teacher[rows] - own
    for row, number in enumerate(tuning.lists.query[rows]):
        query = graded[number]
        for place, passage in enumerate(tuning.lists.candidate[rows][row].tolist()):
            expected = 3 * query.positives.get(passage, 0) / max(query.positives.values())
            expected -= 3 * 0.3 * (passage in query.negatives)
            assert moved[row, place] == pytest.approx(expected, abs=1e-4)


def _rows(tuning: Tuning, rows: NDArray[np.int64]):  # type: ignore[no-untyped-def] # noqa: ANN202 - Lists need torch
    lists = tuning.lists
    return type(lists)(lists.query[rows], lists.candidate[rows], lists.label[rows], lists.teacher[rows])


class Scripted(Tuning):
    """Measures what it is told, by the share of the way that a folder stands for."""

    by_share: dict[str, tuple[float, float]]

    def measure(self, folder: Path) -> tuple[float, float]:
        return self.by_share[folder.name]


def test_the_best_share_of_the_way_that_everyday_questions_allow_is_kept(
    tiny_folder: Path, tmp_path: Path
) -> None:
    tuning = Scripted(tiny_folder, toy_pool(1), everyday(), replace(SETTINGS, forget=0.01), score)
    tuning.by_share = {
        "share-0.2": (0.6, 0.90),
        "share-0.4": (0.8, 0.892),
        "share-0.6": (0.7, 0.90),
        "share-0.8": (0.9, 0.80),
        "share-1": (1.0, 0.70),
    }
    folder, share, after = tuning._walk(_Looks(tuning, tmp_path, 0.5), (0.5, 0.9), tmp_path)
    assert (folder.name, share, after) == ("share-0.4", 0.4, (0.8, 0.892))


def test_without_labels_the_teacher_is_not_followed_all_the_way(tiny_folder: Path, tmp_path: Path) -> None:
    tuning = Scripted(tiny_folder, toy_pool(2, 40, source="log"), everyday(), SETTINGS, score)
    tuning.by_share = {f"share-{s:g}": (s, 0.9) for s in _SHARES}
    assert tuning._walk(_Looks(tuning, tmp_path, 0.1), (0.1, 0.9), tmp_path)[1] == 0.6


def test_a_run_that_gains_nothing_says_so_and_writes_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    tuning = Scripted(tiny_folder, toy_pool(1), everyday(), SETTINGS, score)
    tuning.by_share = {f"share-{s:g}": (0.4, 0.9) for s in _SHARES}
    with pytest.raises(DataError, match=r"ranked no better afterwards \(NDCG@10 0\.5000 before"):
        tuning._walk(_Looks(tuning, tmp_path, 0.5), (0.5, 0.9), tmp_path)


def test_the_way_lies_between_the_old_and_the_best_weights(tiny_folder: Path, tmp_path: Path) -> None:
    tuning = Scripted(tiny_folder, toy_pool(1), everyday(), SETTINGS, score)
    tuning.by_share = {f"share-{s:g}": (0.9, 0.9) if s == 0.4 else (0.0, 0.9) for s in _SHARES}
    best = {n: t + 1.0 if n.endswith("dense.bias") else t for n, t in tuning.weights.tensors.items()}
    replace(tuning.weights, tensors=best).save(tmp_path / "best")
    folder, _, _ = tuning._walk(_Looks(tuning, tmp_path, 0.5), (0.5, 0.9), tmp_path)
    written, old = load_weights(folder).to_dense(), tuning.weights
    name = "bert.pooler.dense.bias"
    np.testing.assert_allclose(written.tensors[name], old.tensors[name] + 0.4, atol=1e-6)


def test_lists_are_centered_and_padding_stays_zero() -> None:
    scores = np.array([[1.0, 3.0, 99.0], [5.0, 99.0, 99.0]], dtype=np.float32)
    candidate = np.array([[4, 2, -1], [1, -1, -1]], dtype=np.int32)
    np.testing.assert_array_equal(centered(scores, candidate), [[-1, 1, 0], [0, 0, 0]])
    assert spread(scores, candidate) == pytest.approx(np.sqrt(2 / 3))
    assert spread(np.ones_like(scores), candidate) == 1.0
