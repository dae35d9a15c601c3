"""Tables and plots of measurements."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tinyrerank.errors import MissingExtraError

Figures = dict[str, Any]


def table(runs: Sequence[Figures]) -> str:
    """Measurements as plain text, a block for each workload."""
    head = "".join(
        title.rjust(width)
        for title, width in (
            ("median ms", 11),
            ("times", 8),
            ("best ms", 10),
            ("p99 ms", 10),
            ("docs/s", 9),
            ("tokens/s", 10),
            ("peak MB", 9),
            ("of limit", 9),
        )
    )
    lines: list[str] = []
    for run in runs:
        threads = f"{run['threads']} thread{'s' if run['threads'] > 1 else ''}"
        size = f"{run['documents']} documents, {run['tokens']} tokens"
        lines += ["", f"{run['workload']}, {run['level']}: {size}, {threads}", f"  {'':<26}{head}"]
        lines += [_row(name, f) for name, f in run["engines"].items()]
        lines += [f"  {name:<26}not measured: {reason}" for name, reason in run["not_measured"].items()]
    return "\n".join(lines[1:])


def _row(name: str, f: Figures) -> str:
    limit = f"{f['fraction_of_limit']:.2f}" if "fraction_of_limit" in f else ""
    memory = f"{f['peak_mb']:.0f}" if f["peak_mb"] else "?"
    return (
        f"  {name:<26}{f['median_ms']:>11.2f}{f['times_the_first']:>8.2f}{f['best_ms']:>10.2f}"
        f"{f['p99_ms']:>10.2f}{f['documents_per_s']:>9.1f}{f['tokens_per_s']:>10.0f}{memory:>9}{limit:>9}"
    )


def plot(runs: Sequence[Figures], path: Path) -> None:
    """Four panels: documents a second on mix, tokens a second by length, latency of one pair, memory on mix.

    Panels without measurements stay away.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise MissingExtraError("plotting", "eval") from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    main = _main_threads(runs)
    engine = [r for r in runs if r["level"] == "engine" and r["threads"] == main and r["engines"]]
    mix = next((r for r in engine if r["workload"] == "mix"), None)
    pair = next((r for r in engine if re.fullmatch(r"1x\d+", r["workload"])), None)
    panels: list[Callable[[Any], None]] = [
        draw
        for draw in (
            mix and (lambda ax: _bars(ax, mix, "documents_per_s", "documents a second, mix")),
            len(_by_length(engine)) and (lambda ax: _lines(ax, engine)),
            pair and (lambda ax: _latency(ax, pair)),
            mix and (lambda ax: _bars(ax, mix, "peak_mb", "peak memory of the process on mix, MB")),
        )
        if draw
    ]
    if not panels:
        return
    rows = (len(panels) + 1) // 2
    figure, axes = plt.subplots(rows, 2, figsize=(13, 4.6 * rows), layout="constrained", squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for ax, draw in zip(axes.flat, panels, strict=False):
        draw(ax)
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"tinyrerank bench, {main} thread{'s' if main > 1 else ''}")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _main_threads(runs: Sequence[Figures]) -> int:
    return max((run["threads"] for run in runs), default=1)


def _colour(name: str) -> str:
    return "tab:orange" if name.startswith("native") else "tab:grey"


def _bars(ax: Any, run: Figures, key: str, title: str) -> None:  # noqa: ANN401 - matplotlib
    found = [(name, f[key]) for name, f in run["engines"].items() if f[key]]
    found.sort(key=lambda item: item[1], reverse=key == "peak_mb")
    names, values = zip(*found, strict=True)
    bars = ax.barh(names, values, color=[_colour(name) for name in names])
    ax.bar_label(bars, fmt="%.0f", padding=3)
    ax.set_title(title)
    ax.margins(x=0.12)


def _by_length(runs: Sequence[Figures]) -> dict[str, list[tuple[int, float]]]:
    """Tokens a second by engine and pair length, engines with two lengths at least."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for run in runs:
        shape = re.fullmatch(r"\d+x(\d+)", run["workload"])
        if shape and run["documents"] > 1:
            for name, f in run["engines"].items():
                lines.setdefault(name, []).append((int(shape[1]), f["tokens_per_s"]))
    return {name: sorted(points) for name, points in lines.items() if len(dict(points)) > 1}


def _lines(ax: Any, runs: Sequence[Figures]) -> None:  # noqa: ANN401 - matplotlib
    for name, points in _by_length(runs).items():
        ax.plot(*zip(*points, strict=True), marker="o", label=name, color=_colour(name))
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(sorted({n for points in _by_length(runs).values() for n, _ in points}))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    ax.set_xlabel("tokens of a pair")
    ax.set_title("tokens a second, by length")
    ax.legend(frameon=False, fontsize="small")


def _latency(ax: Any, run: Figures) -> None:  # noqa: ANN401 - matplotlib
    found = sorted(run["engines"].items(), key=lambda item: -item[1]["median_ms"])
    names = [name for name, _ in found]
    medians = [f["median_ms"] for _, f in found]
    to_p99 = [max(0.0, f["p99_ms"] - f["median_ms"]) for _, f in found]
    ax.barh(names, medians, color=[_colour(name) for name in names])
    ax.errorbar(medians, names, xerr=[[0] * len(names), to_p99], fmt="none", ecolor="black", capsize=4)
    ax.set_xlabel("ms: bar p50, whisker p99")
    ax.set_title(f"one pair of {run['tokens']} tokens")
