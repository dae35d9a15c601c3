"""The shipped folder: what the recipe says about reading goes with the weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tinyrerank import Reranker
from tinyrerank.model.config import ModelConfig
from tinyrerank.train.recipe import DataRecipe, Recipe, StageRecipe

pytest.importorskip("torch", reason="training needs the train extra")

from tinyrerank.train.export import export


@pytest.mark.parametrize("query_window", [0, 3])
def test_the_folder_is_int8_and_carries_the_recipes_windows(
    query_window: int, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    trained = make_model()
    (tmp_path / "rank-1").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "rank-1" / name).write_bytes((trained / name).read_bytes())
    (tmp_path / "tokenizer.json").write_bytes((trained / "tokenizer.json").read_bytes())
    log = {
        "rank-1": {"dev_before": {"mean": 0.1}, "dev_after": {"mean": 0.2}, "steps": 1},
        "rank": {"seconds": 9},
    }
    (tmp_path / "log.json").write_text(json.dumps(log))
    corpus = tmp_path / "prose.jsonl.gz"
    corpus.write_bytes(b"any")
    recipe = Recipe(
        data=DataRecipe(extra=[str(corpus)]),
        rank=[StageRecipe(quantize_share=0.5)],
        query_window=query_window,
        document_window=2 * query_window,
    )
    export(recipe, tmp_path, tmp_path, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["data"] == {"prose.jsonl.gz": hashlib.sha256(b"any").hexdigest()}
    config = ModelConfig.from_folder(tmp_path / "out")
    assert (config.quantized, config.query_window, config.document_window) == (
        True,
        query_window,
        2 * query_window,
    )
    assert ModelConfig.from_folder(tmp_path / "rank-1").quantized is False
    for folder in ("out", "rank-1"):
        with Reranker(tmp_path / folder, threads=1) as reranker:
            assert reranker.query_window == query_window
            assert len(reranker.rank("the moon tide sea", ["the moon", "bread"])) == 2
