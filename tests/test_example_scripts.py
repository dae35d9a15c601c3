"""Every script in examples/ runs alone, and does what it says."""

from __future__ import annotations

import io
import json
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from live_server import live_server
from tinyrerank.cli import main
from tinyrerank.errors import ModelError
from tinyrerank.model.hub import default_folder

EXAMPLES = Path(__file__).parents[1] / "examples"
Run = Callable[..., str]


def no_model() -> bool:
    try:
        default_folder()
    except ModelError:
        return True
    return False


pytestmark = pytest.mark.skipif(no_model(), reason="no weights embedded in this checkout")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs a script as a program, from another folder, and returns what it prints."""

    def run_script(name: str, *arguments: str, stdin: str = "") -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_script


def test_every_example_is_short_and_has_a_test_here() -> None:
    scripts = sorted(EXAMPLES.glob("*.py"))
    here = Path(__file__).read_text(encoding="utf-8")
    for script in scripts:
        lines = script.read_text(encoding="utf-8").splitlines()
        assert len(lines) < 60, script.name
        assert f'"{script.name}"' in here, script.name
    assert len(scripts) >= 6


def test_rank_folder_finds_the_section_that_answers(run: Run) -> None:
    lines = run("rank_folder.py", "why is the sea salty?", "--top-n", "2").splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"1\. [01]\.\d{3}  Why the sea is salty  \(sea-and-sky\.md\)", lines[0])


def test_batch_jsonl_answers_each_line(run: Run) -> None:
    jobs = [{"id": n, "query": "tides", "documents": ["bread", "the tide", "tides rise"][:n]} for n in (1, 3)]
    rows = [
        json.loads(line)
        for line in run("batch_jsonl.py", stdin="\n".join(map(json.dumps, jobs))).splitlines()
    ]
    assert [row["id"] for row in rows] == [1, 3]
    assert sorted(hit["index"] for hit in rows[1]["results"]) == [0, 1, 2]
    scores = [hit["score"] for hit in rows[1]["results"]]
    assert scores == sorted(scores, reverse=True)
    assert rows[1]["documents_cut"] == 0


def test_long_documents_shows_all_three_policies(run: Run) -> None:
    printed = run("long_documents.py")
    assert re.search(r"truncate: document \d, (\d+) of (\d{4}) tokens", printed)
    assert "window:   document 0" in printed
    assert "holds the answer: True" in printed
    assert re.search(r"refuse:   document 0 needs \d{4} tokens, 256 are allowed", printed)


def test_rag_bm25s_puts_the_right_source_first(run: Run) -> None:
    pytest.importorskip("bm25s", reason="the extra eval is not installed")
    printed = run("rag_bm25s.py")
    assert "[1] Spring tides and neap tides" in printed
    assert "[3]" in printed
    assert "[4]" not in printed
    assert printed.endswith("Question: how do spring tides differ from neap tides?\n")


def test_thresholds_compares_two_readings_of_the_logits(run: Run) -> None:
    lines = run("thresholds.py").splitlines()
    for reading, outcome in (lines[:2], lines[2:]):
        assert re.match(r"P\(right\) = sigmoid\(\d+\.\d\d \* (logit|distance) [+-]\d+\.\d\d\)", reading)
        found = re.search(r"([\d.]+) passages a question, right one kept for (\d+) of 10", outcome)
        assert found
        assert float(found[1]) < 20


def test_make_set_writes_a_set_that_can_be_evaluated(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ir_measures", reason="the extra eval is not installed")
    assert run("make_set.py", "mine") == "mine: 200 documents, 40 questions\n"
    out = str(tmp_path / "out")
    assert (
        main(["evaluate", "mine", "--first-stage", "bm25", "--model", "none", "--out", out, "--quiet"]) == 0
    )
    assert re.search(r"mine +40 +0\.\d{4}", capsys.readouterr().out)


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a real server on a free port of this machine."""
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    with live_server() as address:
        yield address


def test_async_client_gets_an_answer_to_every_question(run: Run, server: str) -> None:
    lines = run("async_client.py", server).splitlines()
    assert [line for line in lines if line.endswith("?")] == lines[::2]
    assert "the gas lifts the dough" in lines[1]
    assert len(lines) == 6
