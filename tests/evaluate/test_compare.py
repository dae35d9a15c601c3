"""Systems beside each other: what is read, what is measured, and what the page holds."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from beir_files import DOCUMENTS, QUERIES, write_set

from tinyrerank.cli import main
from tinyrerank.errors import EngineError, InputError, ModelError, TinyrerankError
from tinyrerank.evaluate.compare.contenders import Contender
from tinyrerank.evaluate.compare.cost import Cost, measure_costs, sample_requests
from tinyrerank.evaluate.compare.page import TEXT_CHARACTERS, Report, page_data, render
from tinyrerank.evaluate.compare.plot import linear_scale, log_scale, scatter
from tinyrerank.evaluate.compare.rank import Ranked, parse_contenders, rank_all
from tinyrerank.evaluate.first_stage import Task, load_task
from tinyrerank.evaluate.results import ALL_SETS, load_results

NASTY = "</script><img src=x onerror=alert(1)> & <b>"
COST = Cost(12.5, 80.0, 300.0, 120.0, 4, 3.0, "native portable int8", 1000, 512)


class Elements(HTMLParser):
    """Tags with their attributes, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def task(tmp_path: Path) -> Task:
    documents = DOCUMENTS | {"d4": (NASTY, NASTY + " salt" * 300)}
    return load_task(write_set(tmp_path / "set", documents=documents))


@pytest.fixture
def ranked(task: Task, tiny_folder: Path, tmp_path: Path) -> tuple[list[Contender], Ranked]:
    contenders = parse_contenders([f"a={tiny_folder}", f"b={tiny_folder}:fp32", "list"])
    return contenders, rank_all([task], contenders, tmp_path / "out", threads=1, quiet=True)


@pytest.fixture
def report(task: Task, ranked: tuple[list[Contender], Ranked]) -> Report:
    contenders, values = ranked
    return Report([task], contenders, values, {"a": COST, "b": replace(COST, ms=20.0)}, "a machine")


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("list", ("list", "list", None, None)),
        ("{ours}", ("{name}", "ours", None, None)),
        ("{ours}:bf16", ("{name}:bf16", "ours", None, "bf16")),
        ("{ours}:onnx", ("{name}:onnx", "ours", "onnx", None)),
        ("{ours}:torch:fp32", ("{name}:torch:fp32", "ours", "torch", "fp32")),
        ("mine={ours}:int8", ("mine", "ours", None, "int8")),
        ("{bert}", ("bert", "cross-encoder", None, None)),
    ],
)
def test_a_system_is_read_from_what_a_user_writes(
    text: str, read_as: tuple[str, str, str | None, str | None], tiny_folder: Path, tmp_path: Path
) -> None:
    bert = tmp_path / "bert"
    bert.mkdir()
    (bert / "config.json").write_text('{"model_type": "bert"}')
    found = Contender.parse(text.format(ours=tiny_folder, bert=bert))
    label, *rest = read_as
    assert found.label == label.format(name=tiny_folder.name)
    assert [found.kind, found.engine, found.mode] == rest


def test_a_folder_may_have_a_colon_or_an_equals_sign_in_its_name(tiny_folder: Path, tmp_path: Path) -> None:
    for name in ("a:b", "x=y"):
        (tmp_path / name).symlink_to(tiny_folder)
        assert Contender.parse(str(tmp_path / name)).folder == tmp_path / name


@pytest.mark.parametrize(
    ("error", "says", "systems"),
    [
        (InputError, "two contenders are named", ["{ours}", "{ours}"]),
        (InputError, "only list was given", ["list"]),
        (InputError, "no engine or mode 'int4'; known: native", ["{ours}:int4"]),
        (InputError, "no such model here", ["nowhere"]),
        (InputError, "the list keeps its name", ["bm25=list"]),
        (InputError, "engines and modes are for models of ours", ["{bert}:bf16"]),
        (ModelError, "config.json: no such file", ["{empty}"]),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(
    error: type[TinyrerankError], says: str, systems: list[str], tiny_folder: Path, tmp_path: Path
) -> None:
    for name in ("bert", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "bert" / "config.json").write_text("{}")
    places = {"ours": tiny_folder, "bert": tmp_path / "bert", "empty": tmp_path / "empty"}
    with pytest.raises(error, match=says):
        parse_contenders([system.format(**places) for system in systems])


def test_licence_and_size_come_from_the_folder(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_bytes((tiny_folder / name).read_bytes())
    contender = Contender.parse(str(folder))
    assert contender.licence == "not stated"
    size = contender.disk_bytes
    assert size == sum(path.stat().st_size for path in folder.iterdir())
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: 'mit'\n---\nlicense: other\n")
    (folder / "pytorch_model.bin").write_bytes(b"not loaded beside safetensors")
    assert contender.licence == "mit"
    assert contender.disk_bytes == size
    assert (Contender.parse("list").disk_bytes, Contender.parse("list").licence) == (0, "")


def test_every_pair_of_systems_is_tested_once(ranked: tuple[list[Contender], Ranked]) -> None:
    results = ranked[1].results
    assert list(results.systems) == ["a", "b", "list"]
    assert results.main == "a"
    pairs = {(one.a, one.b) for one in results.comparisons}
    assert pairs == {("b", "a"), ("list", "a"), ("list", "b")}
    tested = results.comparison("list", "a", ALL_SETS, "NDCG@10")
    difference = results.mean("list", "NDCG@10") - results.mean("a", "NDCG@10")
    assert tested.difference == pytest.approx(difference)


def test_modes_are_told_apart_in_the_kept_scores(ranked: tuple[list[Contender], Ranked]) -> None:
    systems = ranked[1].results.systems
    assert systems["a"]["sha256"] == systems["b"]["sha256"]
    assert systems["a"]["runs_on"] != systems["b"]["runs_on"]
    assert "fp32" in systems["b"]["runs_on"]


def test_timed_queries_come_from_every_set_in_turn(task: Task) -> None:
    other = replace(task, queries={"x": "another set"}, run={"x": ["d1"]})
    requests = sample_requests([task, other], 3)
    assert [request.query == "another set" for request in requests] == [False, True, False]
    assert requests == sample_requests([task, other], 3)
    assert len(sample_requests([task, other], 99)) == 4


def test_costs_are_measured_in_a_process_of_their_own(task: Task, tiny_folder: Path) -> None:
    contenders = parse_contenders([f"a={tiny_folder}"])
    costs = measure_costs(contenders, sample_requests([task], 2), rounds=1, threads=1)
    assert costs.keys() == {"a"}
    cost = costs["a"]
    assert cost.queries == 2
    assert 0 < cost.ms < cost.load_ms * 100
    assert cost.peak_mib is None or 20 < cost.peak_mib < 2000
    assert cost.max_length == 512


def test_a_process_that_fails_is_told_with_its_own_words(task: Task, tiny_folder: Path) -> None:
    broken = replace(Contender.parse(str(tiny_folder)), folder=tiny_folder / "gone", label="a")
    with pytest.raises(EngineError, match=r"a: the process that measures it failed: .*gone"):
        measure_costs([broken], sample_requests([task], 1), rounds=1)


def test_the_page_asks_for_nothing_from_outside(report: Report) -> None:
    page = render(report)
    elements = Elements(page)
    for tag, attributes in elements.found:
        assert not {"src", "srcset", "poster", "action"} & attributes.keys(), tag
        assert str(attributes.get("href", "#")).startswith("#"), tag
    assert not elements.named("link")
    assert "url(" not in page
    assert "@import" not in page
    [policy] = [m["content"] for m in elements.named("meta") if m.get("http-equiv")]
    assert str(policy).startswith("default-src 'none';")


def test_texts_cannot_break_out_of_the_page(report: Report) -> None:
    page = render(report)
    assert page.count("</script>") == 2
    assert not Elements(page).named("img")
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert data
    documents = json.loads(data[1])["sets"][0]["documents"]
    assert documents["d4"][0] == NASTY


def test_the_table_has_real_headers_and_a_row_a_system(report: Report) -> None:
    page = render(report)
    elements = Elements(page)
    heads = [th for th in elements.named("th") if th.get("aria-sort")]
    assert len(heads) == 15
    assert all(th["scope"] == "col" for th in heads)
    rows = [tr for tr in elements.named("tr") if "data-system" in tr]
    assert [tr["data-system"] for tr in rows] == ["0", "1", "2"]
    labelled = page.count("<label>")
    assert len(elements.named("select")) == labelled
    results = report.ranked.results
    for label in results.systems:
        assert f'<th scope="row">{label}</th>' in page
        assert f">{results.mean(label, 'NDCG@10'):.4f}<" in page


def test_the_page_holds_each_query_with_values_ranks_and_grades(report: Report) -> None:
    data = page_data(report)
    [one] = data["sets"]
    assert [query["id"] for query in one["queries"]] == list(QUERIES)
    task, results = report.tasks[0], report.ranked.results
    for query in one["queries"]:
        for number, label in enumerate(results.systems):
            value = results.sets[0].systems[label].per_query["NDCG@10"][query["id"]]
            assert query["values"][number] == pytest.approx(value, abs=1e-4)
            listed = report.ranked.runs["set"][label][query["id"]]
            ranks = {key: ranks[number] for key, _, ranks in query["documents"]}
            assert sorted(listed, key=lambda key: ranks[key]) == listed
        for key, grade, _ in query["documents"]:
            assert grade == task.qrels[query["id"]].get(key)
    title, text, characters = one["documents"]["d4"]
    assert (title, len(text), characters) == (NASTY, TEXT_CHARACTERS, len(NASTY) + 1500)


def test_texts_are_kept_for_the_queries_that_differ_most(report: Report) -> None:
    [one] = page_data(replace(report, texts=1))["sets"]
    spread = {query["id"]: max(query["values"]) - min(query["values"]) for query in one["queries"]}
    [kept] = [query["id"] for query in one["queries"] if "documents" in query]
    assert spread[kept] == max(spread.values())


def test_a_page_without_timing_says_so(report: Report) -> None:
    page = render(replace(report, costs={}))
    assert "Nothing was timed." in page
    assert 'class="dot"' not in page


@pytest.mark.parametrize("values", [[0.43, 0.44], [0.1, 0.9], [0.5], [0.4387, 0.4277, 0.4390]])
def test_scales_hold_all_values_with_few_marks(values: list[float]) -> None:
    for scale in (linear_scale(values), log_scale([1000 * value for value in values])):
        assert 2 <= len(scale.marks) <= 12
        for value in values:
            assert 0 <= scale.place(1000 * value if scale.logarithmic else value) <= 100


def test_names_in_the_plot_do_not_lie_on_each_other() -> None:
    figure = scatter(
        [("one", 10.0, 0.5), ("two", 10.5, 0.5), ("three", 11.0, 0.5)], base=("list", 0.45), metric="M"
    )
    places = re.findall(r'class="name \w+" style="left:[\d.]+%;bottom:(calc\([^)]*\))', figure)
    assert len(places) == len(set(places)) == 3
    assert figure.count('class="dot"') == 3


def test_text_can_be_read_on_every_ground_in_light_and_dark() -> None:
    """Contrast of at least 4.5 to 1, as WCAG 2 asks at level AA."""
    style = resources.files("tinyrerank.evaluate.compare").joinpath("page.css").read_text(encoding="utf-8")
    themes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", theme))
        for ground in ("back", "card", "mark"):
            for ink in ("text", "soft", "accent", "good", "bad"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def contrast(one: str, two: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else float(((c + 0.055) / 1.055) ** 2.4) for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


def test_each_pair_is_judged_in_words_once(report: Report) -> None:
    page = render(report)
    said = re.findall(r"<li><b>(\w+)</b> (?:ranks \w+ than|and) <b>(\w+)</b>", page)
    assert sorted(said) == [("b", "a"), ("list", "a"), ("list", "b")]
    assert "All other pairs" not in page, "each of them has the list or the first model in it"


def compare(*arguments: object) -> int:
    return main(["compare", *map(str, arguments), "--quiet", "--threads", "1"])


def test_the_command_writes_page_and_results_and_prints_the_table(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = write_set(tmp_path / "set"), tmp_path / "out"
    assert (
        compare(f"a={tiny_folder}", "--sets", folder, "--out", out, "--timed-queries", 1, "--rounds", 1) == 0
    )
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "ms/query" in printed.out
    page = (out / "report.html").read_text(encoding="utf-8")
    assert 'class="dot"' in page
    facts = json.loads((out / "results.json").read_text())["facts"]
    assert facts["a"]["licence"] == "not stated"
    assert facts["a"]["ms"] > 0
    assert facts["list"] == {"licence": "", "disk_bytes": 0}
    assert load_results(out).main == "a"


def test_json_goes_to_standard_output(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_set(tmp_path / "set")
    arguments = (tiny_folder, "--sets", folder, "--out", tmp_path / "out", "--no-timing", "--json")
    assert compare(*arguments) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert data["command"] == "compare"
    assert data["facts"].keys() == {"list", tiny_folder.name}
    assert "per_query" not in json.dumps(data)


@pytest.mark.parametrize(
    ("says", "arguments"),
    [
        ("--rounds 0: give 1 or more", ("--rounds", "0")),
        ("--timed-queries 0: give 1 or more", ("--timed-queries", "0")),
        ("--texts -1: give 0 or more", ("--texts", "-1")),
        ("0 queries a set; give 1 or more", ("--queries", "0")),
    ],
)
def test_settings_out_of_range_end_with_one_line(
    says: str,
    arguments: tuple[str, str],
    tiny_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compare(tiny_folder, "--sets", write_set(tmp_path / "set"), *arguments) == 2
    assert says in capsys.readouterr().err
