"""The documentation builds, loads nothing from elsewhere, and its code blocks run.

A page's blocks run from top to bottom, Python in one namespace, in a folder that looks like the repository;
those that ask a server are put to a real one. A block that cannot run here stands under
``<!-- not run: REASON -->``, and the built page shows the reason. Pages that are not in ``CHECKED`` are not
run: add one when its blocks can.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from live_server import live_server
from tinyrerank.errors import ModelError
from tinyrerank.model.hub import default_folder

ROOT = Path(__file__).parents[2]
CHECKED = (
    "index.md",
    "quickstart.md",
    "concepts.md",
    "comparing.md",
    "training.md",
    "faq.md",
    "examples.md",
    "cli.md",
    "evaluation.md",
)
_FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<language>\w*)\n(?P<code>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL
)
_MARK = re.compile(r"<!-- not run: (.+?) -->\s*\Z")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    where: str
    language: str
    code: str
    not_run: str | None


def blocks_of(path: Path) -> list[Block]:
    """Python and shell blocks, in order, each with the reason why it is not run, if there is one."""
    text = path.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        if fence["language"] in ("python", "bash", "sh"):
            mark = _MARK.search(text[: fence.start()])
            line = text.count("\n", 0, fence.start()) + 1
            reason = mark[1] if mark else None
            found.append(Block(f"{path.name}:{line}", fence["language"], fence["code"], reason))
    return found


def no_model() -> bool:
    try:
        default_folder()
    except ModelError:
        return True
    return False


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples, two test sets under the names that pages use, our command on the path."""
    from runpy import run_path

    for name in ("examples", "benchmarks", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    make_set = run_path(str(ROOT / "examples" / "make_set.py"))["main"]
    for name in ("nfcorpus", "cacm"):
        monkeypatch.setattr(sys, "argv", ["make_set.py", str(tmp_path / "data" / name)])
        make_set()
        listed = [f"q{n:02} Q0 d{n} 1 1.0 bm25\n" for n in range(1, 6)]
        (tmp_path / "data" / name / "runs").mkdir()
        (tmp_path / "data" / name / "runs" / "bm25.trec").write_text("".join(listed))
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, command in (("tinyrerank", "-m tinyrerank"), ("python", ""), ("python3", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {command} "$@"\n')
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_block(block: Block, names: dict[str, Any], folder: Path) -> None:
    if block.language == "python":
        exec(compile(block.code, block.where, "exec"), names)  # noqa: S102 - the page's own code
        return
    shell = subprocess.run(  # noqa: S603 - the page's own commands
        ["/bin/bash", "-euo", "pipefail", "-c", block.code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shell.returncode == 0, f"{block.where}: exit code {shell.returncode}: {shell.stderr[-600:]}"


@pytest.mark.skipif(no_model(), reason="no weights embedded in this checkout")
@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="the pages' commands are for bash")
@pytest.mark.parametrize("page", CHECKED)
def test_the_blocks_of_a_page_run_from_top_to_bottom(page: str, desk: Path) -> None:
    pytest.importorskip("bm25s", reason="the extra eval is not installed")
    pytest.importorskip("ir_measures", reason="the extra eval is not installed")
    names: dict[str, Any] = {"__name__": "__page__"}
    for block in blocks_of(ROOT / "docs" / page):
        if block.not_run is None and block.language != "sh" and not asks_server(block):
            run_block(block, names, desk)


@pytest.mark.skipif(no_model(), reason="no weights embedded in this checkout")
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_what_pages_ask_of_a_server_is_answered(desk: Path) -> None:
    """Every block of every page that starts with a request to the server's usual address."""
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    asking = [b for page in sorted((ROOT / "docs").rglob("*.md")) for b in blocks_of(page) if asks_server(b)]
    assert asking
    with live_server() as address:
        for block in asking:
            code = block.code.replace("http://127.0.0.1:8080", address).replace("curl ", "curl -sSf ")
            run_block(Block(block.where, "bash", code, None), {}, desk)


def asks_server(block: Block) -> bool:
    return block.not_run is None and block.code.startswith("curl http://127.0.0.1:8080")


@pytest.mark.skipif(no_model(), reason="no weights embedded in this checkout")
def test_the_main_job_and_the_python_of_the_readme_run(desk: Path) -> None:
    blocks = blocks_of(ROOT / "README.md")
    main_job, tests = [block for block in blocks if block.language == "bash"][:2]
    install, _, ranking = main_job.code.partition(" && ")
    assert install == "python3 -m pip install ."
    assert tests.code == "python3 -m pip install -e '.[dev]' && python3 -m pytest -q\n"
    run_block(Block(main_job.where, "bash", ranking, None), {}, desk)
    python = [block for block in blocks if block.language == "python"]
    assert python
    names: dict[str, Any] = {"__name__": "__page__"}
    for block in python:
        run_block(block, names, desk)


def test_a_block_is_found_with_its_line_and_its_reason(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# x\n\n```python\na = 1\n```\n\n<!-- not run: no server -->\n```bash\ncurl\n```\n```text\nx\n```\n"
    )
    assert blocks_of(page) == [
        Block("page.md:3", "python", "a = 1\n", None),
        Block("page.md:8", "bash", "curl\n", "no server"),
    ]


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    assert len(targets) > 10
    assert [target for target in targets if not (ROOT / target).exists()] == []


class Outside(HTMLParser):
    """What a page would load from another place than its own folder."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        loaded = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        if loaded and re.match(r"(\w+:)?//", loaded):
            self.found.append(loaded)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    needed = ("mkdocs", "material", "mkdocstrings", "griffe")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"the extra docs is not installed: no {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(  # noqa: S603 - this very interpreter
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        parser = Outside()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.found == [], page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", style.read_text(encoding="utf-8")), style.name


def test_help_sources_and_reasons_stand_on_the_pages(site: Path) -> None:
    assert "usage: tinyrerank rank" in (site / "cli.html").read_text(encoding="utf-8")
    assert "Print the best sections, best first." in (site / "examples.html").read_text(encoding="utf-8")
    assert "Not run by the tests: a server runs until it is stopped." in (site / "quickstart.html").read_text(
        "utf-8"
    )
    faq = (site / "faq.html").read_text(encoding="utf-8")
    assert "<code>examples/thresholds.py</code>" in faq
    assert 'href="../' not in faq


def test_every_page_can_be_reached_from_the_first(site: Path) -> None:
    linked = set(re.findall(r'href="([^"#:]+\.html)', (site / "index.html").read_text(encoding="utf-8")))
    pages = {str(page.relative_to(site)) for page in site.rglob("*.html")} - {"404.html"}
    assert {page for page in pages if not page.startswith("results/")} <= linked
