"""What the integrations share, and what they say where their framework is absent."""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import sys
from pathlib import Path

import pytest

from tinyrerank import Reranker
from tinyrerank.errors import MissingExtraError, MissingFrameworkError
from tinyrerank.integrations.base import LazyReranker, receipt_of
from tinyrerank.types import sigmoid

FRAMEWORKS = {
    "llama_index": ("llama_index.core.bridge.pydantic", "llama-index"),
    "langchain": ("langchain_core.callbacks", "langchain"),
    "haystack": ("haystack", "haystack"),
    "lancedb": ("pyarrow", "lancedb"),
    "dspy": ("dspy", "dspy"),
    "fastembed": ("fastembed.common.model_description", "fastembed"),
    "rerankers": ("rerankers.documents", "rerankers"),
    "redisvl": ("redisvl.utils.rerank.base", "redisvl"),
    "mcp": ("mcp.server", "mcp"),
}


@pytest.mark.parametrize(("module", "framework", "extra"), [(m, f, e) for m, (f, e) in FRAMEWORKS.items()])
def test_without_its_framework_a_module_names_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, module: str, framework: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, framework, None)  # Python's own way to say: not there
    name = f"tinyrerank.integrations.{module}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(MissingFrameworkError, match=rf"pip install 'tinyrerank\[{extra}\]'") as caught:
        importlib.import_module(name)
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, MissingExtraError)
    assert caught.value.extra == extra


def test_every_integration_has_an_extra_of_its_own() -> None:
    import tomllib

    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    extras = pyproject["project"]["optional-dependencies"]
    assert {extra for _, extra in FRAMEWORKS.values()} <= extras.keys()
    folder = Path(__file__).parents[2] / "src" / "tinyrerank" / "integrations"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "base", "cross_encoder"}
    assert modules == FRAMEWORKS.keys()


def test_equal_settings_share_one_open_reranker_and_other_settings_do_not(tiny_folder: Path) -> None:
    one, two = LazyReranker(str(tiny_folder)), LazyReranker(str(tiny_folder))
    assert one.get() is two.get()
    assert LazyReranker(str(tiny_folder), max_length=64).get() is not one.get()


def test_a_copy_shares_the_reranker_and_a_pickle_opens_its_own(tiny_folder: Path) -> None:
    lazy = LazyReranker(str(tiny_folder), max_length=100)
    assert copy.deepcopy(lazy).get() is copy.copy(lazy).get() is lazy.get()
    assert pickle.loads(pickle.dumps(lazy)).get().max_length == 100  # noqa: S301 - our own bytes
    before = pickle.dumps(LazyReranker(str(tiny_folder)))
    opened = LazyReranker(str(tiny_folder))
    opened.get()
    assert pickle.dumps(opened) == before  # "auto" stays so: the other machine may have another engine
    weighed = LazyReranker(str(tiny_folder), list_weight=1e4)
    again = pickle.loads(pickle.dumps(weighed))  # noqa: S301 - same
    texts = ["bread", "the tide rises", "a tide"]
    assert [hit.index for hit in again.rank("tide", texts)] == [0, 1, 2]
    with Reranker(str(tiny_folder), max_length=60, policy="window") as reranker:
        given = LazyReranker(reranker=reranker)
        assert given.get() is reranker
        restored = pickle.loads(pickle.dumps(given)).get()  # noqa: S301 - same
        assert (restored.folder, restored.max_length, restored.policy) == (reranker.folder, 60, "window")


def test_receipts_are_json_and_the_sigmoid_is_that_of_hits(tiny_folder: Path) -> None:
    ranking = LazyReranker(str(tiny_folder)).rank("tide", ["the tide rises", "bread"])
    receipts = [receipt_of(hit) for hit in ranking]
    assert json.loads(json.dumps(receipts)) == receipts
    assert [sigmoid(hit.logit) for hit in ranking] == [hit.score for hit in ranking]
    assert (sigmoid(800.0), sigmoid(-800.0)) == (1.0, 0.0)
