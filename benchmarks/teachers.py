"""What the bi-encoders that taught the model reach on the lists that it ranks, and how much of it it keeps.

    python benchmarks/teachers.py SET... --recipe recipes/tiny-en/late-interaction.toml --work runs/teachers
    python benchmarks/teachers.py      # a new student beside what the teachers reached then

The recipe says where the teachers lie, their prefixes and their weights. Their scores (cosines of texts of up
to 256 tokens, as in the page's cosine column, and late interaction where it has a weight) are standardized
for each query and added with those weights; *+ list + likeness* joins both as `tinyrerank evaluate
--list-weight 0.3 --likeness 0.1` does. The student's values are those of docs/results/tiny-en, and all
comparisons are on its queries. Intervals are 95 % bootstraps over the queries of each set. What teachers said
is kept in ``--work``: what was broken off goes on.

Writes docs/results/teachers.json (NDCG@10 by set, system and query) and the table of docs/quality.md between
``<!-- teachers -->`` and ``<!-- /teachers -->``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from page import DOCS, fill
from quality import METRIC

from tinyrerank.evaluate.beir import whole_text
from tinyrerank.evaluate.first_stage import Task, load_task
from tinyrerank.evaluate.metrics import measure
from tinyrerank.evaluate.results import Results, load_results
from tinyrerank.evaluate.runner import reorder
from tinyrerank.evaluate.significance import randomization_test
from tinyrerank.fusion import list_fusion, with_likeness
from tinyrerank.train.pool import Pool
from tinyrerank.train.recipe import load_recipe
from tinyrerank.train.teachers import Teacher

TOGETHER, HELPED, LIKENESS = "together", " + list + likeness", 0.1
DRAWS = 2_000
#: What of the student is compared, and what the page calls it.
STUDENT = {"": "the student keeps", "+likeness": "with likeness", "+list+likeness": "with list and likeness"}
MAX_LENGTH = 256
#: NDCG@10 by set, system and query.
Values = dict[str, dict[str, dict[str, float]]]


def opinions(task: Task, teacher: Teacher) -> dict[str, tuple[float, dict[str, NDArray[np.float32]]]]:
    """A teacher's ways to judge: the weight of each, and its scores of all candidates, in list order."""
    number = {key: n for n, key in enumerate(task.documents)}
    texts = list(map(whole_text, task.documents.values()))
    asked = [task.queries[query] for query in task.run]
    candidate = np.full((len(asked), max(map(len, task.run.values()))), -1, dtype=np.int32)
    for row, listed in enumerate(task.run.values()):
        candidate[row, : len(listed)] = [number[key] for key in listed]
    found = teacher.opinions(np.arange(len(asked), dtype=np.int32), candidate, *teacher.encode(asked, texts))
    return {
        name: (weight, {q: scores[n, : len(listed)] for n, (q, listed) in enumerate(task.run.items())})
        for name, (weight, scores) in found.items()
    }


def ranked(task: Task, teachers: Sequence[Teacher]) -> dict[str, dict[str, float]]:
    """NDCG@10 of every teacher and of all together, alone and with list and likeness, by query."""
    judged = {name: said for teacher in teachers for name, said in opinions(task, teacher).items()}

    def joined(query: str) -> NDArray[np.float64]:
        total = np.zeros(len(task.run[query]))
        for weight, scores in judged.values():
            total += weight * (scores[query] - scores[query].mean()) / (scores[query].std() or 1.0)
        return total

    systems: dict[str, Mapping[str, Sequence[float] | NDArray[np.floating[Any]]]] = {
        name: scores for name, (_, scores) in judged.items()
    }
    systems[TOGETHER] = {query: joined(query) for query in task.run}
    texts = {query: [whole_text(task.documents[key]) for key in listed] for query, listed in task.run.items()}
    for name in list(systems):
        systems[f"{name}{HELPED}"] = {
            query: with_likeness(list_fusion(list(map(float, values))), texts[query], LIKENESS)
            for query, values in systems[name].items()
        }
    found = {}
    for name, values in systems.items():
        run = {query: reorder(listed, values[query]) for query, listed in task.run.items()}
        found[name] = measure(task.qrels, run, relevant_from=task.relevant_from)[METRIC]
    return found


def interval(pairs: Sequence[NDArray[np.float64]]) -> str:
    """95 % bootstrap interval of the share kept; pairs of (student, teacher), shape (queries, 2), by set."""
    rng = np.random.default_rng(0)
    drawn = np.zeros((DRAWS, 2))
    for pair in pairs:
        drawn += pair[rng.integers(len(pair), size=(DRAWS, len(pair)))].mean(axis=1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], (2.5, 97.5))
    return f"{100 * low:.1f}, {100 * high:.1f}"


def table(teachers: Values, student: Results) -> str:
    """One row a system: its mean over sets, what the student keeps of it, alone and helped, and p."""
    sets = [one for one in student.sets if one.name in teachers]
    head = " | ".join(f"{kept} | difference, p" for kept in STUDENT.values())
    rows = [
        f"| teachers | mean of {len(sets)} sets | {head} |",
        f"| --- |{' --: |' * (1 + 2 * len(STUDENT))}",
    ]
    for name in teachers[sets[0].name]:
        cells = []
        for helped in STUDENT:
            pairs = [
                np.array([(value, teachers[one.name][name][query]) for query, value in values.items()])
                for one in sets
                for values in [one.systems[student.main + helped].per_query[METRIC]]
            ]
            [test] = randomization_test([pair[:, 0] - pair[:, 1] for pair in pairs])
            mine, theirs = np.mean([pair.mean(axis=0) for pair in pairs], axis=0)
            cells += [f"{mine / theirs:.1%} [{interval(pairs)}]", f"{test.difference:+.4f}, {test.p:.4f}"]
        rows.append(f"| {name} | {theirs:.4f} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """Embed, rank, compare, write, fill the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("sets", type=Path, nargs="*", metavar="SET", help="evaluation folders to ask the teachers on")
    add("--recipe", type=Path, help="whose [[teacher]] entries are asked")
    add("--student", type=Path, default=DOCS / "results/tiny-en", help="evaluation of the student")
    add("--work", type=Path, help="folder for what teachers said")
    args = parser.parse_args()
    kept = DOCS / "results/teachers.json"
    if args.sets:
        if args.recipe is None or args.work is None:
            parser.error("with SETs, --recipe says who is asked and --work where answers are kept")
        teachers = [
            Teacher(replace(one, max_length=MAX_LENGTH), Pool([], [], 0), torch.device("cpu"), args.work)
            for one in load_recipe(args.recipe).teacher
        ]
        asked = {task.name: ranked(task, teachers) for task in map(load_task, args.sets)}
        kept.write_text(json.dumps(asked, indent=1) + "\n", encoding="utf-8")
    values = json.loads(kept.read_text(encoding="utf-8"))
    made = table(values, load_results(args.student))
    fill(DOCS / "quality.md", "teachers", made)
    print(made)


if __name__ == "__main__":
    main()
