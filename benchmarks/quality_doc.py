"""Fills the table of docs/quality.md from an evaluation: none of its figures is typed by hand.

    tinyrerank evaluate SET... --baseline cosine:FOLDER --list-weight 0.3 --out runs/evaluate/tiny-en
    python benchmarks/quality_doc.py runs/evaluate/tiny-en

Copies results, report and plot to docs/results/tiny-en, and replaces what stands between ``<!-- sets -->``
and ``<!-- /sets -->``.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
METRIC, OURS = "NDCG@10", "tiny-en"
COLUMNS = {
    "list": "list",
    OURS: OURS,
    f"{OURS}+list": f"{OURS} + list",
    "cosine": "all-MiniLM-L6-v2, cosine",
    "cosine+list": "cosine + list",
}


def table(results: dict[str, Any]) -> str:
    """One row a set, the mean last; differences of ours from the list and from the cosine, with their p."""
    compared = {
        (one["set_name"], one["b"]): one
        for one in results["comparisons"]
        if one["a"] == OURS and one["metric"] == METRIC
    }
    others = [system for system in ("list", "cosine") if system in results["means"]]
    shown = [system for system in COLUMNS if system in results["means"]]
    titles = ["set", "queries", *(COLUMNS[system] for system in shown), *(f"against {o}, p" for o in others)]
    rows = [titles, ["---", *["--:"] * (len(titles) - 1)]]

    def row(name: str, title: str, queries: str, means: dict[str, Any]) -> list[str]:
        against = [compared[name, other] for other in others]
        differences = [f"{one['difference']:+.4f}, {one['p']:.4f}" for one in against]
        return [title, queries, *(f"{means[system][METRIC]:.4f}" for system in shown), *differences]

    for one in results["sets"]:
        means = {system: values["means"] for system, values in one["systems"].items()}
        rows.append(row(one["name"], one["name"], f"{one['n_queries']:,}", means))
    rows.append(row("mean over sets", "**mean over sets**", "", results["means"]))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def main(source: Path) -> None:
    """Copy the results and fill the page."""
    results = json.loads((source / "results.json").read_text(encoding="utf-8"))
    target = ROOT / "docs" / "results" / OURS
    target.mkdir(parents=True, exist_ok=True)
    for name in ("results.json", "report.md", "plot.png"):
        shutil.copy(source / name, target / name)
    page = ROOT / "docs" / "quality.md"
    before, begin, rest = page.read_text(encoding="utf-8").partition("<!-- sets -->\n")
    _, end, after = rest.partition("<!-- /sets -->")
    if not end:
        raise SystemExit(f"{page.name} has no place for the table")
    page.write_text(f"{before}{begin}\n{table(results)}\n\n{end}{after}", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
