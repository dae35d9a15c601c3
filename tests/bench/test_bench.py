"""Workloads, operation counts, the plain padded peers, and the command itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import TINY
from tinyrerank.bench import report
from tinyrerank.bench.padded_graph import padded_graph
from tinyrerank.bench.peer_graph import PaddedEngine, feed
from tinyrerank.bench.peers import parse
from tinyrerank.bench.roofline import operations
from tinyrerank.bench.runner import agreement
from tinyrerank.bench.workload import Workload, make
from tinyrerank.cli import main
from tinyrerank.cli.bench import _own_modes
from tinyrerank.engine import load_engine
from tinyrerank.errors import InputError
from tinyrerank.model import load_weights
from tinyrerank.model.config import FeedForward


def packed(*lengths: int) -> Workload:
    cu = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return Workload("made", "", [""] * len(lengths), np.arange(cu[-1], dtype=np.int32) % 7, cu)


def test_a_workload_is_the_same_for_the_same_seed_and_another_for_another(tiny_folder: Path) -> None:
    one, same, other = (make("5x30", tiny_folder, seed=seed) for seed in (1, 1, 2))
    assert (one.query, one.documents) == (same.query, same.documents)
    np.testing.assert_array_equal(one.ids, same.ids)
    assert one.documents != other.documents


@pytest.mark.parametrize("name", ["1x11", "5x64", "2x512"])
def test_pairs_have_exactly_the_length_asked_for(name: str, tiny_folder: Path) -> None:
    n, length = (int(part) for part in name.split("x"))
    workload = make(name, tiny_folder)
    assert workload.lengths.tolist() == [length] * n == [length] * len(workload.documents)


def test_mix_is_a_hundred_documents_of_about_150_tokens(make_model: Callable[..., Path]) -> None:
    lengths = make("mix", make_model(replace(TINY, max_length=2048))).lengths
    assert len(lengths) == 100
    assert 130 <= np.median(lengths) <= 165
    assert abs(int(lengths.sum()) - 16_200) < 100


@pytest.mark.parametrize("name", ["", "mixed", "3x", "x64", "0x64", "1x8", "-1x64", "1x1000"])
def test_unknown_and_too_long_workloads_are_refused(name: str, tiny_folder: Path) -> None:
    with pytest.raises(InputError, match="workload"):
        make(name, tiny_folder)


def test_a_workload_survives_the_way_to_a_worker(tiny_folder: Path, tmp_path: Path) -> None:
    sent = make("3x20", tiny_folder)
    sent.save(tmp_path / "workload.npz")
    received = Workload.load(tmp_path / "workload.npz")
    assert (received.name, received.query, received.documents) == (sent.name, sent.query, sent.documents)
    np.testing.assert_array_equal(received.ids, sent.ids)


def test_operations_are_those_of_the_exact_algorithm() -> None:
    # Two layers of width 16, inner width 24: layer 0 for every token, the last one for the first token only.
    found = operations(TINY, packed(10, 3))
    block = 16 * 16 + 3 * 24 * 16
    assert found.linear == 2 * (13 * block + 2 * block + 7 * 3 * 16 * 16)
    assert found.attention == 2 * (100 + 9) * 2 * 16
    assert found.head == 2 * (2 * 4 * 16 * 16 + 13 * 2 * 4 * 16)
    assert found.seconds({"int8": 4.0, "bf16": 2.0, "fp32": 1.0}, "int8") == pytest.approx(
        found.linear / 4 + found.attention / 2 + found.head
    )


@pytest.mark.parametrize("feed_forward", ["geglu", "reglu", "original"])
def test_the_padded_graph_computes_the_same_model(
    feed_forward: FeedForward, make_model: Callable[..., Path]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = make_model(replace(TINY, feed_forward=feed_forward))
    session: Any = onnxruntime.InferenceSession(padded_graph(load_weights(folder)))
    workload = packed(9, 30, 5)
    for in_order in (False, True):
        engine = PaddedEngine("test", lambda batch: session.run(None, batch)[0], 512, in_order=in_order)
        expect_equal(engine.score(workload.ids, workload.cu_seqlens), folder, workload)


@pytest.mark.parametrize("variant", ["eager-fp32", "sdpa-fp32", "hf"])
def test_the_plain_torch_peers_compute_the_same_model(variant: str, tiny_folder: Path) -> None:
    pytest.importorskip("torch")
    from tinyrerank.bench.peer_torch import load_torch

    workload = packed(9, 30, 5)
    engine = load_torch(tiny_folder, variant, threads=1)
    expect_equal(engine.score(workload.ids, workload.cu_seqlens), tiny_folder, workload)


def expect_equal(logits: NDArray[np.float32], folder: Path, workload: Workload) -> None:
    expected = load_engine(folder, "onnx", threads=1).score(workload.ids, workload.cu_seqlens)
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def test_a_padded_batch_marks_its_padding() -> None:
    batch = feed(np.arange(5, dtype=np.int32), np.array([0, 2, 5]))
    assert batch["ids"].tolist() == [[0, 1, 0], [2, 3, 4]]
    assert (batch["mask"][:, 0, 0] < -1e8).tolist() == [[False, False, True], [False] * 3]


def test_what_is_measured_unasked_works_on_this_processor(tiny_folder: Path) -> None:
    modes = [name.removeprefix("native:") for name in _own_modes().split(",")]
    assert {"int8", "fp32"} <= set(modes)
    for mode in modes:
        load_engine(tiny_folder, "native", mode=mode, threads=1).close()


def test_engines_are_named_by_library_variant_and_geometry() -> None:
    one, two, three = parse("native, openvino:int8,native:bf16@base,")
    assert (one.name, two.package, three.geometry) == ("native:int8", "openvino", "base")
    for wrong in ("tensorflow", "native:int4", "native@huge"):
        with pytest.raises(InputError, match="known"):
            parse(wrong)


def test_agreement_counts_pairs_in_the_same_order() -> None:
    assert agreement([3.0, 2.0, 1.0], [0.3, 0.2, 0.1])["kendall_tau"] == 1.0
    assert agreement([1.0, 2.0, 3.0], [0.3, 0.2, 0.1])["kendall_tau"] == -1.0
    assert agreement([3.0, 1.0, 2.0], [3.0, 2.5, 1.0])["largest_difference"] == 1.5


def test_the_command_measures_and_writes_figures_and_a_plot(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "deep" / "figures.json"
    arguments = ["bench", "--model", str(tiny_folder), "--engines", "onnx:fp32", "--workloads", "2x20,2x40"]
    arguments += ["--threads", "1", "--rounds", "1", "--seconds", "0", "--out", str(out), "--quiet"]
    assert main(arguments) == 0
    figures = json.loads(out.read_text("utf-8"))
    assert [run["tokens"] for run in figures["runs"]] == [40, 80]
    measured = figures["runs"][0]["engines"]["onnx:fp32"]
    assert measured["calls"] == 1
    assert measured["documents_per_s"] == pytest.approx(2000 / measured["median_ms"])
    assert "onnx:fp32" in capsys.readouterr().out
    assert out.with_suffix(".png").stat().st_size > 1000


def test_what_cannot_be_measured_is_named_with_its_reason() -> None:
    run = {"workload": "mix", "level": "engine", "documents": 1, "tokens": 2, "threads": 1, "engines": {}}
    assert "openvino:bf16" in report.table([{**run, "not_measured": {"openvino:bf16": "not installed"}}])


def test_a_worker_that_fails_fails_the_command_in_words(
    tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "--model", str(tiny_folder), "--engines", "onnx:fp32,cross-encoder"]
    arguments += ["--workloads", "1x20", "--threads", "1", "--rounds", "1", "--seconds", "0", "--quiet"]
    assert main(arguments) == 1
    assert "measured end to end" in capsys.readouterr().out


def test_llama_cpp_computes_what_we_compute(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="not installed: extra bench-llama")
    pytest.importorskip("llama_cpp", reason="not installed: extra bench-llama")
    (peer,) = parse("llama-cpp:bf16")
    workload = make("5x30", tiny_folder)
    peer.prepare(tiny_folder, tmp_path, lambda: workload)
    engine = peer.load(tiny_folder, tmp_path, threads=1)
    expected = load_engine(tiny_folder, "native", threads=1, mode="fp32").score(
        workload.ids, workload.cu_seqlens
    )
    np.testing.assert_allclose(engine.score(workload.ids, workload.cu_seqlens), expected, atol=0.05)
