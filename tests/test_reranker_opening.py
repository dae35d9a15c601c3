"""A reranker is made and closed: its engine, its settings, and folders that are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY
from stub_engines import DOCUMENTS, ENGINE, QUERY, TwinEngine
from tinyrerank import Reranker
from tinyrerank.engine.base import Engine
from tinyrerank.errors import InputError, ModelError


def test_closing_frees_the_engine_that_it_opened(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> None:
    engine = TwinEngine()
    calls = []

    def load_engine(folder: Path, name: str = "auto", *, threads: int | None = None) -> Engine:
        calls.append((folder, name, threads))
        return engine

    monkeypatch.setattr("tinyrerank.engine.load_engine", load_engine)
    with Reranker(tiny_folder, engine="torch", threads=1) as reranker:
        assert repr(reranker).endswith("engine='twin', max_length=512, policy='truncate')")
        assert not engine.closed
    assert calls == [(tiny_folder, "torch", 1)]
    assert engine.closed
    with pytest.raises(InputError, match="closed; make a new one"):
        reranker.rank(QUERY, DOCUMENTS)
    reranker.close()


def test_bad_settings_close_the_engine_that_was_opened(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path
) -> None:
    engine = TwinEngine()
    monkeypatch.setattr("tinyrerank.engine.load_engine", lambda *_, **__: engine)
    with pytest.raises(InputError, match="this model reads at most 512 tokens"):
        Reranker(tiny_folder, max_length=513)
    assert engine.closed


def test_a_ready_engine_stays_open(tiny_folder: Path) -> None:
    engine = TwinEngine()
    Reranker(tiny_folder, engine=engine).close()
    assert not engine.closed
    with pytest.raises(InputError, match="threads=2"):
        Reranker(tiny_folder, engine=engine, threads=2)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_length": 0},
        {"max_length": 4},
        {"max_length": "512"},
        {"policy": "cut"},
        {"overlap_tokens": -1},
        {"query_window": -1},
        {"chunk_documents": 0},
    ],
)
def test_settings_are_checked_when_the_reranker_is_made(tiny_folder: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        Reranker(tiny_folder, engine=ENGINE, **settings)


def test_a_model_with_two_labels_is_not_a_reranker(make_model: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match="2 labels; a reranker needs exactly one"):
        Reranker(make_model(n_labels=2), engine=ENGINE)


def test_a_tokenizer_of_another_model_is_refused(make_model: Callable[..., Path], tiny_folder: Path) -> None:
    folder = make_model(replace(TINY, vocab_size=100))
    (folder / "tokenizer.json").write_bytes((tiny_folder / "tokenizer.json").read_bytes())
    with pytest.raises(ModelError, match="the two do not belong together"):
        Reranker(folder, engine=ENGINE)


def test_a_device_is_for_engines_that_know_devices(tiny_folder: Path) -> None:
    with Reranker(tiny_folder, device="cpu") as reranker:
        assert reranker.engine.name == "torch"
    with pytest.raises(InputError, match="device"):
        Reranker(tiny_folder, engine="onnx", device="cpu")
    with Reranker(tiny_folder) as reranker, pytest.raises(InputError, match="device=cpu"):
        Reranker(tiny_folder, engine=reranker.engine, device="cpu")
