"""Runs side by side: each with its share of the threads, all joined, none forgotten when it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the train extra")

from tinyrerank.errors import TinyrerankError  # noqa: E402
from tinyrerank.model.config import ModelConfig  # noqa: E402
from tinyrerank.model.weights import Weights  # noqa: E402
from tinyrerank.train.runs import mean_weights, side_by_side  # noqa: E402


def note_threads(path: Path, fails: bool) -> None:
    path.write_text(str(torch.get_num_threads()))
    if fails:
        raise ValueError("broken")


def test_runs_share_the_threads(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        side_by_side(note_threads, [(tmp_path / "a", False), (tmp_path / "b", False)])
    finally:
        torch.set_num_threads(before)
    assert [(tmp_path / name).read_text() for name in "ab"] == ["2", "2"]


def test_a_failed_run_is_named_after_the_others_have_ended(tmp_path: Path) -> None:
    with pytest.raises(TinyrerankError, match="training run 1 of 2 failed"):
        side_by_side(note_threads, [(tmp_path / "a", True), (tmp_path / "b", False)])
    assert (tmp_path / "b").exists()


def test_the_mean_of_weights_is_that_of_every_tensor() -> None:
    rng = np.random.default_rng(0)
    runs = [
        Weights(ModelConfig(), {"a": rng.random((3, 2)).astype(np.float32), "b": np.ones(2, np.float32)}, 1)
        for _ in range(3)
    ]
    mean = mean_weights(runs)
    assert mean.n_labels == 1
    assert mean.tensors["a"].dtype == np.float32
    np.testing.assert_allclose(mean.tensors["a"], sum(r.tensors["a"] for r in runs) / 3, rtol=1e-6)
    np.testing.assert_array_equal(mean.tensors["b"], np.ones(2))
