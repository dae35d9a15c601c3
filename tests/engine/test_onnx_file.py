"""The ONNX file for other products: the logits of the reranker, whatever the padding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tinyrerank import Reranker
from tinyrerank.cli import main
from tinyrerank.engine.onnx_file import write_onnx
from tinyrerank.errors import ModelError

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

PAIRS = [
    ("how do tides work?", "the moon pulls the sea"),
    ("bread", "yeast makes gas; bake it for thirty minutes at 220 degrees"),
    ("", ""),
    ("how do tides work?", "the tide rises when the moon pulls the sea toward it"),
]


@pytest.fixture(scope="module")
def exported(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Tokenizer]:
    out = tmp_path_factory.mktemp("onnx")
    write_onnx(tiny_folder, out)
    session = onnxruntime.InferenceSession(str(out / "model.onnx"), providers=["CPUExecutionProvider"])
    return session, Tokenizer.from_file(str(out / "tokenizer.json"))


def rows_of(tokenizer: Tokenizer) -> list[list[int]]:
    """The pairs as ``<s> query </s></s> document </s>``, put together from bare tokens."""
    parts = [[tokenizer.encode(text).ids for text in pair] for pair in PAIRS]
    return [[0, *query, 2, 2, *document, 2] for query, document in parts]


def run(session: Any, rows: list[list[int]], length: int, *, left: bool = False) -> NDArray[np.float32]:
    ids, mask = np.full((len(rows), length), 7), np.zeros((len(rows), length), dtype=np.int64)
    for i, row in enumerate(rows):
        place = slice(length - len(row), length) if left else slice(0, len(row))
        ids[i, place], mask[i, place] = row, 1
    logits: NDArray[np.float32]
    (logits,) = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
    assert logits.shape == (len(rows), 1)
    return logits[:, 0]


def test_logits_are_those_of_the_reranker_with_padding_on_either_side(
    exported: tuple[Any, Tokenizer], tiny_folder: Path
) -> None:
    session, tokenizer = exported
    rows = rows_of(tokenizer)
    with Reranker(tiny_folder, engine="onnx") as reranker:
        expected = reranker.score_pairs(PAIRS)
    longest = max(map(len, rows))
    for logits in (
        run(session, rows, longest),
        run(session, rows, longest + 30),
        run(session, rows, longest + 5, left=True),
        np.concatenate([run(session, [row], len(row)) for row in rows]),
    ):
        assert logits == pytest.approx(expected, abs=1e-5)


def test_inputs_and_output_have_their_customary_names(exported: tuple[Any, Tokenizer]) -> None:
    session, tokenizer = exported
    assert [(each.name, each.type) for each in session.get_inputs()] == [
        ("input_ids", "tensor(int64)"),
        ("attention_mask", "tensor(int64)"),
    ]
    assert [each.name for each in session.get_outputs()] == ["logits"]
    assert not {0, 2} & set(tokenizer.encode("the tide").ids)


def test_the_int8_form_and_other_geometries_export_too(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_model(int8=True)
    write_onnx(folder, tmp_path)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    rows = rows_of(Tokenizer.from_file(str(tmp_path / "tokenizer.json")))
    with Reranker(folder, engine="onnx") as reranker:
        assert run(session, rows, 60) == pytest.approx(reranker.score_pairs(PAIRS), abs=1e-5)
    with pytest.raises(ModelError, match="3 labels"):
        write_onnx(make_model(n_labels=3), tmp_path)


def test_the_file_is_valid_onnx(tiny_folder: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    write_onnx(tiny_folder, tmp_path)
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=False)


def test_the_command_writes_both_files(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--model", str(tiny_folder), "--out", str(tmp_path / "vespa")]) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / "vespa" / name) for name in ("model.onnx", "tokenizer.json")
    ]
