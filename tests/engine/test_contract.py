"""The engine contract, held by every engine that works here: logits depend on the sequence alone."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from packed import MODEL, pack, report, sequences, truth

from conftest import random_weights
from tinyrerank.engine import ENGINES, Engine, available_engines, load_engine
from tinyrerank.errors import EngineError, InputError, ModelError, TooLongError
from tinyrerank.model.config import ModelConfig

GEOMETRIES = {
    "geglu": MODEL,
    "reglu": replace(MODEL, feed_forward="reglu"),
    "original": replace(MODEL, feed_forward="original"),
    "12 heads, 3 layers": ModelConfig(
        vocab_size=150, hidden_size=48, n_layers=3, n_heads=12, intermediate_size=40
    ),
    "one layer": replace(MODEL, n_layers=1),
}
#: Largest difference to the float64 twin, by engine and mode, where the mode does not round.
EXACT = 1e-5
WORKING = {status.name: status for status in available_engines()}
LENGTHS = [7, 1, 2, 40, 300, 13]


@dataclass(frozen=True)
class Exact:
    """The most exact setting of one engine."""

    name: str
    options: dict[str, Any]


SETTINGS = [
    pytest.param(
        Exact(name, {"mode": "fp32"} if name != "torch" else {}),
        id=name,
        marks=pytest.mark.skipif(not WORKING[name].works, reason=WORKING[name].detail),
    )
    for name in ENGINES
]


@pytest.fixture(scope="module", params=SETTINGS)
def exact(request: pytest.FixtureRequest) -> Exact:
    setting: Exact = request.param
    return setting


@pytest.fixture(scope="module")
def folder(make_model: Callable[..., Path]) -> Path:
    return make_model(MODEL)


@pytest.fixture(scope="module")
def engine(exact: Exact, folder: Path) -> Iterator[Engine]:
    engine = load_engine(folder, exact.name, threads=1, **exact.options)
    yield engine
    engine.close()


def test_it_meets_the_protocol(engine: Engine, exact: Exact) -> None:
    assert isinstance(engine, Engine)
    assert (engine.name, engine.max_length) == (exact.name, MODEL.max_length)


@pytest.mark.parametrize("int8", [False, True], ids=["fp32 folder", "int8 folder"])
@pytest.mark.parametrize("config", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_logits_agree_with_the_slow_twin(
    exact: Exact, config: ModelConfig, int8: bool, make_model: Callable[..., Path]
) -> None:
    folder = make_model(config, seed=3, int8=int8)
    parts = sequences(LENGTHS, config.vocab_size)
    engine = load_engine(folder, exact.name, threads=1, **exact.options)
    logits = engine.score(*pack(parts))
    engine.close()
    assert logits.dtype == np.float32
    assert report(exact.name, logits, truth(folder, parts)) < EXACT


def test_a_long_sequence_agrees_with_the_slow_twin(engine: Engine, folder: Path) -> None:
    parts = sequences([1100, 30], seed=1)
    assert report(engine.name, engine.score(*pack(parts)), truth(folder, parts)) < EXACT


def test_half_precision_weights_agree_with_the_slow_twin(exact: Exact, tmp_path: Path) -> None:
    weights = random_weights(MODEL, seed=5)
    halves = {name: array.astype(np.float16) for name, array in weights.tensors.items()}
    replace(weights, tensors=halves).save(tmp_path)
    parts = sequences([30, 5])
    engine = load_engine(tmp_path, exact.name, threads=1, **exact.options)
    assert report(exact.name, engine.score(*pack(parts)), truth(tmp_path, parts)) < EXACT


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, 80), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_order_and_neighbours_change_no_logit(engine: Engine, lengths: list[int], seed: int) -> None:
    parts = sequences(lengths, seed=seed)
    together = engine.score(*pack(parts))
    order = np.random.default_rng(seed).permutation(len(parts))
    np.testing.assert_allclose(engine.score(*pack([parts[i] for i in order])), together[order], atol=EXACT)
    alone = np.array([engine.score(*pack([part]))[0] for part in parts])
    np.testing.assert_allclose(alone, together, atol=EXACT)


def test_more_than_one_group_changes_no_logit(engine: Engine) -> None:
    parts = sequences([400, 3, 900, 50] * 6)
    logits = engine.score(*pack(parts))
    alone = np.array([engine.score(*pack([part]))[0] for part in parts])
    assert report(engine.name, logits, alone) < EXACT


def test_equal_sequences_tie(engine: Engine) -> None:
    part = sequences([25])[0]
    logits = engine.score(*pack([part, sequences([60], seed=1)[0], part]))
    assert logits[0] == logits[2]


def test_no_sequences_give_no_logits(engine: Engine) -> None:
    assert engine.score(*pack([])).shape == (0,)


def test_bad_input_is_refused_and_the_engine_goes_on(engine: Engine) -> None:
    good = pack(sequences([5]))
    with pytest.raises(InputError, match="sequence 1 holds token id 200"):
        engine.score(np.array([1, 2, 200], np.int32), np.array([0, 2, 3], np.int32))
    with pytest.raises(InputError, match="int32"):
        engine.score(good[0].astype(np.int64), good[1])
    with pytest.raises(InputError, match="sequence 0 has 0 tokens"):
        engine.score(good[0], np.array([0, 0, 5], np.int32))
    with pytest.raises(TooLongError, match=f"at most {MODEL.max_length}"):
        engine.score(*pack(sequences([MODEL.max_length + 1])))
    assert np.isfinite(engine.score(*good)).all()


def test_a_closed_engine_says_so(exact: Exact, folder: Path) -> None:
    engine = load_engine(folder, exact.name, threads=1, **exact.options)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.score(*pack(sequences([5])))


def test_several_callers_get_their_own_logits(engine: Engine) -> None:
    batches = [sequences([20 + i, 5, 60], seed=i) for i in range(6)]
    expected = [engine.score(*pack(batch)) for batch in batches]
    results: list[list[NDArray[np.float32]]] = [[] for _ in batches]

    def call(i: int) -> None:
        for _ in range(5):
            results[i].append(engine.score(*pack(batches[i])))

    callers = [threading.Thread(target=call, args=(i,)) for i in range(len(batches))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for i, logits in enumerate(results):
        assert len(logits) == 5
        np.testing.assert_allclose(logits, np.broadcast_to(expected[i], (5, 3)), atol=EXACT)


def test_two_threads_give_the_logits_of_one(engine: Engine, exact: Exact, folder: Path) -> None:
    parts = sequences(LENGTHS)
    two = load_engine(folder, exact.name, threads=2, **exact.options)
    assert report(exact.name, two.score(*pack(parts)), engine.score(*pack(parts))) < EXACT
    two.close()


GROWTH = """
import sys
import numpy as np
from tinyrerank.engine import load_engine
def peak():  # not ru_maxrss, which a child inherits from its parent
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
engine = load_engine(sys.argv[1], sys.argv[2], threads=1)
engine.score(np.arange(64, dtype=np.int32), np.array([0, 64], np.int32))
before = peak()
engine.score(np.arange(8192, dtype=np.int32) % 150, np.array([0, 8192], np.int32))
print((peak() - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_8192_tokens_never_hold_a_dense_bias(exact: Exact, make_model: Callable[..., Path]) -> None:
    folder = make_model(replace(MODEL, max_length=8192))  # 4 heads x 8192 x 8192 floats are 1024 MB
    command = [sys.executable, "-c", GROWTH, str(folder), exact.name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    print(f"{exact.name}: {done.stdout.strip()} MB more at 8192 tokens")  # noqa: T201 - shown with pytest -s
    assert int(done.stdout) < 400


def test_a_model_with_two_labels_is_refused(exact: Exact, make_model: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match="2 labels"):
        load_engine(make_model(n_labels=2), exact.name, **exact.options)
