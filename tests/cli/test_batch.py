from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tinyrerank import Reranker, fuse_with_list
from tinyrerank.cli import main
from tinyrerank.errors import BusyError, DataError, InputError

N = 8


class Batch:
    """A file of queries in a folder of its own, and what a run of it leaves behind."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.queries, self.out, self.model = folder / "q.jsonl", folder / "out.jsonl", model
        self.records: list[dict[str, Any]] = [
            {"id": i, "query": f"tide {i}", "documents": ["the moon", {"id": "b", "text": f"bread {i}"}]}
            for i in range(N)
        ]
        self.write()

    def write(self) -> None:
        self.queries.write_text("".join(json.dumps(r) + "\n" for r in self.records))

    def run(self, *args: object) -> int:
        return main(["rank", "--model", str(self.model), "--queries", str(self.queries), *map(str, args)])

    def finish(self, *args: object) -> bytes:
        assert self.run("--out", self.out, *args) == 0
        return self.out.read_bytes()

    def results(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text().splitlines()]


@pytest.fixture
def batch(tmp_path: Path, tiny_folder: Path) -> Batch:
    return Batch(tmp_path, tiny_folder)


@pytest.fixture
def ranked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The queries that reach the model."""
    seen: list[str] = []
    rank = Reranker.rank

    def counting(self: Reranker, query: str, *args: Any, **settings: Any) -> Any:
        seen.append(query)
        return rank(self, query, *args, **settings)

    monkeypatch.setattr(Reranker, "rank", counting)
    return seen


def test_every_query_gets_one_line_in_order(batch: Batch) -> None:
    batch.finish()
    results = batch.results()
    assert [r["id"] for r in results] == [str(i) for i in range(N)]
    assert all(r["n_documents"] == 2 and len(r["results"]) == 2 for r in results)
    assert {hit.get("id") for hit in results[0]["results"]} == {None, "b"}


def test_a_run_cut_off_at_any_byte_resumes_to_the_same_bytes(batch: Batch, ranked: list[str]) -> None:
    whole = batch.finish()
    for cut in {0, 1, len(whole) - 1, *random.Random(5).sample(range(len(whole)), 6)}:
        batch.out.write_bytes(whole[:cut])
        ranked.clear()
        assert batch.finish() == whole, cut
        assert len(ranked) == N - whole[:cut].count(b"\n")


def test_a_finished_run_does_nothing_more(batch: Batch, ranked: list[str]) -> None:
    whole = batch.finish()
    ranked.clear()
    assert batch.finish() == whole
    assert ranked == []


def test_a_changed_query_is_ranked_again_and_its_old_result_set_aside(
    batch: Batch, ranked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    batch.finish()
    old = batch.results()[3]
    batch.records[3]["documents"][0] = "the sun"
    batch.records.insert(0, {"query": "new", "documents": []})
    batch.write()
    ranked.clear()
    batch.finish()
    assert ranked == ["new", "tide 3"]
    assert len(batch.results()) == N + 1
    assert old not in batch.results()
    assert json.loads(Path(f"{batch.out}.stale").read_text()) == old
    assert "or settings: 1, moved to" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [
        ("--max-length", "40"),
        ("--policy", "window"),
        ("--top-n", "1"),
        ("--list-weight", "0.3"),
        ("--likeness", "0.1"),
    ],
)
def test_other_settings_rank_everything_again(batch: Batch, ranked: list[str], args: tuple[str, ...]) -> None:
    batch.finish()
    ranked.clear()
    batch.finish(*args)
    assert len(ranked) == N == len(batch.results())


def test_place_in_the_list_and_likeness_order_every_query(batch: Batch, tiny_folder: Path) -> None:
    for n, record in enumerate(batch.records):
        record["documents"] = [f"the sea {n}", "bread", f"the moon and the sea {n}", "the moon", f"sea {n}"]
    batch.write()
    batch.finish("--list-weight", 0.5, "--likeness", 0.7, "--top-n", 3)
    with Reranker(tiny_folder) as reranker:
        rankings = [reranker.rank(record["query"], record["documents"]) for record in batch.records]
    fused = [fuse_with_list(ranking, 0.5, 3, likeness=0.7) for ranking in rankings]
    found = [[hit["index"] for hit in result["results"]] for result in batch.results()]
    assert found == [[hit.index for hit in ranking] for ranking in fused]
    assert found != [[hit.index for hit in ranking][:3] for ranking in rankings]


def test_equal_lines_are_separate_queries(batch: Batch, ranked: list[str]) -> None:
    batch.records = [batch.records[0]] * 3
    batch.write()
    whole = batch.finish()
    assert len(batch.results()) == len({r["key"] for r in batch.results()}) == 3
    batch.out.write_bytes(whole[: whole.index(b"\n") + 1])
    ranked.clear()
    assert batch.finish() == whole
    assert len(ranked) == 2


def test_all_queries_can_share_files_of_documents(batch: Batch, tmp_path: Path, ranked: list[str]) -> None:
    (tmp_path / "notes.txt").write_text("the moon\nthe bread\n")
    batch.records = [{"query": "a"}, {"query": "b"}]
    batch.write()
    args = ("--per", "line", tmp_path / "notes.txt")
    batch.finish(*args)
    assert {hit["line"] for hit in batch.results()[1]["results"]} == {1, 2}
    (tmp_path / "notes.txt").write_text("the moon\nthe bun\n")
    ranked.clear()
    batch.finish(*args)
    assert len(ranked) == 2


def test_without_out_results_go_to_standard_output(
    batch: Batch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert batch.run() == 0
    out, err = capfdbinary.readouterr()
    assert out == batch.finish()
    assert f"{N} of {N} queries".encode() in err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"query": "x", "documents": ["a"', ":7: not JSON"),
        ('{"question": "x", "documents": []}', ":7: 'query' must be a string (there: question, documents)"),
        ('{"query": "x"}', ":7: 'documents' must be a list"),
        ('{"query": "x", "documents": ["a", 5]}', ":7: document 1 must be a string or an object, not 5"),
        ('{"query": "x", "documents": [{"body": "a"}]}', ":7: document 0: no 'text' (there: body)"),
        ('{"query": "x", "documents": [], "id": []}', ":7: 'id' must be a string"),
    ],
)
def test_a_malformed_line_is_named_before_anything_is_ranked(
    batch: Batch, ranked: list[str], capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    good = batch.queries.read_text().splitlines()[:6]
    batch.queries.write_text("\n".join([*good, line]) + "\n")
    assert batch.run("--out", batch.out) == DataError.exit_code
    assert f"{batch.queries}{says}" in capsys.readouterr().err
    assert ranked == []


def test_a_query_that_cannot_be_ranked_is_named_and_earlier_results_stay(
    batch: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch.records[4]["query"] = "tide " * 600
    batch.write()
    assert batch.run("--out", batch.out) == InputError.exit_code
    assert f"{batch.queries}:5: " in capsys.readouterr().err
    assert len(batch.results()) == 4


@pytest.mark.parametrize(
    "content", [b"my notes\n", b"my notes", b'{"key": 5}\n', b'{"key": "\x00\n', b"{}\n"]
)
def test_a_file_of_something_else_is_never_touched(
    batch: Batch, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    batch.out.write_bytes(content)
    assert batch.run("--out", batch.out) == InputError.exit_code
    assert "give another file" in capsys.readouterr().err
    assert batch.out.read_bytes() == content


@pytest.mark.skipif(os.name == "nt", reason="no file locks of this kind on Windows")
def test_a_second_run_into_the_same_file_is_refused(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    with batch.out.open("ab") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        assert batch.run("--out", batch.out) == BusyError.exit_code
    assert "another run is writing to it" in capsys.readouterr().err


def test_an_output_that_cannot_be_opened_is_an_error(
    batch: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch.run("--out", batch.out.parent) == InputError.exit_code
    assert "cannot be written" in capsys.readouterr().err
