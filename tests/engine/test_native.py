"""The native engine: every mode and instruction set against the float64 twin; independence bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from packed import MODEL, pack, report, sequences

import twin
from conftest import random_weights
from tinyrerank.errors import EngineError, InputError, TooLongError
from tinyrerank.model.config import ModelConfig
from tinyrerank.model.weights import Weights

native = pytest.importorskip(
    "tinyrerank.engine.native", reason="the native engine is not built here", exc_type=ImportError
)
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Kernels:
    """One set of kernels, and the largest difference to the twin in units of the logits' deviation."""

    mode: str
    isa: str
    attention: str
    tolerance: float

    def engine(self, weights: Weights, threads: int = 1, **options: Any) -> Any:
        return native.NativeEngine(
            weights, threads=threads, mode=self.mode, isa=self.isa, attention=self.attention, **options
        )


EXACT, BF16, INT8 = 1e-5, 0.08, 0.25
PATHS = [
    Kernels("fp32", "portable", "fp32", EXACT),
    Kernels("fp32", "avx2", "fp32", EXACT),
    Kernels("fp32", "avx512", "fp32", EXACT),
    Kernels("bf16", "avx512", "bf16", BF16),
    Kernels("bf16", "avx512", "fp32", BF16),
    Kernels("bf16", "amx", "bf16", BF16),
    Kernels("bf16", "amx", "fp32", BF16),
    Kernels("int8", "portable", "fp32", INT8),
    Kernels("int8", "avx2", "fp32", INT8),
    Kernels("int8", "avx512", "fp32", INT8),
    Kernels("int8", "avx512", "bf16", INT8),
    Kernels("int8", "amx", "fp32", INT8),
    Kernels("int8", "amx", "bf16", INT8),
]
GEOMETRIES = {
    "width 16, geglu": MODEL,
    "width 16, reglu": replace(MODEL, feed_forward="reglu"),
    "width 16, original": replace(MODEL, feed_forward="original"),
    "one layer": replace(MODEL, n_layers=1),
    "12 heads of 4": ModelConfig(
        vocab_size=150, hidden_size=48, n_layers=3, n_heads=12, intermediate_size=40
    ),
    "13 heads of 3": ModelConfig(
        vocab_size=150, hidden_size=39, n_layers=2, n_heads=13, intermediate_size=33
    ),
    "heads of 32": ModelConfig(vocab_size=150, hidden_size=96, n_layers=2, n_heads=3, intermediate_size=128),
    "heads of 64": ModelConfig(vocab_size=150, hidden_size=128, n_layers=3, n_heads=2, intermediate_size=96),
    "a head of 80": ModelConfig(vocab_size=150, hidden_size=80, n_layers=2, n_heads=1, intermediate_size=64),
    "width 768": ModelConfig(
        vocab_size=150,
        hidden_size=768,
        n_layers=2,
        n_heads=12,
        intermediate_size=512,
        feed_forward="original",
    ),
}


@pytest.fixture(scope="module", params=PATHS, ids=lambda p: f"{p.mode}-{p.isa}-{p.attention}")
def path(request: pytest.FixtureRequest) -> Kernels:
    chosen: Kernels = request.param
    try:
        chosen.engine(random_weights(MODEL)).close()
    except EngineError as error:
        pytest.skip(str(error))
    return chosen


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights(MODEL, seed=1)


_truths: dict[str, NDArray[np.float64]] = {}


def truth(key: str, weights: Weights, parts: list[NDArray[np.int32]]) -> NDArray[np.float64]:
    """The twin's logits, computed once for all paths that ask under the same key."""
    c = weights.config
    if key not in _truths:
        _truths[key] = np.array(
            [
                twin.logits(
                    weights.tensors,
                    part,
                    n_layers=c.n_layers,
                    n_heads=c.n_heads,
                    feed_forward=c.feed_forward,
                    eps=c.layer_norm_eps,
                )[0]
                for part in parts
            ]
        )
    return _truths[key]


@pytest.mark.parametrize("config", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_every_path_and_geometry_agrees_with_the_slow_twin(path: Kernels, config: ModelConfig) -> None:
    weights = random_weights(config, seed=3)
    parts = sequences([7, 1, 2, 40, 300, 13, 64, 33])
    engine = path.engine(weights, threads=2)
    expected = truth(repr(config), weights, parts)
    assert report(engine.path, engine.score(*pack(parts)), expected) < path.tolerance * expected.std()


def test_every_length_agrees_with_the_slow_twin(path: Kernels, weights: Weights) -> None:
    lengths = [*range(1, 50), *range(50, 300, 31), 255, 256, 257, 287, 288, 289, 511, 512, 513, 1100]
    parts = sequences(lengths, seed=2)
    expected = truth("lengths", weights, parts)
    logits = path.engine(weights).score(*pack(parts))
    assert report(f"{path.mode} {path.isa}", logits, expected) < path.tolerance * expected.std()


def sharp(factor: float, heads: int = 2) -> Weights:
    """Weights whose scores before ALiBi are ``factor`` squared times larger."""
    config = ModelConfig(
        vocab_size=150, hidden_size=64, n_layers=2, n_heads=heads, intermediate_size=64, max_length=8192
    )
    weights = random_weights(config, seed=4)
    tensors = dict(weights.tensors)
    for name, tensor in weights.tensors.items():
        if ".query." in name or ".key." in name:
            tensors[name] = tensor * np.float32(factor)
    return replace(weights, tensors=tensors)


@pytest.mark.parametrize("factor", [0.1, 1.0, 3.0, 8.0])
def test_long_sequences_lose_nothing_by_leaving_out_distant_keys(path: Kernels, factor: float) -> None:
    if path.isa == "portable":
        pytest.skip("slow; the same source as the others")
    weights = sharp(factor)
    parts = sequences([900, 1500, 700], seed=6)
    expected = truth(f"factor {factor}", weights, parts)
    logits = path.engine(weights).score(*pack(parts))
    wider = {3.0: 2, 8.0: 20}.get(factor, 1)  # scores of tens and hundreds make any rounding count
    assert report(f"{path.mode}, factor {factor}", logits, expected) < wider * path.tolerance * expected.std()


def test_scores_beyond_the_range_of_floats_stay_finite(path: Kernels) -> None:
    logits = path.engine(sharp(300.0)).score(*pack(sequences([300, 5, 40])))
    assert np.isfinite(logits).all()


@pytest.mark.slow
def test_8192_tokens_agree_with_the_slow_twin(path: Kernels) -> None:
    weights = sharp(1.0, heads=1)
    parts = sequences([8192, 4096], seed=7)
    logits = path.engine(weights).score(*pack(parts))
    assert report(path.mode, logits, truth("8192", weights, parts)) < path.tolerance


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=14),
    group_tokens=st.integers(1, 400),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_nothing_but_the_sequence_changes_a_bit_of_its_logit(  # noqa: PLR0917 - hypothesis names them
    path: Kernels, weights: Weights, lengths: list[int], group_tokens: int, threads: int, seed: int
) -> None:
    parts = sequences(lengths, seed=seed)
    plain = path.engine(weights)
    together = plain.score(*pack(parts))
    alone = [plain.score(*pack([part]))[0] for part in parts]
    np.testing.assert_array_equal(together, alone)
    order = np.random.default_rng(seed).permutation(len(parts))
    other = path.engine(weights, threads=threads, group_tokens=group_tokens)
    np.testing.assert_array_equal(other.score(*pack([parts[i] for i in order])), together[order])
    other.close()


def test_long_neighbours_change_no_bit_either(path: Kernels, weights: Weights) -> None:
    parts = sequences([1, 1200, 30, 700, 257], seed=9)
    engine = path.engine(weights, threads=2)
    alone = [engine.score(*pack([part]))[0] for part in parts]
    np.testing.assert_array_equal(engine.score(*pack(parts[::-1])), alone[::-1])


def test_int8_weights_give_the_same_bits_from_either_form_of_folder(
    make_model: Callable[..., Path],
) -> None:
    parts = sequences([30, 5, 80])
    logits = [
        native.load(make_model(MODEL, int8=int8), threads=1).score(*pack(parts)) for int8 in (False, True)
    ]
    np.testing.assert_array_equal(*logits)


def test_instruction_sets_differ_by_rounding_only(weights: Weights) -> None:
    parts = sequences([30, 5, 80, 200])
    results = [
        native.NativeEngine(weights, threads=1, mode="int8", isa=isa, attention="fp32").score(*pack(parts))
        for isa in ("portable", native._native.best_isa().partition("+")[0])
    ]
    assert report("portable against the best", *results) < 0.02


@pytest.mark.parametrize("name", ["heads of 64", "heads of 32", "width 768"])
def test_tiles_of_bytes_give_the_sums_of_vectors_bit_for_bit(name: str) -> None:
    weights = random_weights(GEOMETRIES[name], seed=5)
    batch = pack(sequences([1, 16, 17, 32, 33, 72, 73, 300]))
    try:
        engines = [native.NativeEngine(weights, isa=isa, attention="fp32") for isa in ("amx", "avx512")]
    except EngineError as error:
        pytest.skip(str(error))
    np.testing.assert_array_equal(*(engine.score(*batch) for engine in engines))


def test_several_callers_get_their_own_logits_bit_for_bit(weights: Weights) -> None:
    engine = native.NativeEngine(weights, threads=2)
    batches = [sequences([20 + i, 5, 60], seed=i) for i in range(6)]
    expected = [engine.score(*pack(batch)) for batch in batches]
    results: list[list[Logits]] = [[] for _ in batches]

    def call(i: int) -> None:
        for _ in range(20):
            results[i].append(engine.score(*pack(batches[i])))

    callers = [threading.Thread(target=call, args=(i,)) for i in range(len(batches))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for i, logits in enumerate(results):
        np.testing.assert_array_equal(logits, np.broadcast_to(expected[i], (20, 3)))


def test_closing_during_calls_gives_logits_or_a_clear_error(weights: Weights) -> None:
    engine = native.NativeEngine(weights, threads=2)
    batch = pack(sequences([50, 60, 70]))
    expected = engine.score(*batch)
    seen: list[str] = []

    def call() -> None:
        for _ in range(50):
            try:
                np.testing.assert_array_equal(engine.score(*batch), expected)
            except EngineError as error:
                seen.append(str(error))
                return

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    engine.close()
    for caller in callers:
        caller.join()
    assert all("closed" in message for message in seen)


def test_memory_does_not_grow_with_the_number_of_documents(weights: Weights) -> None:
    engine = native.NativeEngine(weights, threads=2, group_tokens=1024)
    engine.score(*pack(sequences([100] * 20)))
    before = engine.buffer_bytes
    engine.score(*pack(sequences([100, 3, 40] * 100)))
    assert engine.buffer_bytes == before
    engine.close()
    assert engine.buffer_bytes == 0


values = st.sampled_from([np.int32, np.int64, np.float32, np.uint8, np.int8])
shapes = npst.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=6)
arrays = values.flatmap(lambda dtype: npst.arrays(dtype, shapes, elements={"max_value": 127, "min_value": 0}))
numbers = npst.arrays(np.int32, st.integers(0, 8), elements=st.integers(-3, 210))


@settings(max_examples=200, deadline=None)
@given(ids=arrays | numbers, cu_seqlens=arrays | numbers)
def test_any_input_gives_logits_or_an_input_error(ids: NDArray[Any], cu_seqlens: NDArray[Any]) -> None:
    engine = _shared()
    try:
        logits = engine.score(ids, cu_seqlens)
    except InputError:
        return
    assert logits.shape == (len(cu_seqlens) - 1,)
    assert np.isfinite(logits).all()


@settings(max_examples=200, deadline=None)
@given(ids=arrays | numbers, cu_seqlens=arrays | numbers, out=st.integers(0, 4))
def test_the_compiled_part_checks_for_itself(ids: NDArray[Any], cu_seqlens: NDArray[Any], out: int) -> None:
    logits = np.full(out, np.nan, np.float32)
    try:
        _shared()._engine.score(ids, cu_seqlens, logits)
    except (TypeError, ValueError):
        return
    assert np.isfinite(logits).all()


_kept: list[Any] = []


def _shared() -> Any:
    if not _kept:
        _kept.append(native.NativeEngine(random_weights(replace(MODEL, max_length=5)), threads=1))
    return _kept[0]


def test_8192_tokens_are_read_and_one_more_is_refused_by_both_sides() -> None:
    engine = native.NativeEngine(random_weights(replace(MODEL, max_length=8192)), threads=1)
    ids, cu = pack(sequences([8193]))
    with pytest.raises(TooLongError, match="8193 tokens"):
        engine.score(ids, cu)
    with pytest.raises(ValueError, match="8193 tokens"):
        engine._engine.score(ids, cu, np.empty(1, np.float32))
    assert np.isfinite(engine.score(ids[:8192], np.array([0, 8192], np.int32))).all()


@pytest.mark.parametrize("mode", ["int8", "fp32"])
def test_the_peak_is_a_speed_that_two_runs_agree_on(mode: Any) -> None:
    one, two = (native.peak_ops(mode, threads=1, seconds=0.02) for _ in range(2))
    assert one > 1e8
    assert 0.02 < one / two < 50


def test_a_peak_that_cannot_be_measured_is_refused() -> None:
    with pytest.raises(EngineError, match="bf16 products need"):
        native.peak_ops("bf16", isa="portable", seconds=0.01)
    with pytest.raises(EngineError, match="seconds"):
        native.peak_ops("int8", seconds=-1.0)


def test_another_machines_instructions_are_refused(weights: Weights) -> None:
    foreign = "avx2" if native._native.best_isa() in ("neon", "portable") else "neon"
    with pytest.raises(EngineError, match="lacks the instruction set"):
        native.NativeEngine(weights, isa=foreign)


def test_strided_arrays_are_read_right(weights: Weights) -> None:
    engine = native.NativeEngine(weights, threads=1)
    ids, cu = pack(sequences([30, 20]))
    spread = np.zeros(2 * len(ids), np.int32)
    spread[::2] = ids
    np.testing.assert_array_equal(engine.score(spread[::2], cu), engine.score(ids, cu))


@pytest.mark.parametrize(
    "options",
    [{"mode": "int4"}, {"isa": "sse"}, {"attention": "fp8"}, {"group_tokens": 0}, {"threads": 0}],
    ids=lambda options: next(iter(options)),
)
def test_unknown_settings_are_refused(weights: Weights, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        native.NativeEngine(weights, **options)


def test_combinations_that_do_not_exist_are_refused(weights: Weights) -> None:
    with pytest.raises(EngineError, match="bf16 products need"):
        native.NativeEngine(weights, mode="bf16", isa="portable")


FORK = """
import os, sys
import numpy as np
from tinyrerank.engine.native import load
engine = load(sys.argv[1], threads=2, mode="fp32")
ids, cu = np.arange(100, dtype=np.int32), np.array([0, 60, 100], np.int32)
before = engine.score(ids, cu)
child = os.fork()
if child == 0:
    os._exit(0 if (engine.score(ids, cu) == before).all() else 3)
idle = os.fork()
if idle == 0:
    del engine  # must not wait for threads that only the parent has
    sys.exit(0)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in (child, idle)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_starts_its_own_threads(tiny_folder: Path) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, str(tiny_folder)]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0  # noqa: S603 - our own code
