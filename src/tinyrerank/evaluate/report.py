"""Shows results: a table for the terminal, Markdown, and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyrerank.errors import MissingExtraError
from tinyrerank.evaluate.metrics import METRICS
from tinyrerank.evaluate.results import ALL_SETS, FIRST_STAGE, Comparison, Results, SetResult
from tinyrerank.progress import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAIN_METRIC = METRICS[0]
_SIGNIFICANT = 0.05
_INTRODUCTION = (
    f"{_MAIN_METRIC} by set. `list` is the first stage that was re-ranked; p is that of a two-sided paired "
    "randomization test against it, query by query."
)
# Okabe and Ito's palette, distinct for colour-blind readers; the first is the main system's.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_TICK: dict[str, Any] = {"color": "0.45", "marker": "|", "markersize": 11, "markeredgewidth": 2}
_PLOT_CAPTION = "filled: differs from the list, p < 0.05; hollow: it may be chance"
#: From one system to the next within a set's row.
_STEP_DOWN = 0.22
_MARKERS = ("o", "s", "^", "D", "v", "P")


def terminal_table(results: Results) -> str:
    """The main metric by set, the means of all metrics, the tests on the mean, and what was left out."""
    blocks = [
        _aligned([_set_header(results), *_set_rows(results)]),
        _aligned([["mean over sets", *METRICS], *_mean_rows(results)]),
        "\n".join(_test_lines(results)),
        "\n".join(_note_lines(results)),
    ]
    return "\n\n".join(block for block in blocks if block)


def markdown(results: Results) -> str:
    """The same tables, every metric set by set, the settings and the versions."""
    parts = [
        f"# Evaluation of {results.main}",
        _INTRODUCTION,
        _pipes([_set_header(results), *_set_rows(results)]),
        "## All metrics, mean over sets",
        _pipes([["system", *METRICS], *_mean_rows(results)]),
    ]
    parts += ["\n".join(f"- {line}" for line in [*_test_lines(results), *_note_lines(results)])]
    for one in results.sets:
        rows = [[name, *(f"{values.mean(m):.4f}" for m in METRICS)] for name, values in one.systems.items()]
        parts += [
            f"## {one.name}",
            _set_line(one),
            _pipes([["system", *METRICS], *rows]),
        ]
    parts += ["## How it was made", "\n".join(_provenance(results))]
    return "\n\n".join(part for part in parts if part) + "\n"


def require_plotting() -> None:
    """Find out before the work, not after it, that the plot cannot be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401 - only whether it is there
    except ImportError:
        raise MissingExtraError("a plot", "eval") from None


def plot(results: Results, path: Path) -> None:
    """A PNG: one row a set, a dot a system, and the mean over sets at the foot.

    A filled dot differs from the list with p below 0.05, a hollow one does not.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_plotting()
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    names = [one.name for one in results.sets]
    rows = [*names, ALL_SETS] if len(names) > 1 else names
    heights = [-float(i) - (0.6 if name == ALL_SETS else 0.0) for i, name in enumerate(rows)]
    styles = _styles(results)
    n_marks = max(len(styles), 1)
    row_inches = 0.25 + 0.1 * n_marks
    step = min(_STEP_DOWN, 0.75 / n_marks)  # the last system of a set stays above the next set
    figure = Figure(figsize=(8, 1.7 + row_inches * len(rows)), dpi=150, layout="constrained")
    axes = figure.subplots()
    for name, y in zip(rows, heights, strict=True):
        _plot_row(axes, results, name, y, step)
    if len(names) > 1:
        axes.axhline((heights[-1] + heights[-2]) / 2, color="0.8", linewidth=0.8)
    axes.set_yticks(heights, [_row_label(results, name) for name in rows])
    axes.set_ylim(heights[-1] - step * max(n_marks, 3), 0.7)
    axes.set_xlabel(f"{_MAIN_METRIC} (in brackets: queries)")
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    keys = [Line2D([], [], **_TICK, linestyle="", label="list (first stage)")]
    for name, (colour, marker) in styles.items():
        keys.append(Line2D([], [], color=colour, marker=marker, linestyle="", label=name))
    figure.legend(handles=keys, loc="outside upper center", ncols=min(len(keys), 4), frameon=False)
    if styles:
        figure.supxlabel(_PLOT_CAPTION, fontsize=8, color="0.4")
    figure.savefig(path)


def _plot_row(axes: Axes, results: Results, name: str, y: float, step: float) -> None:
    """The list as an upright stroke, the main system on the line from it, the others a little below."""
    base = _value(results, FIRST_STAGE, name)
    axes.plot(base, y, **_TICK)
    for i, (system, (colour, marker)) in enumerate(_styles(results).items()):
        value = _value(results, system, name)
        if system == results.main:
            axes.plot([base, value], [y, y], color=colour, alpha=0.4, zorder=1)
        sure = results.comparison(system, FIRST_STAGE, name, _MAIN_METRIC).p < _SIGNIFICANT
        face = colour if sure else "white"
        axes.plot(value, y - step * i, marker=marker, markersize=6, color=colour, markerfacecolor=face)


def _styles(results: Results) -> dict[str, tuple[str, str]]:
    """Colour and marker by system, the main one first, the list left out."""
    names = [results.main, *(name for name in results.systems if name != results.main)]
    names = [name for name in names if name != FIRST_STAGE]
    return {name: (_COLOURS[i % 6], _MARKERS[i % 6]) for i, name in enumerate(names)}


def _value(results: Results, system: str, set_name: str) -> float:
    if set_name == ALL_SETS:
        return results.mean(system, _MAIN_METRIC)
    return next(one for one in results.sets if one.name == set_name).systems[system].mean(_MAIN_METRIC)


def _row_label(results: Results, name: str) -> str:
    if name == ALL_SETS:
        return f"mean over {len(results.sets)} sets"
    return f"{name} ({next(one for one in results.sets if one.name == name).n_queries})"


def _set_header(results: Results) -> list[str]:
    header = [_MAIN_METRIC, "queries", *results.systems]
    return header if results.main == FIRST_STAGE else [*header, f"{results.main} - list", "p"]


def _set_rows(results: Results) -> list[list[str]]:
    rows = []
    for one in results.sets:
        row = [one.name, str(one.n_queries), *(f"{v.mean(_MAIN_METRIC):.4f}" for v in one.systems.values())]
        rows.append(row + _difference(results, one.name))
    if len(results.sets) > 1:
        means = [f"{results.mean(name, _MAIN_METRIC):.4f}" for name in results.systems]
        rows.append([f"mean over {len(results.sets)} sets", "", *means, *_difference(results, ALL_SETS)])
    return rows


def _difference(results: Results, set_name: str) -> list[str]:
    if results.main == FIRST_STAGE:
        return []
    tested = results.comparison(results.main, FIRST_STAGE, set_name, _MAIN_METRIC)
    return [f"{tested.difference:+.4f}", f"{tested.p:.4f}"]


def _mean_rows(results: Results) -> list[list[str]]:
    return [[name, *(f"{results.mean(name, metric):.4f}" for metric in METRICS)] for name in results.systems]


def _test_lines(results: Results) -> list[str]:
    """One sentence for each pair of systems, on the mean over sets."""
    tests = [c for c in results.comparisons if c.set_name == ALL_SETS and c.metric == _MAIN_METRIC]
    return [f"{c.a} {_verdict(c)} {c.b}: {c.difference:+.4f} {_MAIN_METRIC}, p = {c.p:.4f}" for c in tests]


def _verdict(tested: Comparison) -> str:
    if tested.p >= _SIGNIFICANT:
        return "is not distinguishable from"
    return "ranks better than" if tested.difference > 0 else "ranks worse than"


def _note_lines(results: Results) -> list[str]:
    lines = [f"{one.name}: {note}" for one in results.sets for note in (*one.notes, *_cut_notes(one))]
    for name in results.systems:
        seconds = sum(one.systems[name].seconds for one in results.sets)
        pairs = sum(one.systems[name].pairs for one in results.sets)
        if seconds:
            lines.append(
                f"{name} scored {pairs:,} pairs in {duration(seconds)} ({pairs / seconds:,.0f} a second)"
            )
    return lines


def _cut_notes(one: SetResult) -> list[str]:
    return [
        f"{name} did not read {values.cut:,} of {values.pairs:,} documents to the end"
        for name, values in one.systems.items()
        if values.cut
    ]


def _set_line(one: SetResult) -> str:
    return (
        f"{one.n_queries} {one.split} queries, {one.n_documents:,} documents, {one.n_pairs:,} pairs; "
        f"first stage {one.first_stage}; relevant from grade {one.relevant_from}."
    )


def _provenance(results: Results) -> list[str]:
    lines = [f"- {name}: {_inline(identity)}" for name, identity in results.systems.items() if identity]
    lines += [f"- settings: {_inline(results.settings)}", f"- versions: {_inline(results.versions)}"]
    lines += [f"- {one.name}: candidates {one.candidate_hash[:16]}" for one in results.sets]
    return [*lines, f"- made {results.created}"]


def _inline(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _pipes(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first row is the header."""
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|---|" + "--:|" * (len(rows[0]) - 1), *body])
