"""Abstracts drawn from an archive like arXiv: plain text, no duplicates, nothing that was to be left out."""

from __future__ import annotations

import gzip
import json
import lzma
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "recipes/tiny-en/arxiv_abstracts.py"
WORDS = "we show that the flow of water in a pipe is slow near the wall and fast in the middle of it " * 3


def abstract(name: str) -> str:
    return f"About {name}: {WORDS}and this is the end of the abstract on {name}."


def git(folder: Path, *command: str) -> str:
    whole = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder), *command]
    return subprocess.run(whole, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603


@pytest.fixture(scope="module")
def script() -> dict[str, object]:
    return runpy.run_path(str(SCRIPT))


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        (r"G\"odel's \emph{first} theorem \cite{g31}", "Godel's first theorem"),
        (r"a 5\% rise of $\alpha$ , see &amp; cite", "a 5% rise of alpha, see & cite"),
        ("two\n lines``quoted''", 'two lines"quoted"'),
    ],
)
def test_latex_becomes_plain_text(script: dict[str, object], latex: str, plain: str) -> None:
    assert script["plain"](latex) == plain  # type: ignore[operator]


@pytest.mark.parametrize(
    ("title", "text", "fits"),
    [
        ("A good title", abstract("bees"), True),
        ("Short", abstract("bees"), False),
        ("A good title", "too short", False),
        ("A good title", abstract("a coronavirus"), False),
        ("A good title", "x_1 + y_2 = z^3 " * 20, False),
    ],
)
def test_only_english_abstracts_of_some_length_fit(
    script: dict[str, object], title: str, text: str, fits: bool
) -> None:
    assert script["fit"](title, text) is fits  # type: ignore[operator]


def test_the_file_is_drawn_from_the_newest_dumps_and_is_the_same_each_time(tmp_path: Path) -> None:
    work, bare = tmp_path / "work", tmp_path / "bare.git"
    rows = {
        ("20190101", "cs.IR"): [("1", "An old dump of it", "old", "cs.IR")],
        ("20200102", "cs.IR"): [
            ("2", "Searching for bees", "bees", "cs.IR"),
            ("3", "Searching for  bees", "wasps", "cs.IR"),  # the same title
            ("4", "Learning of bees", "moths", "cs.LG"),  # a field that is left out
            ("5", "Searching for ants", "ants", "cs.IR"),
        ],
        ("20200102", "cs.DL"): [
            ("5", "Searching for ants", "ants", "cs.IR"),
            ("6", "Books on ants", "flies", "cs.DL"),
        ],
    }
    for (date, category), papers in rows.items():
        folder = work / "processed_data" / date / "per_category"
        folder.mkdir(parents=True, exist_ok=True)
        lines = ["arxiv_id\ttitle\tabstract\tprimary_cat"]
        lines += [f"{n}\t{title}\t{abstract(about)}\t{field}" for n, title, about, field in papers]
        (folder / f"{category}.tsv.xz").write_bytes(lzma.compress("\n".join(lines).encode()))
    git(work, "init", "-q")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "dumps")
    git(work, "clone", "-q", "--bare", ".", str(bare))
    commit = git(work, "rev-parse", "HEAD")
    local = tmp_path / "script.py"
    source = SCRIPT.read_text()
    pinned = next(line for line in source.splitlines() if line.startswith("_COMMIT"))
    local.write_text(source.replace(pinned, f'_COMMIT = "{commit}"'))
    outs = [tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz"]
    for out in outs:
        command = [sys.executable, str(local), str(bare), str(out)]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    assert outs[0].read_bytes() == outs[1].read_bytes()
    with gzip.open(outs[0], "rt") as file:
        drawn = [json.loads(line) for line in file]
    assert {row["title"] for row in drawn} - {"Searching for bees"} == {"Searching for ants", "Books on ants"}
    assert all(row["text"].startswith("About ") for row in drawn)
    assert sum("Searching for" in row["title"] for row in drawn) == 2
