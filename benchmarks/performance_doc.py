"""Fills the tables of docs/performance.md from docs/results/bench: no figure there is typed by hand.

    python benchmarks/performance_doc.py

Text between ``<!-- NAME -->`` and ``<!-- /NAME -->`` is replaced by the table of that name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from page import DOCS, fill

RESULTS = DOCS / "results" / "bench"
PAGE = DOCS / "performance.md"
ABSENT = "*(not measured yet)*"
LIBRARIES = ("onnxruntime", "openvino", "torch")
Figures = dict[str, Any]


def load(name: str) -> Figures:
    """One results file."""
    figures: Figures = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return figures


def engines(name: str, workload: str = "mix") -> Figures:
    """Figures by engine of one run."""
    found: Figures = next(run for run in load(name)["runs"] if run["workload"] == workload)["engines"]
    return found


def rows(head: str, lines: list[str]) -> str:
    """A Markdown table; numbers to the right."""
    columns = head.count("|") - 1
    return "\n".join([head, "| --- |" + " ---: |" * (columns - 1), *lines])


def best_library(found: Figures) -> tuple[str, Figures]:
    """The fastest engine of another library, on the same weights."""
    theirs = {n: f for n, f in found.items() if n.startswith(LIBRARIES) and "@" not in n}
    name = min(theirs, key=lambda n: theirs[n]["median_ms"])
    return name, theirs[name]


def machine(name: str = "mix") -> str:
    """What a run was measured on."""
    m, peak = load(name)["machine"], load(name)["peak_gops"]
    versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items())
    peaks = ", ".join(f"{mode} {gops:,.0f}" for mode, gops in peak.items())
    threads = load(name)["settings"]["threads"]
    return (
        f"{m['cpu']}, {m['cores']} cores, {m['system']} ({' '.join(m['features'])}); {versions}. Peak of the"
        f" bare product instructions, {threads} threads, in 10^9 operations a second: {peaks}."
    )


def comparison(name: str, workload: str = "mix") -> Callable[[], str]:
    """All engines of one run."""

    def table() -> str:
        lines = []
        for engine, f in engines(name, workload).items():
            limit = f"{f['fraction_of_limit']:.2f}" if "fraction_of_limit" in f else ""
            lines.append(
                f"| {engine} | {f['median_ms']:,.1f} | {f['best_ms']:,.1f} | {f['times_the_first']:.2f} |"
                f" {f['documents_per_s']:,.1f} | {f['tokens_per_s']:,.0f} | {f['peak_mb']:,.0f} |"
                f" {limit} |"
            )
        head = "| engine | median ms | best ms | times ours | docs/s | tokens/s | peak MB | of limit |"
        return rows(head, lines)

    return table


def pair() -> str:
    """Latency of one pair."""
    lines = [
        f"| {name} | {f['median_ms']:.2f} | {f['p99_ms']:.2f} | {f['p99_ms'] / f['median_ms']:.1f}"
        f" | {f['calls']} |"
        for name, f in engines("pair", "1x64").items()
    ]
    return rows("| engine | p50 ms | p99 ms | p99 / p50 | calls |", lines)


def growth(*names: str) -> Callable[[], str]:
    """One row a workload, of our engine."""

    def table() -> str:
        lines = []
        for run in [run for name in names for run in load(name)["runs"]]:
            f = run["engines"]["native:int8"]
            others = {n: g for n, g in run["engines"].items() if not n.startswith("native")}
            ratio = f"{best_library(others)[1]['median_ms'] / f['median_ms']:.1f}" if others else ""
            lines.append(
                f"| {run['documents']} x {run['tokens'] // run['documents']} | {f['median_ms']:,.1f} |"
                f" {f['median_ms'] / run['documents']:.2f} | {f['tokens_per_s']:,.0f} |"
                f" {f['peak_mb']:,.0f} | {ratio} |"
            )
        head = "| documents x tokens | ms | ms a document | tokens/s | peak MB | OpenVINO bf16 takes, times |"
        return rows(head, lines)

    return table


def profile() -> str:
    """Shares of time."""
    figures = load("profile-mix")
    shares = sorted(figures["shares"].items(), key=lambda item: -item[1])
    return rows("| work | share |", [f"| {kind} | {share:.1%} |" for kind, share in shares])


def picture() -> str:
    """All runs in one plot, drawn anew from the results."""
    from tinyrerank.bench.report import plot

    names = ("mix", "pair", "length", "length-ours")
    plot([run for name in names for run in load(name)["runs"]], RESULTS / "plot.png")
    return "![documents a second, tokens a second by length, latency, memory](results/bench/plot.png)"


def targets() -> str:
    """What the engine was asked to reach, and what it reaches."""
    ours = engines("mix")["native:int8"]
    texts = engines("end-to-end")
    pairs = engines("pair", "1x64")
    one = {name: engines("one-thread", name)["native:int8"] for name in ("mix", "1x64")}
    library, theirs = best_library(engines("mix"))
    text_library, text_theirs = best_library(texts)
    pair_library, pair_theirs = best_library(pairs)
    as_run = engines("as-run")
    lines: list[tuple[str, str, float, float, bool]] = []

    def least(what: str, asked: float, value: float) -> None:
        lines.append((what, "at least", asked, value, value >= asked))

    def most(what: str, asked: float, value: float) -> None:
        lines.append((what, "at most", asked, value, value <= asked))

    least(f"mix, engine alone, times faster than the best library ({library})", 3.0, ratio(theirs, ours))
    least(
        f"mix, end to end, times faster than the best library ({text_library})",
        2.5,
        ratio(text_theirs, texts["native:int8"]),
    )
    least("mix, fraction of the int8 limit", 0.72, ours["fraction_of_limit"])
    for name, asked in (("10x4096", 6.0), ("4x8192", 10.0)):
        found = engines(f"long-{name[-4:]}", name)
        least(
            f"{name}, times faster than the best library",
            asked,
            ratio(best_library(found)[1], found["native:int8"]),
        )
    most(
        f"one pair of 64: p50 in ms, under {pair_library}'s",
        pair_theirs["median_ms"],
        pairs["native:int8"]["median_ms"],
    )
    most(
        "one pair of 64: p99 over p50",
        4.0,
        pairs["native:int8"]["p99_ms"] / pairs["native:int8"]["median_ms"],
    )
    least("mix, two threads over one", 1.85, ratio(one["mix"], ours))
    least("mix, against the padded Hugging Face way", 40.0, ratio(as_run["torch:hf"], as_run["native:int8"]))
    least(
        "mix, tiny against base dimensions, our engine",
        7.0,
        ratio(as_run["native:int8@base"], as_run["native:int8"]),
    )
    most("process memory on mix from texts, MB", 170.0, texts["native:int8"]["peak_mb"])
    most("process memory at 4 x 8192, MB", 300.0, engines("long-8192", "4x8192")["native:int8"]["peak_mb"])
    most("cold start: process start to first score, ms", 250.0, load("mix")["cold_start"]["median_ms"])
    table = [
        f"| {what} | {kind} {asked:,.4g} | {value:,.3g} | {'yes' if holds else '**no**'} |"
        for what, kind, asked, value, holds in lines
    ]
    return rows("| | asked | measured | holds |", table).replace(
        "| --- | ---: | ---: | ---: |", "| --- | --- | ---: | --- |"
    )


def ratio(slow: Figures, fast: Figures) -> float:
    """Of medians."""
    value: float = slow["median_ms"] / fast["median_ms"]
    return value


TABLES: dict[str, Callable[[], str]] = {
    "machine": machine,
    "plot": picture,
    "targets": targets,
    "mix": comparison("mix"),
    "end-to-end": comparison("end-to-end"),
    "pair": pair,
    "long-4096": comparison("long-4096", "10x4096"),
    "long-8192": comparison("long-8192", "4x8192"),
    "as-run": comparison("as-run"),
    "as-run-texts": comparison("as-run-texts"),
    "avx2-machine": lambda: machine("avx2"),
    "avx2": comparison("avx2"),
    "amx-machine": lambda: machine("amx"),
    "amx": comparison("amx"),
    "documents": growth("documents"),
    "length": growth("length", "length-ours"),
    "profile": profile,
}


def main() -> None:
    """Fill the page."""
    for name, make in TABLES.items():
        try:
            text = make()
        except (FileNotFoundError, KeyError, StopIteration, ValueError) as error:
            print(f"{name}: not filled ({type(error).__name__}: {error})")
            text = ABSENT
        fill(PAGE, name, text)


if __name__ == "__main__":
    main()
