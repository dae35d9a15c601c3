"""The quality page's table: the model, its list and the bi-encoder on the same queries of every set.

    tinyrerank evaluate SET... --list-weight 0.3 --likeness 0.1 --out runs/new
    tinyrerank evaluate SET... --queries 100 --out runs/old --model OLD_FOLDER
    python benchmarks/quality.py runs/new --before runs/old

Several evaluations of the new weights, each on sets of its own, are joined. The cosine's values come from
``--cosine``, query by query: they do not depend on our weights (`tinyrerank evaluate SET... --model none
--baseline cosine:FOLDER --list-weight 0.3` makes them, in hours). *Before* may be other weights or another
setting, on fewer queries: the two are compared on those that both have.

Writes results, report and plot to docs/results/tiny-en and the table into docs/quality.md, between
``<!-- sets -->`` and ``<!-- /sets -->``: none of its figures is typed by hand.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from page import DOCS, fill

from tinyrerank.evaluate.pipeline import write_report, write_results
from tinyrerank.evaluate.results import ALL_SETS, FIRST_STAGE, Results, SetResult, SystemValues, load_results
from tinyrerank.evaluate.significance import randomization_test

METRIC, COSINE = "NDCG@10", "cosine"


def joined(evaluations: Sequence[Results], cosine: Results) -> Results:
    """One evaluation of all sets, the cosine's values beside ours."""
    first = evaluations[0]
    if len(labels := {one.main for one in evaluations}) > 1:
        raise SystemExit(f"evaluations of different models: {', '.join(sorted(labels))}")
    theirs = {one.name: one for one in cosine.sets}
    others = {name: cosine.systems[name] for name in (COSINE, f"{COSINE}+list")}

    def both(one: SetResult) -> SetResult:
        queries = one.systems[FIRST_STAGE].per_query[METRIC]
        added = {name: part(theirs[one.name].systems[name], queries) for name in others}
        return replace(one, systems={**one.systems, **added}, n_queries=len(queries))

    sets = [both(one) for results in evaluations for one in results.sets]
    return replace(first, systems={**first.systems, **others}, sets=sets, comparisons=[])


def part(values: SystemValues, queries: Iterable[str]) -> SystemValues:
    """The values of some queries."""
    chosen = {m: {query: found[query] for query in queries} for m, found in values.per_query.items()}
    return replace(values, per_query=chosen)


def table(results: Results) -> str:
    """One row a set, the mean last; differences of ours from list and cosine, with their p."""
    ours = results.main
    columns = {
        FIRST_STAGE: FIRST_STAGE,
        ours: ours,
        f"{ours}+likeness": "+ likeness",
        f"{ours}+list": "+ list",
        f"{ours}+list+likeness": "+ both",
        COSINE: "all-MiniLM-L6-v2, cosine",
        f"{COSINE}+list": "cosine + list",
    }
    rows = [["set", "queries", *columns.values(), "against list, p", "against cosine, p"]]
    rows.append(["---", *["--:"] * (len(rows[0]) - 1)])

    def tested(name: str) -> list[str]:
        found = [results.comparison(ours, other, name, METRIC) for other in (FIRST_STAGE, COSINE)]
        return [f"{one.difference:+.4f}, {one.p:.4f}" for one in found]

    for one in results.sets:
        means = [f"{one.systems[system].mean(METRIC):.4f}" for system in columns]
        rows.append([one.name, f"{one.n_queries:,}", *means, *tested(one.name)])
    n_queries = sum(one.n_queries for one in results.sets)
    means = [f"**{results.mean(system, METRIC):.4f}**" for system in columns]
    rows.append(["**mean over sets**", f"{n_queries:,}", *means, *tested(ALL_SETS)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def joins(results: Results) -> str:
    """What list and likeness bring, and how the model stands beside the bi-encoder with them."""
    ours = results.main
    names = {
        ours: "the model",
        f"{ours}+likeness": "the model + likeness",
        f"{ours}+list": "the model + list",
        f"{ours}+list+likeness": "the model + both",
        COSINE: "the cosine",
        f"{COSINE}+list": "the cosine + list",
    }
    alone, likeness, in_list, both, *theirs = names
    pairs = [(one, alone) for one in (likeness, in_list, both)]
    pairs += [(likeness, theirs[0]), (both, theirs[0]), (both, theirs[1])]
    rows = ["| | against | mean over sets | p |", "| --- | --- | --: | --: |"]
    tested = replace(results)
    tested.compare(pairs=pairs)
    for a, b in pairs:
        one = tested.comparison(a, b, ALL_SETS, METRIC)
        rows.append(f"| {names[a]} | {names[b]} | {one.difference:+.4f} | {one.p:.4f} |")
    return "\n".join(rows)


def only_main(results: Results) -> Results:
    """The main system alone, all that is compared of the weights before."""
    main = results.main
    sets = [replace(one, systems={main: one.systems[main]}) for one in results.sets]
    return replace(results, systems={main: results.systems[main]}, sets=sets, comparisons=[])


def against(new: Results, before: Results) -> str:
    """A sentence on the queries that both have."""
    theirs = {one.name: one.systems[before.main].per_query[METRIC] for one in before.sets}
    means, groups = [], []
    for one in new.sets:
        ours = one.systems[new.main].per_query[METRIC]
        common = [query for query in ours if query in theirs[one.name]]
        pairs = np.array([(theirs[one.name][query], ours[query]) for query in common])
        means.append(pairs.mean(axis=0))
        groups.append(pairs[:, 1] - pairs[:, 0])
    [test] = randomization_test(groups)
    old, now = np.mean(means, axis=0)
    return (
        f"Before and now, on the {sum(map(len, groups)):,} queries that both evaluations have: {old:.4f} and"
        f" {now:.4f} ({test.difference:+.4f}, p = {test.p:.4f})."
    )


def main() -> None:
    """Join, compare, write, fill the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("new", type=Path, nargs="+", help="evaluations of the new weights, each on sets of its own")
    add("--before", type=Path, required=True, help="evaluation of the weights before")
    add("--cosine", type=Path, default=DOCS / "results/cosine", help="evaluation of the bi-encoder")
    args = parser.parse_args()
    results = joined([load_results(path) for path in args.new], load_results(args.cosine))
    results.compare()
    target = DOCS / "results/tiny-en"
    write_report(results, target)
    before = only_main(load_results(args.before))
    write_results(before, target / "before.json")
    made = "\n\n".join([table(results), joins(results), against(results, before)])
    fill(DOCS / "quality.md", "sets", made)
    print(made)


if __name__ == "__main__":
    main()
