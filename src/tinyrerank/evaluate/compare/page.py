"""One HTML file with everything in it: table, scatter plot, and the differences query by query.

The tables and the plot are written here, so they are there without scripts too; ``page.js`` sorts, chooses
the reference, and shows queries. A content security policy forbids every connection.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from tinyrerank.evaluate.compare.contenders import Contender
from tinyrerank.evaluate.compare.cost import Cost
from tinyrerank.evaluate.compare.plot import scatter
from tinyrerank.evaluate.compare.rank import Ranked
from tinyrerank.evaluate.first_stage import Task
from tinyrerank.evaluate.metrics import METRICS
from tinyrerank.evaluate.results import ALL_SETS, FIRST_STAGE, Comparison, Results

METRIC = METRICS[0]
TOP = 10
TEXT_CHARACTERS = 600
_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page shows.

    Attributes:
        tasks: the sets.
        contenders: the systems, in the order of the table.
        ranked: their values and rankings.
        costs: by label; empty when nothing was timed.
        machine: where it was timed, in words.
        texts: queries of each set that carry the texts of their documents, those that differ most first.
    """

    tasks: Sequence[Task]
    contenders: Sequence[Contender]
    ranked: Ranked
    costs: dict[str, Cost]
    machine: str
    texts: int = 200


def render(report: Report) -> str:
    """The page."""
    results = report.ranked.results
    assets = resources.files("tinyrerank.evaluate.compare")
    style = assets.joinpath("page.css").read_text(encoding="utf-8")
    script = assets.joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    names = ", ".join(contender.label for contender in report.contenders)
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f"<title>Comparison: {_text(names)}</title>\n<style>{style}</style></head>\n<body>",
        '<a class="skip" href="#queries-title">Skip to the queries</a>',
        f"<header><h1>Which reranker?</h1>{_introduction(report)}</header>\n<main>",
        _verdicts(results),
        _systems_table(report),
        _plot_section(report),
        _sets_table(results),
        _queries_section(results),
        _provenance(report),
        "</main>",
        f'<script type="application/json" id="data">{_json(page_data(report))}</script>',
        f"<script>{script}</script></body></html>\n",
    ]
    return "\n".join(parts)


def page_data(report: Report) -> dict[str, Any]:
    """What ``page.js`` works on; systems are numbers, in the order of the table."""
    results = report.ranked.results
    number = {label: i for i, label in enumerate(results.systems)}
    tests: dict[str, dict[str, tuple[float, float]]] = {}
    for one in results.comparisons:
        if one.metric == METRIC:
            name = "all" if one.set_name == ALL_SETS else one.set_name
            tests.setdefault(name, {})[f"{number[one.a]} {number[one.b]}"] = (one.difference, one.p)
    return {
        "metric": METRIC,
        "top": TOP,
        "systems": list(results.systems),
        "tests": tests,
        "sets": [_set_data(report, task) for task in report.tasks],
    }


def _set_data(report: Report, task: Task) -> dict[str, Any]:
    """One set's queries with values, and the documents that any system puts among the first ten."""
    results, runs = report.ranked.results, report.ranked.runs[task.name]
    systems = next(one for one in results.sets if one.name == task.name).systems
    values = {
        query: [round(systems[label].per_query[METRIC][query], 4) for label in results.systems]
        for query in task.queries
    }
    by_spread = sorted(task.queries, key=lambda query: min(values[query]) - max(values[query]))
    with_texts = set(by_spread[: report.texts])
    documents: dict[str, tuple[str, str, int]] = {}
    queries = []
    for query, text in task.queries.items():
        row: dict[str, Any] = {"id": query, "text": text, "values": values[query]}
        if query in with_texts:
            ranks = [_ranks(runs[label].get(query, [])) for label in results.systems]
            shown = dict.fromkeys(key for one in ranks for key, rank in one.items() if rank <= TOP)
            grades = task.qrels[query]
            row["documents"] = [(key, grades.get(key), [one.get(key) for one in ranks]) for key in shown]
            for key in shown:
                whole = task.documents[key]["text"]
                documents[key] = (task.documents[key]["title"], whole[:TEXT_CHARACTERS], len(whole))
        queries.append(row)
    return {
        "name": task.name,
        "relevant_from": task.relevant_from,
        "queries": queries,
        "documents": documents,
    }


def _ranks(listed: Sequence[str]) -> dict[str, int]:
    return {key: rank for rank, key in enumerate(listed, 1)}


def _introduction(report: Report) -> str:
    tasks = report.tasks
    names = ", ".join(f"<b>{_text(contender.label)}</b>" for contender in report.contenders)
    sets = ", ".join(f"{task.name} ({len(task.queries)})" for task in tasks)
    created = report.ranked.results.created[:10]
    return (
        f'<p>{names}</p><p class="soft">{_text(created)}. Test sets and their queries: {_text(sets)}. '
        "Every system ranks the same candidates.</p>"
    )


def _verdicts(results: Results) -> str:
    """What the tests on the mean over sets say: those with the list or the first model, then the others."""
    tests = [one for one in results.comparisons if one.set_name == ALL_SETS and one.metric == METRIC]
    first = [one for one in tests if {FIRST_STAGE, results.main} & {one.a, one.b}]
    others = "".join(f"<li>{_verdict(one)}</li>" for one in tests if one not in first)
    if others:
        others = f'<details class="more-tests"><summary>All other pairs</summary><ul>{others}</ul></details>'
    lines = "".join(f"<li>{_verdict(one)}</li>" for one in first)
    return (
        f"<h2>What the queries say</h2><ul>{lines}</ul>{others}"
        f'<p class="soft">Mean {METRIC} over the sets, and a two-sided paired randomization test, query by'
        " query. p is the chance of a difference at least this"
        f" large if both were equally good; of {len(tests)} tests, 1 in 20 falls below 0.05 by luck.</p>"
    )


def _verdict(one: Comparison) -> str:
    a, b, size = (f"<b>{_text(one.a)}</b>", f"<b>{_text(one.b)}</b>", f"{abs(one.difference):.4f}")
    p = _chance(one.p)
    if one.p >= _SIGNIFICANT:
        return f"{a} and {b} cannot be told apart: {one.difference:+.4f}, {p}"
    word = "better" if one.difference > 0 else "worse"
    return f"{a} ranks {word} than {b} by {size}, {p}"


def _chance(p: float) -> str:
    """A p; the least that so many draws can show is told as a bound."""
    return "p&nbsp;&lt;&nbsp;0.001" if p < 0.0002 else f"p&nbsp;=&nbsp;{p:.4f}"


def _systems_table(report: Report) -> str:
    results = report.ranked.results
    columns = [
        ("System", "up", ""),
        (METRIC, "down", ""),
        ("Difference", "down", ""),
        ("p", "up", ""),
        ("MRR@10", "down", ""),
        ("Hit@10", "down", ""),
        ("ms a query", "up", ""),
        ("Documents/s", "down", ""),
        ("Memory, MiB", "up", ""),
        ("Load, ms", "up", ""),
        ("Size, MB", "up", ""),
        ("Parameters", "up", ""),
        ("Reads, tokens", "down", ""),
        ("Licence", "up", "text"),
        ("Runs on", "up", "text"),
    ]
    heads = "".join(
        f'<th scope="col" aria-sort="none" data-first="{first}" class="{kind}">'
        f'<button type="button">{name}</button></th>'
        for name, first, kind in columns
    )
    rows = "".join(_system_row(report, i, contender) for i, contender in enumerate(report.contenders))
    options = _options(results)
    timed = ""
    if report.costs:
        some = next(iter(report.costs.values()))
        timed = (
            f" Time is the median over {some.queries} measurement{'' if some.queries == 1 else 's'} of a"
            f" query with about {some.documents:.0f} candidates; memory is the peak of a whole process."
            f" Machine: {_text(report.machine)}."
        )
    return (
        "<h2>The systems</h2>"
        f'<div class="controls"><label>Difference to <select id="reference">{options}</select></label></div>'
        '<div class="scroll" role="region" aria-label="The systems" tabindex="0">'
        f'<table id="systems"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        f'<p class="soft">Means over the sets. Press a column\'s name to sort by it.{timed}</p>'
    )


def _system_row(report: Report, number: int, contender: Contender) -> str:
    results, label = report.ranked.results, contender.label
    cost = report.costs.get(label)
    cells = [_number(results.mean(label, METRIC), "{:.4f}")]
    cells += ['<td class="difference">&ndash;</td>', '<td class="p">&ndash;</td>']
    cells += [_number(results.mean(label, metric), "{:.4f}") for metric in ("MRR@10", "Hit@10")]
    cells += _cost_cells(cost, contender.disk_bytes)
    cells += [
        f'<td class="text">{_text(contender.licence) or "&ndash;"}</td>',
        f'<td class="text">{_text(cost.runs_on) if cost else "&ndash;"}</td>',
    ]
    return f'<tr data-system="{number}"><th scope="row">{_text(label)}</th>{"".join(cells)}</tr>'


def _cost_cells(cost: Cost | None, disk_bytes: int) -> list[str]:
    size = _number(disk_bytes / 1e6 if disk_bytes else None, "{:,.1f}")
    if cost is None:
        return [_number(None, "")] * 4 + [size] + [_number(None, "")] * 2
    return [
        _number(cost.ms, "{:,.0f}" if cost.ms >= 10 else "{:,.1f}"),
        _number(cost.documents_per_s, "{:,.0f}"),
        _number(cost.peak_mib, "{:,.0f}"),
        _number(cost.load_ms, "{:,.0f}"),
        size,
        _number(cost.parameters, "{:,.0f}"),
        _number(cost.max_length, "{:,.0f}"),
    ]


def _number(value: float | None, form: str) -> str:
    if value is None:
        return '<td data-value="">&ndash;</td>'
    return f'<td data-value="{value}">{form.format(value)}</td>'


def _plot_section(report: Report) -> str:
    results = report.ranked.results
    points = [
        (label, cost.documents_per_s, results.mean(label, METRIC)) for label, cost in report.costs.items()
    ]
    if not points:
        return '<h2>Quality against speed</h2><p class="soft">Nothing was timed.</p>'
    return "<h2>Quality against speed</h2>" + scatter(
        points, base=(FIRST_STAGE, results.mean(FIRST_STAGE, METRIC)), metric=METRIC
    )


def _sets_table(results: Results) -> str:
    """Every set a row, every system a column; under a value its difference to the list."""
    heads = "".join(f'<th scope="col">{_text(label)}</th>' for label in results.systems)
    rows = []
    for one in results.sets:
        cells = [f'<th scope="row">{_text(one.name)}</th><td>{one.n_queries}</td>']
        for label, values in one.systems.items():
            under = ""
            if label != FIRST_STAGE:
                difference, p = _against_list(results, label, one.name)
                tone = ("good" if difference > 0 else "bad") if p < _SIGNIFICANT else ""
                under = f'<small class="{tone}">{difference:+.4f}, {_chance(p)}</small>'
            cells.append(f"<td>{values.mean(METRIC):.4f}{under}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        '<h2>Set by set</h2><div class="scroll" role="region" aria-label="Set by set" tabindex="0"><table>'
        f'<thead><tr><th scope="col">Set</th><th scope="col">Queries</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="soft">{METRIC}; below it the difference to {FIRST_STAGE}, coloured where p is below'
        " 0.05.</p>"
    )


def _against_list(results: Results, label: str, set_name: str) -> tuple[float, float]:
    """Difference to the list and its p, whichever way the pair was tested."""
    for one in results.comparisons:
        if (one.set_name, one.metric) == (set_name, METRIC) and {one.a, one.b} == {label, FIRST_STAGE}:
            return (one.difference if one.a == label else -one.difference), one.p
    raise AssertionError("every pair was tested")


def _queries_section(results: Results) -> str:
    sets = "".join(f'<option value="{i}">{_text(one.name)}</option>' for i, one in enumerate(results.sets))
    which = (
        '<option value="all">all queries</option><option value="won">wins of the first</option>'
        '<option value="lost">losses of the first</option>'
    )
    return (
        '<h2 id="queries-title">Query by query</h2><div class="controls">'
        f'<label>System <select id="side-a">{_options(results, results.main)}</select></label>'
        f'<label>against <select id="side-b">{_options(results, FIRST_STAGE)}</select></label>'
        f'<label>Set <select id="set">{sets}</select></label>'
        f'<label>Show <select id="which">{which}</select></label></div>'
        '<p id="summary" aria-live="polite">The list of queries needs scripts to be allowed.</p>'
        '<div id="share" class="share" aria-hidden="true"></div><div id="queries"></div>'
        '<button type="button" id="more" class="more" hidden>Show more</button>'
    )


def _options(results: Results, selected: str = FIRST_STAGE) -> str:
    return "".join(
        f'<option value="{i}"{" selected" if label == selected else ""}>{_text(label)}</option>'
        for i, label in enumerate(results.systems)
    )


def _provenance(report: Report) -> str:
    results = report.ranked.results
    lines = [f"{one.name}: {one.first_stage}; {one.n_pairs:,} pairs" for one in results.sets]
    lines += [f"{one.name}: {note}" for one in results.sets for note in one.notes]
    for one in results.sets:
        for label, values in one.systems.items():
            if values.cut:
                lines.append(f"{one.name}: {label} cut {values.cut:,} of {values.pairs:,} documents short")
    for label, identity in results.systems.items():
        if identity:
            told = ", ".join(f"{key} {value}" for key, value in identity.items() if value is not None)
            lines.append(f"{label}: {told}")
    lines.append("versions: " + ", ".join(f"{name} {number}" for name, number in results.versions.items()))
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return f'<h2>How it was made</h2><ul class="soft" style="overflow-wrap:anywhere">{items}</ul>'


def _text(value: str) -> str:
    return html.escape(value)


def _json(data: dict[str, Any]) -> str:
    """JSON that no browser can take for the end of its element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
