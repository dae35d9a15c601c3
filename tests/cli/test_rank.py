from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tinyrerank.cli import main
from tinyrerank.errors import DataError, InputError, ModelError

DOCUMENTS = ["the moon pulls the sea", "bake the bread", "a reranker reads a query"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "sea.md").write_text("# Tides\n\nthe moon pulls the sea\n")
    (folder / "bread.txt").write_text("bake the bread")
    (folder / "rows.jsonl").write_text('{"id": "r1", "text": "a reranker reads a query"}\n')
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rank(*args: object) -> int:
    return main(["rank", *map(str, args)])


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_results_are_jsonl_when_nobody_watches(
    corpus: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rank("--model", tiny_folder, "-q", "how do tides work?", corpus) == 0
    found = lines(capsys.readouterr().out)
    assert [r["rank"] for r in found] == [1, 2, 3]
    assert [r["logit"] for r in found] == sorted((r["logit"] for r in found), reverse=True)
    by_path = {Path(r["path"]).name: r for r in found}
    assert by_path["sea.md"]["title"] == "Tides"
    assert by_path["sea.md"]["line"] == 3
    assert by_path["rows.jsonl"]["id"] == "r1"
    assert all(not r["truncated"] and r["tokens_read"] == r["tokens_total"] for r in found)


def test_scores_are_those_of_the_python_interface(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tinyrerank import Reranker

    (tmp_path / "d.txt").write_text("\n".join(DOCUMENTS))
    assert rank("--model", tiny_folder, "-q", "tides", "--per", "line", tmp_path / "d.txt") == 0
    found = lines(capsys.readouterr().out)
    with Reranker(tiny_folder) as reranker:
        ranking = reranker.rank("tides", DOCUMENTS)
    assert [(r["index"], r["logit"]) for r in found] == [(h.index, pytest.approx(h.logit)) for h in ranking]


@pytest.mark.parametrize("weights", [(0.0, 0.5), (0.5, 0.0), (0.5, 0.5)])
def test_place_in_the_list_and_likeness_are_those_of_the_python_interface(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str], weights: tuple[float, float]
) -> None:
    from tinyrerank import Reranker, fuse_with_list

    list_weight, likeness = weights
    documents = [*DOCUMENTS, "bread and the sea", "the moon", "bake bread at sea"]
    (tmp_path / "d.txt").write_text("\n".join(documents))
    asked = ("--list-weight", list_weight, "--likeness", likeness, "-n", 4, "--json")
    assert rank("--model", tiny_folder, "-q", "tides", "--per", "line", *asked, tmp_path / "d.txt") == 0
    envelope = json.loads(capsys.readouterr().out)
    with Reranker(tiny_folder) as reranker:
        ranking = fuse_with_list(reranker.rank("tides", documents), list_weight, 4, likeness=likeness)
    assert [r["index"] for r in envelope["results"]] == [hit.index for hit in ranking]
    assert envelope["inputs"]["n_documents"] == len(documents)
    given = {"list_weight": list_weight, "likeness": likeness}
    asked_for = {name: weight for name, weight in given.items() if weight}
    assert {name: weight for name, weight in envelope["settings"].items() if name in given} == asked_for


def test_the_envelope_says_what_was_asked_and_how_it_was_done(
    corpus: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in corpus.iterdir():
        file.write_text(file.read_text().replace("the ", "the " * 30).replace("reads ", "reads " * 30))
    assert rank("--model", tiny_folder, "-q", "tides", "--json", "-n", 2, "--max-length", 30, corpus) == 0
    captured = capsys.readouterr()
    envelope = json.loads(captured.out)
    assert set(envelope) == {
        *("schema_version", "command", "inputs", "settings", "results", "warnings", "timings"),
    }
    assert envelope["inputs"] == {"query": "tides", "sources": [str(corpus)], "n_documents": 3}
    assert envelope["settings"]["max_length"] == 30
    assert envelope["settings"]["engine"] != "auto"
    assert len(envelope["results"]) == 2
    assert all(result["truncated"] for result in envelope["results"])
    assert "2 of 2 results were not read to the end" in envelope["warnings"][0]
    assert envelope["warnings"][0] in captured.err


def test_a_table_on_request_shows_place_title_and_what_was_cut(
    corpus: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    (corpus / "many.txt").write_text("tide " * 400)
    assert rank("--model", tiny_folder, "-q", "x", "--table", "--max-length", 40, corpus) == 0
    out = capsys.readouterr().out
    assert "sea.md:3  Tides" in out
    assert "(read " in next(line for line in out.splitlines() if "many.txt" in line)
    assert "\x1b" not in out


def test_no_documents_is_a_warning_and_an_empty_result(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "blank.txt").write_text(" \n")
    assert rank("--model", tiny_folder, "-q", "x", tmp_path / "blank.txt") == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no documents" in captured.err


def test_lone_surrogates_and_control_characters_are_written_safely(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d.jsonl").write_text('{"text": "tide \\ud800 \\u001b[2J sea"}\n')
    assert rank("--model", tiny_folder, "-q", "x", tmp_path / "d.jsonl") == 0
    assert lines(capsys.readouterr().out)[0]["text"] == "tide \ud800 \x1b[2J sea"
    assert rank("--model", tiny_folder, "-q", "x", "--table", tmp_path / "d.jsonl") == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["-q", "x", "absent.md"], InputError.exit_code, "absent.md: no such file or folder"),
        (["-q", "x"], InputError.exit_code, "no documents: give files"),
        (["-q", "x", "-n", "0", "d.txt"], InputError.exit_code, "--top-n 0: give 1 or more"),
        (
            ["-q", "x", "--likeness", "-0.1", "d.txt"],
            InputError.exit_code,
            "--likeness -0.1: give a number from 0",
        ),
        (
            ["-q", "x", "--list-weight", "nan", "d.txt"],
            InputError.exit_code,
            "--list-weight nan: give a number",
        ),
        (["-q", "x", "--out", "o", "d.txt"], InputError.exit_code, "--out belongs to --queries"),
        (["-q", "x", "bad.jsonl"], DataError.exit_code, "bad.jsonl:7: not JSON"),
        (["-q", "x", "--model", "nowhere", "d.txt"], ModelError.exit_code, "nowhere: no such folder"),
        (["-q", "x", "--engine", "gpu9", "d.txt"], InputError.exit_code, "gpu9"),
        (["-q", "tide " * 600, "d.txt"], InputError.exit_code, "query"),
        (["--queries", "q.jsonl", "--table"], InputError.exit_code, "--table does not go with --queries"),
        (["--queries", "-"], InputError.exit_code, "--queries must be a file"),
    ],
)
def test_errors_are_one_line_with_the_code_of_the_table(  # noqa: PLR0917 - fixtures and cases
    here: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str], args: list[str], code: int, says: str
) -> None:
    (here / "d.txt").write_text("tide")
    (here / "bad.jsonl").write_text('{"text": "a"}\n' * 6 + '{"text": \n')
    assert main(["rank", "--model", str(tiny_folder), *args]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tinyrerank: error: ")
    assert captured.err.count("\n") == 1
    assert says in captured.err


def test_a_failure_nobody_foresaw_asks_for_a_report(
    corpus: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("disk\non fire")

    monkeypatch.setattr("tinyrerank.cli.inputs.read_passages", broken)
    args = ("--model", tiny_folder, "-q", "x", corpus)
    assert rank(*args) == 1
    err = capsys.readouterr().err
    assert err.startswith("tinyrerank: error: unexpected RuntimeError: disk on fire. Please report this")
    assert err.count("\n") == 1
    assert rank("--debug", *args) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, corpus: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tinyrerank.cli.inputs.read_passages", interrupted)
    assert rank("-q", "x", corpus) == 130


def test_a_reader_that_leaves_early_causes_no_complaint(tmp_path: Path, tiny_folder: Path) -> None:
    (tmp_path / "d.txt").write_text("tide\n" * 5000)
    command = [sys.executable, "-m", "tinyrerank", "rank", "--model", str(tiny_folder), "-q", "x"]
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--per", "line", str(tmp_path / "d.txt")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 128 + signal.SIGPIPE


def test_documents_come_through_a_pipe(tiny_folder: Path) -> None:
    command = [sys.executable, "-m", "tinyrerank", "rank", "--model", str(tiny_folder), "-q", "x", "-"]
    done = subprocess.run(  # noqa: S603 - our own command
        command, input="tide\nbread\n", capture_output=True, text=True, check=True
    )
    assert {r["text"] for r in lines(done.stdout)} == {"tide", "bread"}


@pytest.mark.skipif(os.name == "nt", reason="file names are text on Windows")
def test_odd_file_names_and_encodings_of_the_system_do_no_harm(tmp_path: Path, tiny_folder: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/tide\xff.txt")
    Path(name).write_text("high tide 🌊", encoding="utf-8")
    command = [sys.executable, "-m", "tinyrerank", "rank", "--model", str(tiny_folder), "-q", "x", name]
    for form, says in (("--jsonl", b"tide\\udcff.txt"), ("--table", "high tide 🌊".encode())):
        done = subprocess.run(  # noqa: S603 - our own command
            [*command, form], capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}
        )
        assert says in done.stdout
        assert done.stderr == b"" or b"1 documents" in done.stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_coloured_table_of_ten(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d.txt").write_text("\n".join(f"tide {i}" for i in range(30)))
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert rank("--model", tiny_folder, "-q", "x", "--per", "line", tmp_path / "d.txt") == 0
    assert out.getvalue().count("d.txt:") == 10
    assert "\x1b[2m" in out.getvalue()
    assert "10 of 30 documents" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdout", plain := Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert rank("--model", tiny_folder, "-q", "x", "--per", "line", tmp_path / "d.txt") == 0
    assert os.linesep in plain.getvalue()
    assert "\x1b" not in plain.getvalue()
