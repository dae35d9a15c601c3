"""Fills the figures of docs/robustness.md from docs/results: none of them is typed by hand.

    python benchmarks/robustness_doc.py

``load.py`` and ``soak.py`` call it when they write into docs/results. Text between ``<!-- NAME -->`` and
``<!-- /NAME -->`` is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from page import DOCS, fill

RESULTS = DOCS / "results"
PAGE = DOCS / "robustness.md"
ABSENT = "*(not measured yet)*"


def results(name: str) -> dict[str, Any]:
    """One results file."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def levels() -> str:
    """What was asked of the load levels, their table and plot."""
    from load import verdicts
    from load_plot import table

    found = results("load")
    asked = "\n".join(f"- {verdict}" for verdict in verdicts(found))
    return f"{table(found)}\n{asked}\n\n![throughput and latency against offered load](results/load.png)"


def servers() -> str:
    """The rates of the servers side by side."""
    from load_plot import table

    return f"{table(results('load-baseline'))}\n![p99 against rate](results/load-baseline.png)"


def soak() -> str:
    """What a long run with mixed traffic left."""
    found = results("soak")
    statuses = ", ".join(f"{name}: {n:,}" for name, n in found["statuses"].items())
    return (
        f"{found['minutes']:g} minutes, {found['clients']} clients, at most {found['per_s']:g} requests/s,"
        f" {found['threads']} engine threads, {found['workers']} worker(s), room for"
        f" {found['cache_entries']:,} scores in the cache.\n"
        f"{found['requests']:,} requests ({statuses}).\n"
        f"{found['scores_compared']:,} scores compared with the library's, {found['scores_changed']} changed,"
        f" {len(found['unexpected'])} unexpected answers. Resident memory {found['memory_first_mb']:.1f} MB"
        f" after {found['warmup_minutes']:g} minutes of warm-up, {found['memory_last_mb']:.1f} MB at the end:"
        f" {found['growth']:+.1%} (allowed: 5 %).\n\n![resident memory over time](results/soak.png)"
    )


SECTIONS: dict[str, Callable[[], str]] = {"levels": levels, "servers": servers, "soak": soak}


def main() -> None:
    """Fill the page."""
    for name, make in SECTIONS.items():
        try:
            text = make()
        except FileNotFoundError as error:
            print(f"{name}: not filled, no {Path(error.filename).name}")
            text = ABSENT
        fill(PAGE, name, text)


if __name__ == "__main__":
    main()
