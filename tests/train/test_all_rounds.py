"""The one command for the shipped weights: its rounds in order, each where the next one starts, resumable."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes/tiny-en"
MATERIALS = ("all-MiniLM-L6-v2", "multilingual-e5-small", "all-mpnet-base-v2", "bge-small-en-v1.5")
TEXTS = tuple(
    f"{name}.jsonl.gz" for name in ("arxiv-abstracts", "fields", "fields-abstracts", "bmc-abstracts")
)
#: Instead of training: writes down what it was asked for, and leaves a model folder; fails where told to.
STUB = """#!/bin/sh
echo "$*" >> "$LOG"
case "$2" in *"$FAILS"*) exit 3 ;; esac
mkdir -p "$6" && echo "$2" > "$6/manifest.json"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stub = tmp_path / "bin/tinyrerank"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    made = tmp_path / "made"
    for name in MATERIALS:
        (made / name).mkdir(parents=True)
    for name in TEXTS:
        (made / name).write_bytes(b"")
    return made


def run(
    folder: Path, *options: str, fails: str = "nothing", data: str | None = "."
) -> tuple[int, str, list[str]]:
    log = folder / "log"
    log.unlink(missing_ok=True)
    env = {
        **os.environ,
        "PATH": f"{folder.parent / 'bin'}:{os.environ['PATH']}",
        "LOG": str(log),
        "FAILS": fails,
    }
    env.pop("TINYRERANK_DATA", None)
    if data:
        env["TINYRERANK_DATA"] = data
    done = subprocess.run(  # noqa: S603
        [RECIPES / "all.sh", folder, *options], env=env, check=False, capture_output=True, text=True
    )
    return done.returncode, done.stderr, log.read_text().splitlines() if log.exists() else []


def test_every_round_starts_where_the_one_before_it_ended(folder: Path) -> None:
    code, _, calls = run(folder, "--trial")
    assert code == 0
    assert all(call.endswith(" --trial") for call in calls)
    words = [call.split() for call in calls]
    recipes = [tomllib.loads(Path(call[1]).read_text()) for call in words]
    assert "start" not in recipes[0]
    assert [recipe["start"] for recipe in recipes[1:]] == [call[5] for call in words[:-1]]
    assert (folder / "tiny-en/manifest.json").read_text() == words[-1][1] + "\n"


def test_it_goes_on_where_it_stopped(folder: Path) -> None:
    code, _, before = run(folder, fails="cross.toml")
    assert code == 3
    assert not (folder / "tiny-en").exists()
    code, _, after = run(folder)
    assert code == 0
    assert (
        after[: len(before)] == before
    )  # each looks for itself what is done, and whether it is this recipe's


def test_without_data_it_says_what_is_missing(folder: Path) -> None:
    code, said, calls = run(folder, data=None)
    assert code
    assert "TINYRERANK_DATA: names no data folder: export TINYRERANK_DATA=..." in said
    assert calls == []
