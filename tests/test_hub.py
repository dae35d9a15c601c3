"""Where a model comes from; the hub is played by a stand-in module, so that no test needs a network."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tinyrerank.errors import InputError, MissingExtraError, ModelError
from tinyrerank.model import hub
from tinyrerank.model.hub import HUB_FILES, default_folder, resolve_model


class StandIn(ModuleType):
    """``huggingface_hub`` as far as it is used here."""

    def __init__(self, answer: Path | Exception) -> None:
        super().__init__("huggingface_hub")
        self.answer = answer
        self.calls: list[dict[str, Any]] = []

    def snapshot_download(self, **arguments: Any) -> str:
        self.calls.append(arguments)
        if isinstance(self.answer, Exception):
            raise self.answer
        return str(self.answer)


@pytest.fixture(autouse=True)
def empty_working_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_model_in_the_package_has_a_name_that_a_folder_may_take(empty_working_folder: Path) -> None:
    assert resolve_model(None) == resolve_model("tiny-en") == default_folder()
    with pytest.raises(InputError, match="revision 'main' is for hub models"):
        resolve_model("tiny-en", revision="main")
    (empty_working_folder / "tiny-en").mkdir()
    assert resolve_model("tiny-en") == Path("tiny-en")


def test_a_hub_name_fetches_three_files_and_no_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = StandIn(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert resolve_model("owner/some-model", revision="abc123") == tmp_path
    assert hub.calls == [
        {"repo_id": "owner/some-model", "revision": "abc123", "allow_patterns": list(HUB_FILES)}
    ]
    assert set(HUB_FILES) == {"config.json", "tokenizer.json", "model.safetensors"}


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"'owner/model' is not a folder here.*tinyrerank\[hub\]"):
        resolve_model("owner/model")


def test_a_failed_download_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", StandIn(ConnectionError("secret host")))
    with pytest.raises(ModelError, match=r"owner/model: .*\(ConnectionError\)") as caught:
        resolve_model("owner/model")
    assert "secret" not in str(caught.value)


def test_a_folder_wins_over_a_hub_name_spelled_alike(
    monkeypatch: pytest.MonkeyPatch, empty_working_folder: Path
) -> None:
    hub = StandIn(RuntimeError())
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    (empty_working_folder / "owner" / "model").mkdir(parents=True)
    assert resolve_model("owner/model") == Path("owner/model")
    assert hub.calls == []


@pytest.mark.parametrize(
    "model", ["nowhere", "./owner/model", "../model", "/no/such", "a/b/c", "a b/c", Path("a/b")]
)
def test_a_missing_folder_never_asks_the_hub(monkeypatch: pytest.MonkeyPatch, model: str | Path) -> None:
    hub = StandIn(RuntimeError())
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(ModelError, match="no such folder; give a model folder, 'owner/name' on the hub"):
        resolve_model(model)
    assert hub.calls == []


@pytest.mark.parametrize("model", [None, "."])
def test_a_revision_is_never_ignored(model: str | None) -> None:
    with pytest.raises(InputError, match="revision 'v1' is for hub models"):
        resolve_model(model, revision="v1")


def test_an_empty_name_is_not_the_working_folder() -> None:
    with pytest.raises(InputError, match="model is empty"):
        resolve_model("")


def test_a_model_of_another_type_is_refused() -> None:
    with pytest.raises(InputError, match="model is of type int"):
        resolve_model(3)  # type: ignore[arg-type]  # on purpose


def test_the_default_model_lies_in_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "__file__", str(tmp_path / "model" / "hub.py"))
    folder = tmp_path / "weights" / "tiny-en"
    folder.mkdir(parents=True)
    (folder / "config.json").touch()
    with pytest.raises(ModelError, match=r"lacks tokenizer.json, model.safetensors\).* name a model"):
        default_folder()
    for name in HUB_FILES:
        (folder / name).touch()
    assert resolve_model(None) == folder
