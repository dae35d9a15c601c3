"""Who may import whom, how light the front door is, and what the package carries."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tinyrerank
from tinyrerank.model.hub import HUB_FILES

PACKAGE = Path(tinyrerank.__file__).parent
LEAVES = {"types", "errors", "progress"}
# The table of rooms in CONTRIBUTING.md. Every room may import itself, types and errors.
MAY_IMPORT = {
    "types": set[str](),
    "errors": set[str](),
    "progress": set[str](),
    "fusion": set[str](),
    "text": set[str](),
    "model": set[str](),
    "engine": {"model"},
    "reranker": {"text", "engine", "model"},
    "evaluate": {
        "reranker",
        "fusion",
        "model",
        "engine",
    },  # the cosine baseline reads safetensors; compare opens modes
    "bench": {"text", "engine", "model", "reranker"},
    "train": {"model", "text", "evaluate"},
    "serve": {"reranker", "fusion", "text", "engine"},  # it batches encoded pairs, divides CPUs among workers
    "integrations": {"reranker", "fusion"},
}
FRONT_DOOR = {"Reranker": "reranker", "__version__": "types", "fuse_with_list": "fusion"}
PUBLIC_TYPES = set(tinyrerank.__all__) - FRONT_DOOR.keys()
FREE = {"__init__", "__main__", "cli"}  # the front door and the command line see everything


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    rooms = {name.split(".")[1] for name in names if name.startswith("tinyrerank.")}
    # Names of the front door stand for the room that they come from.
    return {FRONT_DOOR.get(room, room) for room in rooms - PUBLIC_TYPES}


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=str(path.relative_to(PACKAGE))) for path in sorted(PACKAGE.rglob("*.py"))],
)
def test_imports_go_in_the_direction_of_the_table(path: Path) -> None:
    room = room_of(path)
    if room in FREE:
        return
    allowed = MAY_IMPORT[room] | {room} | (LEAVES if room not in LEAVES else set())
    assert imported_rooms(path.read_text(encoding="utf-8")) <= allowed


def test_the_direction_test_sees_every_form_of_import() -> None:
    source = (
        "import numpy, tinyrerank.cli.rank\nfrom tinyrerank.serve import app\n"
        "from tinyrerank import Reranker, Hit\ndef f():\n    from tinyrerank import train\n"
    )
    assert imported_rooms(source) == {"cli", "serve", "train", "reranker"}


def test_importing_the_package_or_its_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys, tinyrerank, tinyrerank.cli; tinyrerank.cli.build_parser();"
        "print(*{'numpy', 'torch', 'onnxruntime', 'onnx', 'tokenizers', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == ""


def test_every_public_name_is_there_and_no_other() -> None:
    assert list(tinyrerank.__all__) == sorted(tinyrerank.__all__)
    public = {name for name in vars(tinyrerank) if not name.startswith("_")} | {"Reranker", "__version__"}
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")}
    assert public - rooms - {"annotations", "TYPE_CHECKING", "Any"} == set(tinyrerank.__all__)
    for name in tinyrerank.__all__:
        assert getattr(tinyrerank, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = tinyrerank.nonsense


@pytest.mark.skipif(
    not (PACKAGE / "weights" / "tiny-en").exists(), reason="no weights embedded in this checkout"
)
def test_the_package_carries_a_whole_model() -> None:
    folder = PACKAGE / "weights" / "tiny-en"
    missing = [name for name in (*HUB_FILES, "README.md", "manifest.json") if not (folder / name).is_file()]
    assert missing == []
