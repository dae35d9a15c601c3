"""Does the model improve the list that one has? Those of BM25, of bi-encoders, hybrid, of strong retrievers.

    python benchmarks/first_stages.py SET... --work runs/first-stages

Every run in a set's ``runs`` folder is re-ranked, but for closed lists (``judged``). Where the corpus is
whole (no runs but these and BM25's), all-MiniLM-L6-v2 retrieves a *dense* list from it, and reciprocal rank
fusion of that and the BM25 list (given, or made here) makes a *hybrid* one. Columns are the list; the model
alone; and the model joined with the list by `tinyrerank.fuse_with_list`, with different weights. Lists and
scores are kept in ``--work``: what was broken off goes on.

Writes docs/results/first-stages.json (NDCG@10 by first stage, set, system and query) and the table of
docs/quality.md between ``<!-- first-stages -->`` and ``<!-- /first-stages -->``.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from page import DOCS, fill
from quality import METRIC

from tinyrerank import Reranker
from tinyrerank.evaluate.beir import BeirDocument, Run, read_corpus, read_run, whole_text, write_run
from tinyrerank.evaluate.biencoder import BiEncoder, installed_minilm
from tinyrerank.evaluate.first_stage import Task, load_task
from tinyrerank.evaluate.pipeline import evaluate
from tinyrerank.evaluate.results import FIRST_STAGE
from tinyrerank.evaluate.runner import System, fused, reranker_system
from tinyrerank.evaluate.significance import randomization_test
from tinyrerank.fusion import reciprocal_rank_fusion

DEPTH = 100
NAMES = {
    "bm25": "BM25",
    "dense": "all-MiniLM-L6-v2",
    "hybrid": "BM25 and all-MiniLM-L6-v2, by reciprocal ranks",
    "bm25-rm3": "BM25 with RM3",
    "open-ai-ada2": "OpenAI text-embedding-ada-002",
    "d-bert-kd-tasb": "TAS-B (DistilBERT)",
    "splade-p-p-ensemble-distil": "SPLADE++ (ensemble, distilled)",
    "rep-llama": "RepLLaMA (7 billion parameters)",
}
#: Weights of place and likeness, after the model alone.
JOINS = ((0.3, 0.0), (0.3, 0.1), (1.0, 0.0), (1.0, 0.1))


def tasks_of(folder: Path, encoder: BiEncoder, work: Path) -> Iterator[tuple[str, Task]]:
    """Every first stage of a set with its lists."""
    given = sorted(path.name.split(".trec")[0] for path in (folder / "runs").glob("*.trec*"))
    given = [name for name in given if name != "judged"]
    tasks = {name: load_task(folder, first_stage=f"run:{name}", depth=DEPTH) for name in given}
    if not given:
        tasks["bm25"] = load_task(folder, first_stage="bm25", depth=DEPTH)
    yield from tasks.items()
    if tasks.keys() != {"bm25"}:
        return
    words = tasks["bm25"]
    documents, _ = read_corpus(folder)
    path = work / f"{folder.name}.dense.trec.gz"
    if not path.exists():
        write_run(path, dense_run(words.queries, documents, encoder), "dense")
    dense = read_run(path)
    hybrid = {
        query: reciprocal_rank_fusion([words.run.get(query, []), listed])[:DEPTH]
        for query, listed in dense.items()
    }
    for name, run in (("dense", dense), ("hybrid", hybrid)):
        yield name, replace(words, documents=documents, run=run, source=name)


def dense_run(queries: dict[str, str], documents: dict[str, BeirDocument], encoder: BiEncoder) -> Run:
    """The nearest documents of every query by cosine, over the whole corpus."""
    print(f"embedding {len(documents):,} documents")
    passages = encoder.embed(list(map(whole_text, documents.values())))
    cosines = encoder.embed(list(queries.values())) @ passages.T
    keys = list(documents)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :DEPTH]
    return {query: [keys[n] for n in row] for query, row in zip(queries, nearest, strict=True)}


def systems_of(reranker: Reranker) -> dict[str, System]:
    """Columns of the table: the model alone, then joined with the list."""
    model = reranker_system(reranker, "model")
    columns = {"model alone": model}
    for place, likeness in JOINS:
        label = f"place {place:g}" + (f", likeness {likeness:g}" if likeness else "")
        columns[label] = replace(fused(model, place, likeness), label=label)
    return columns


#: NDCG@10 by first stage, set, system and query.
Values = dict[str, dict[str, dict[str, dict[str, float]]]]


def table(values: Values) -> str:
    """One row a first stage: means over its sets, differences from the list, and their p."""
    systems = list(next(iter(next(iter(values.values())).values())))
    columns = [name for name in systems if name != FIRST_STAGE]
    rows = [f"| first stage | sets, queries | the list | {' | '.join(columns)} |"]
    rows.append(f"| --- | --- | --: |{' --: |' * len(columns)}")
    for stage in sorted(values, key=list(NAMES).index):
        sets = values[stage]
        where = next(iter(sets)) if len(sets) == 1 else f"{len(sets)} sets"
        n_queries = sum(len(found[FIRST_STAGE]) for found in sets.values())
        base = np.mean([np.mean(list(found[FIRST_STAGE].values())) for found in sets.values()])
        cells = []
        for column in columns:
            groups = [
                np.array([found[column][query] - value for query, value in found[FIRST_STAGE].items()])
                for found in sets.values()
            ]
            [test] = randomization_test(groups)
            cells.append(f"{test.difference:+.4f}, {test.p:.4f}")
        rows.append(f"| {NAMES[stage]} | {where}, {n_queries:,} | {base:.4f} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """Retrieve, rank, compare, write, fill the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("sets", type=Path, nargs="+", metavar="SET", help="evaluation folders")
    add("--model", help="folder of the model (default: the one in the package)")
    add("--work", type=Path, required=True, help="folder for lists and scores")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    encoder = BiEncoder(installed_minilm())
    values: Values = {}
    with Reranker(args.model) as reranker:
        systems = systems_of(reranker)
        for folder in args.sets:
            for stage, task in tasks_of(folder, encoder, args.work):
                named = replace(task, name=f"{task.name}.{stage}")
                [found] = evaluate([named], list(systems.values()), args.work).sets
                values.setdefault(stage, {})[task.name] = {
                    name: {query: round(value, 4) for query, value in one.per_query[METRIC].items()}
                    for name, one in found.systems.items()
                }
    text = re.sub(r"\n {4,}", "", json.dumps(values, indent=1))  # a system's queries on one line
    (DOCS / "results/first-stages.json").write_text(text + "\n", encoding="utf-8")
    made = table(values)
    fill(DOCS / "quality.md", "first-stages", made)
    print(made)


if __name__ == "__main__":
    main()
