"""The model beside what it was before and the bi-encoder, on the same queries of every set.

    tinyrerank evaluate SET... --list-weight 0.3 --out runs/new
    tinyrerank evaluate arguana --queries 100 --list-weight 0.3 --out runs/new-arguana
    tinyrerank evaluate SET... --queries 100 --list-weight 0.3 --out runs/old --model OLD_FOLDER
    python benchmarks/quality_sample.py runs/new runs/new-arguana --before runs/old

*Before* may be other weights, or a setting (``--query-window 0``), on other queries: the two are compared,
below the table, on those that both have. The cosine's values are taken from the full evaluation (``--full``),
query by query: it does not change with our weights. All are kept in docs/results/tiny-en-sample; the table
goes into docs/quality.md, between ``<!-- sample -->`` and ``<!-- /sample -->``.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinyrerank.evaluate.results import Results, load_results
from tinyrerank.evaluate.significance import randomization_test

ROOT = Path(__file__).resolve().parents[1]
METRIC = "NDCG@10"
Values = dict[str, dict[str, float]]  # by set and query


def values_of(evaluations: Sequence[Results], suffix: str = "", system: str = "") -> Values:
    """NDCG@10 of every query that a system (the model of each evaluation if not named) ranked."""
    return {
        one.name: dict(one.systems[(system or results.main) + suffix].per_query[METRIC])
        for results in evaluations
        for one in results.sets
    }


def table(columns: dict[str, Values], ours: str) -> str:
    """A row a set and the mean last; ours against each other column, with p in the last row."""
    sets = columns[ours]
    others = [name for name in columns if name != ours]
    titles = ["set", "queries", *columns]
    rows = [titles, ["---", *["--:"] * (len(titles) - 1)]]
    means = {
        name: [float(np.mean([values[s][q] for q in sets[s]])) for s in sets]
        for name, values in columns.items()
    }
    for n, name in enumerate(sets):
        rows.append([name, str(len(sets[name])), *(f"{means[c][n]:.3f}" for c in columns)])
    n_queries = sum(map(len, sets.values()))
    overall = {name: float(np.mean(found)) for name, found in means.items()}
    rows.append(["**mean**", str(n_queries), *(f"**{overall[name]:.4f}**" for name in columns)])
    tests = {}
    for other in others:
        groups = [[sets[s][q] - columns[other][s][q] for q in sets[s]] for s in sets]
        [tests[other]] = randomization_test(groups)
    cells = ["" if c == ours else f"{tests[c].difference:+.4f}, p = {tests[c].p:.4f}" for c in columns]
    rows.append([f"{ours}, difference", "", *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def against(new: Values, old: Values) -> str:
    """A sentence on the queries that both have."""
    common = {name: [query for query in new[name] if query in old[name]] for name in new}
    means = [
        float(np.mean([np.mean([values[name][query] for query in common[name]]) for name in common]))
        for values in (old, new)
    ]
    groups = [[new[name][query] - old[name][query] for query in common[name]] for name in common]
    [test] = randomization_test(groups)
    n = sum(map(len, common.values()))
    return (
        f"Before and now, on the {n} queries that both evaluations have: {means[0]:.4f} and {means[1]:.4f}"
        f" ({test.difference:+.4f}, p = {test.p:.4f})."
    )


def main() -> None:
    """Compare, keep, fill the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("new", type=Path, nargs="+", help="evaluations of the new weights, each on sets of its own")
    add("--before", type=Path, required=True, help="evaluation of the weights before")
    add(
        "--full",
        type=Path,
        default=ROOT / "docs/results/tiny-en",
        help="evaluation with the cosine, all queries",
    )
    args = parser.parse_args()
    new = [load_results(path) for path in args.new]
    columns = {
        "list": values_of(new, system="list"),
        "these weights": values_of(new),
        "these weights + list": values_of(new, "+list"),
        "all-MiniLM-L6-v2, cosine": values_of([load_results(args.full)], system="cosine"),
    }
    before = values_of([load_results(args.before)])
    made = table(columns, "these weights") + "\n\n" + against(columns["these weights"], before)
    target = ROOT / "docs/results/tiny-en-sample"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for source in [*args.new, args.before]:
        shutil.copy(source / "results.json", target / f"{source.name}.json")
    page = ROOT / "docs/quality.md"
    head, begin, rest = page.read_text(encoding="utf-8").partition("<!-- sample -->\n")
    _, end, after = rest.partition("<!-- /sample -->")
    if not end:
        raise SystemExit(f"{page.name} has no place for the table")
    page.write_text(f"{head}{begin}\n{made}\n\n{end}{after}", encoding="utf-8")
    print(made)


if __name__ == "__main__":
    main()
