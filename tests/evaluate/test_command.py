"""The command from end to end, and what it leaves on disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from beir_files import QUERIES, write_set

from tinyrerank.cli import main
from tinyrerank.errors import InputError
from tinyrerank.evaluate.first_stage import load_task
from tinyrerank.evaluate.metrics import METRICS
from tinyrerank.evaluate.report import markdown, terminal_table
from tinyrerank.evaluate.results import ALL_SETS, check_against, load_results


@pytest.fixture
def sets(tmp_path: Path) -> list[str]:
    first = write_set(tmp_path / "first")
    second = write_set(tmp_path / "second", run={"q1": ["d3", "d1"], "q2": ["d2", "d4"]})
    return [str(first), str(second)]


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments), "--quiet"])


def test_table_report_plot_and_runs_are_made(
    sets: list[str], tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert evaluate(*sets, "--model", tiny_folder, "--out", out) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    results = load_results(out)
    assert printed.out == terminal_table(results) + "\n"
    assert (out / "report.md").read_text() == markdown(results)
    assert (out / "plot.png").read_bytes().startswith(b"\x89PNG")
    label = tiny_folder.name
    for name in ("first", "second"):
        assert (out / name / f"{label}.trec.gz").exists()
        assert f"## {name}" in markdown(results)
    assert f"{results.mean('list', 'NDCG@10'):.4f}" in printed.out
    assert f"{results.comparison(label, 'list', ALL_SETS, 'NDCG@10').p:.4f}" in printed.out
    assert "second: queries without candidates, counted as zero: 1" in printed.out


def test_a_sample_of_the_queries_is_noted_in_the_report(sets: list[str], tmp_path: Path) -> None:
    assert evaluate(*sets, "--model", "none", "--queries", 1, "--out", tmp_path / "out") == 0
    results = load_results(tmp_path / "out")
    assert [one.n_queries for one in results.sets] == [1, 1]
    assert results.settings["queries"] == 1
    assert "a sample of 1 of 3 queries" in (tmp_path / "out/report.md").read_text()


def test_the_join_with_the_list_stands_beside_the_model(
    sets: list[str], tmp_path: Path, tiny_folder: Path
) -> None:
    evaluate(*sets, "--model", tiny_folder, "--list-weight", "0.5", "--out", tmp_path / "out")
    results = load_results(tmp_path / "out")
    label = tiny_folder.name
    assert list(results.systems) == ["list", f"{label}+list", label]
    assert results.main == label
    assert results.systems[f"{label}+list"]["list_weight"] == 0.5
    assert results.comparison(label, f"{label}+list", ALL_SETS, "NDCG@10").p <= 1


def test_list_and_likeness_stand_beside_the_model_alone_and_together(
    sets: list[str], tmp_path: Path, tiny_folder: Path
) -> None:
    weights = ("--list-weight", "0.5", "--likeness", "0.2")
    evaluate(*sets, "--model", tiny_folder, *weights, "--out", tmp_path / "out")
    results = load_results(tmp_path / "out")
    label = tiny_folder.name
    joined = [f"{label}+likeness", f"{label}+list", f"{label}+list+likeness"]
    assert list(results.systems) == ["list", *joined, label]
    assert results.systems[joined[0]]["likeness"] == results.systems[joined[2]]["likeness"] == 0.2
    assert "list_weight" not in results.systems[joined[0]]


@pytest.mark.parametrize("option", ["--list-weight", "--likeness"])
def test_a_weight_of_nothing_is_refused(
    sets: list[str], capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert evaluate(*sets, "--model", "none", option, "0") == 2
    assert f"{option} 0.0: give a number above 0" in capsys.readouterr().err


def test_results_keep_every_query_and_the_means_follow_from_them(
    sets: list[str], tmp_path: Path, tiny_folder: Path
) -> None:
    evaluate(*sets, "--model", tiny_folder, "--out", tmp_path / "out")
    text = (tmp_path / "out" / "results.json").read_text()
    data = json.loads(text)
    per_query = next(line for line in text.splitlines() if line.strip().startswith('"NDCG@10": {'))
    assert all(f'"{query}": ' in per_query for query in QUERIES)  # one line, or a large file buries the rest
    assert data["schema"] == 1
    assert data["systems"][tiny_folder.name]["sha256"]
    assert data["settings"] == {"split": "test", "first_stage": "given", "depth": 100, "queries": None}
    for metric in METRICS:
        means = []
        for one in data["sets"]:
            values = one["systems"]["list"]["per_query"][metric]
            assert list(values) == list(QUERIES)
            means.append(sum(values.values()) / 3)
            assert one["systems"]["list"]["means"][metric] == pytest.approx(means[-1], abs=1e-6)
        assert data["means"]["list"][metric] == pytest.approx(sum(means) / 2, abs=1e-6)


def test_json_goes_to_standard_output_without_single_queries(
    sets: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(sets[0], "--model", "none", "--out", tmp_path / "out", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["command"] == "evaluate"
    assert data["main"] == "list"
    assert data["sets"][0]["systems"]["list"]["means"]["Hit@10"] == 1.0
    assert "per_query" not in json.dumps(data)


def test_a_second_evaluation_is_tested_against_the_first(
    sets: list[str], tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(*sets, "--model", tiny_folder, "--out", tmp_path / "old")
    capsys.readouterr()
    assert (
        evaluate(*sets, "--model", tiny_folder, "--out", tmp_path / "new", "--against", tmp_path / "old") == 0
    )
    results = load_results(tmp_path / "new")
    label = tiny_folder.name
    same = results.comparison(label, f"{label} (against)", ALL_SETS, "NDCG@10")
    assert (same.difference, same.p) == (0.0, 1.0)
    assert f"{label} is not distinguishable from {label} (against)" in capsys.readouterr().out


def test_a_run_file_can_be_compared_on_one_set(sets: list[str], tmp_path: Path, tiny_folder: Path) -> None:
    perfect = tmp_path / "perfect.trec"
    perfect.write_text("q1 Q0 d1 1 2 x\nq1 Q0 d3 2 1 x\nq2 Q0 d2 1 1 x\nq3 Q0 d5 1 2 x\nq3 Q0 d1 2 1 x\n")
    assert evaluate(sets[0], "--model", tiny_folder, "--out", tmp_path / "out", "--against", perfect) == 0
    results = load_results(tmp_path / "out")
    assert results.mean("perfect", "NDCG@10") == pytest.approx(1.0)
    assert "perfect ranked other candidates" in results.sets[0].notes
    assert evaluate(*sets, "--model", "none", "--out", tmp_path / "out", "--against", perfect) == 2


def test_results_of_other_sets_queries_or_grades_are_refused(sets: list[str], tmp_path: Path) -> None:
    evaluate(sets[0], "--model", "none", "--out", tmp_path / "out")
    tasks = [load_task(Path(folder)) for folder in sets]
    results = load_results(tmp_path / "out" / "results.json")
    check_against(results, tasks[:1])
    with pytest.raises(InputError, match="lack second; they hold first"):
        check_against(results, tasks)
    with pytest.raises(InputError, match="from grade 1, these from 2"):
        check_against(results, [load_task(Path(sets[0]), relevant_from=2)])
    for values in results.sets[0].systems["list"].per_query.values():
        del values["q1"]
    with pytest.raises(InputError, match="other queries"):
        check_against(results, tasks[:1])


@pytest.mark.parametrize(
    ("code", "says", "arguments"),
    [
        (2, "no such folder", "nowhere"),
        (2, "splits here: test", "{set} --split dev"),
        (2, "--baseline dot", "{set} --baseline dot"),
        (2, "two sets are named first", "{set} {set}"),
        (2, "--first-stage run:NAME", "{set} --first-stage run:x"),
        (2, "no such file", "{set} --against nowhere.json"),
        (3, "cannot be read as JSON", "{set} --against {set}/corpus.jsonl"),
        (3, "not evaluation results", "{set} --against {set}/empty.json"),
        (3, "a part missing", "{set} --against {set}/part.json"),
    ],
)
def test_a_wrong_argument_ends_in_one_line(
    sets: list[str], capsys: pytest.CaptureFixture[str], code: int, says: str, arguments: str
) -> None:
    (Path(sets[0]) / "empty.json").write_text("{}")
    (Path(sets[0]) / "part.json").write_text('{"schema": 1}')
    filled = [argument.replace("{set}", sets[0]) for argument in arguments.split()]
    assert evaluate(*filled, "--model", "none", "--out", f"{sets[0]}-out") == code
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("module", ["ir_measures", "matplotlib.figure"])
def test_a_missing_extra_is_named(
    sets: list[str], tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, module, None)
    assert evaluate(sets[0], "--model", "none", "--out", tmp_path / "out") == 5
    assert "pip install 'tinyrerank[eval]'" in capsys.readouterr().err


def test_help_teaches_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "How to read it:" in text
