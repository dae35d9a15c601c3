"""Teachers for fine-tuning: cosines are those of the encoder, a reranker's logits its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from toy import write_bert

from tinyrerank.errors import ModelError
from tinyrerank.train.pool import Pool, Query

pytest.importorskip("torch", reason="training needs the torch extra")

from tinyrerank.evaluate.biencoder import BiEncoder
from tinyrerank.train.opinions import open_teacher

POOL = Pool(
    ["the tide rises", "moon and sun", "bread rises", "water", "the sea pulls the moon"],
    [Query("when the tide", "log"), Query("bread", "log"), Query("sun?", "log")],
    5,
)
QUERY = np.array([2, 0], dtype=np.int32)
CANDIDATE = np.array([[1, 4, 0], [3, 0, -1]], dtype=np.int32)


def refuse(_: Path, __: Sequence[tuple[str, str]], ___: int) -> NDArray[np.float32]:
    raise AssertionError("a bi-encoder needs no reranker")


def test_a_bi_encoder_gives_cosines_and_embeds_nothing_twice(tmp_path: Path) -> None:
    write_bert(tmp_path / "bert")
    teacher = open_teacher(tmp_path / "bert", POOL, refuse, tmp_path / "cache", 64)
    scores = teacher(QUERY, CANDIDATE)
    encoder = BiEncoder(tmp_path / "bert")
    queries, passages = encoder.embed([q.text for q in POOL.queries]), encoder.embed(POOL.passages)
    for row, number in enumerate(QUERY):
        for place, passage in enumerate(CANDIDATE[row]):
            expected = float(queries[number] @ passages[passage]) if passage >= 0 else 0.0
            assert scores[row, place] == pytest.approx(expected, abs=2e-3)  # vectors are kept as float16
    (kept,) = (tmp_path / "cache").iterdir()
    size = kept.stat().st_size
    again = open_teacher(tmp_path / "bert", POOL, refuse, tmp_path / "cache", 64)
    np.testing.assert_array_equal(again(QUERY, CANDIDATE), scores)
    assert kept.stat().st_size == size


def test_a_reranker_is_asked_for_the_pairs_of_the_lists(tiny_folder: Path, tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def score(folder: Path, pairs: Sequence[tuple[str, str]], longest: int) -> NDArray[np.float32]:
        assert (folder, longest) == (tiny_folder, 64)
        asked.extend(pairs)
        return np.arange(1, len(pairs) + 1, dtype=np.float32)

    teacher = open_teacher(tiny_folder, POOL, score, tmp_path, 64)
    np.testing.assert_array_equal(teacher(QUERY, CANDIDATE), [[1, 2, 3], [4, 5, 0]])
    assert asked[0] == ("sun?", "moon and sun")
    assert asked[-1] == ("when the tide", "the tide rises")


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not a model folder .* give a bi-encoder or a reranker"):
        open_teacher(tmp_path, POOL, refuse, tmp_path, 64)
