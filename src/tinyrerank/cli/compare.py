"""``tinyrerank compare``: systems beside each other, in one HTML file that works offline."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tinyrerank.errors import InputError
from tinyrerank.types import Policy

if TYPE_CHECKING:
    from tinyrerank.evaluate.compare.contenders import Contender
    from tinyrerank.evaluate.compare.cost import Cost
    from tinyrerank.evaluate.compare.page import Report

_DESCRIPTION = """\
Rank the same candidates with several systems and show what each gains and costs: quality with paired tests,
time, memory, size, licence, and, query by query, where they differ. The report is one HTML file that opens
without a network.

A system is one of
  list                 the order of the first stage, such as BM25; always there
  tiny-en              the model that the package carries
  FOLDER               a model folder: one of ours, or a Hugging Face cross-encoder (extra: train)
  MODEL:ENGINE:MODE    one of ours on an engine (native, onnx, torch), in a mode (int8, bf16, fp32), or either
  NAME=...             any model under another name"""

_EPILOG = """\
examples:
  tinyrerank compare tiny-en tiny-en:fp32 --sets data/nfcorpus        what does int8 cost in quality?
  tinyrerank compare tiny-en my-model --sets data/* --queries 50      a quick look at many sets
  tinyrerank compare tiny-en ms-marco-MiniLM-L-6-v2 --sets data/cacm --out minilm

Scores are kept in the output folder: after an interrupt the same command goes on where it stopped. Time and
memory are measured anew each time, in processes of their own, on some of the same queries; keep the machine
quiet meanwhile, or leave them out with --no-timing."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``compare``."""
    parser = subparsers.add_parser(
        "compare",
        help="put models beside each other in one HTML report (extra: eval)",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("systems", nargs="+", metavar="SYSTEM", help="what to compare")
    add("--sets", nargs="+", type=Path, required=True, metavar="FOLDER", help="test sets: BEIR folders")
    add("--queries", type=int, metavar="N", help="at most so many queries a set, drawn at random")
    add("--split", default="test", help="judgements to use, a file in qrels/ (default: test)")
    add("--first-stage", default="given", metavar="given|bm25|run:NAME", help="the list (default: given)")
    add("--depth", type=int, default=100, metavar="N", help="candidates re-ranked per query (default: 100)")
    add("--max-length", type=int, metavar="N", help="tokens read of a pair (default: each model's own limit)")
    add("--policy", choices=get_args(Policy), default="truncate", help="longer pairs, for models of ours")
    add("--threads", type=int, metavar="N", help="threads (default: all cores this process may use)")
    add("--timed-queries", type=int, default=5, metavar="N", help="queries to time (default: 5)")
    add("--rounds", type=int, default=2, metavar="N", help="processes to time each model in (default: 2)")
    add("--no-timing", action="store_true", help="measure neither time nor memory")
    add("--texts", type=int, default=200, metavar="N", help="queries a set shown with texts (default: 200)")
    add("--out", type=Path, default=Path("runs") / "compare", metavar="DIR", help="default: runs/compare")
    add("--json", action="store_true", help="print the results as JSON, without the values of single queries")
    add("--quiet", action="store_true", help="no progress on standard error")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare, write report.html and results.json, print the table."""
    from tinyrerank.evaluate.compare.cost import measure_costs, sample_requests
    from tinyrerank.evaluate.compare.page import Report, render
    from tinyrerank.evaluate.compare.rank import parse_contenders, rank_all
    from tinyrerank.evaluate.first_stage import load_task, sample_task
    from tinyrerank.evaluate.report import terminal_table

    for name in ("timed_queries", "rounds"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)}: give 1 or more")
    if args.texts < 0:
        raise InputError(f"--texts {args.texts}: give 0 or more")
    contenders = parse_contenders(args.systems)
    loading: dict[str, Any] = {"split": args.split, "first_stage": args.first_stage, "depth": args.depth}
    tasks = [sample_task(load_task(folder, **loading), args.queries) for folder in args.sets]
    reading: dict[str, Any] = {"max_length": args.max_length, "policy": args.policy, "threads": args.threads}
    settings = loading | {"queries": args.queries, **reading}
    ranked = rank_all(tasks, contenders, args.out, **reading, settings=settings, quiet=args.quiet)
    costs: dict[str, Cost] = {}
    if not args.no_timing:
        requests = sample_requests(tasks, args.timed_queries)
        costs = measure_costs(
            contenders, requests, rounds=args.rounds, **reading, say=_silent if args.quiet else _say
        )
    report = Report(tasks, contenders, ranked, costs, machine(args.threads), args.texts)
    written = _write(args.out, render(report), _summary(report))
    table = terminal_table(ranked.results)
    print(_short_json(report) if args.json else f"{table}\n\n{_cost_table(contenders, costs)}".rstrip())
    if not args.quiet:
        _say(f"written: {', '.join(map(str, written))}")
    return 0


def machine(threads: int | None) -> str:
    """Processor and threads, in words."""
    from tinyrerank.engine.threads import thread_count

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    count = thread_count(threads)
    return (
        f"{named[0] if named else platform.machine() or 'unknown'}, {count} thread{'' if count == 1 else 's'}"
    )


def _write(out: Path, page: str, summary: dict[str, Any]) -> list[Path]:
    html_path, json_path = out / "report.html", out / "results.json"
    html_path.write_text(page, encoding="utf-8")
    json_path.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return [html_path, json_path]


def _summary(report: Report) -> dict[str, Any]:
    """Plain data: the results of ``evaluate``, and for each system its cost, size and licence."""
    facts = {
        contender.label: {
            "licence": contender.licence,
            "disk_bytes": contender.disk_bytes,
            **(asdict(report.costs[contender.label]) if contender.label in report.costs else {}),
        }
        for contender in report.contenders
    }
    return {**report.ranked.results.to_json(), "machine": report.machine, "facts": facts}


def _short_json(report: Report) -> str:
    data = {"command": "compare", **_summary(report)}
    for one in data["sets"]:
        for values in one["systems"].values():
            del values["per_query"]
    return json.dumps(data, indent=1, ensure_ascii=False)


def _cost_table(contenders: list[Contender], costs: dict[str, Cost]) -> str:
    if not costs:
        return ""
    width = max(len(contender.label) for contender in contenders)
    head = f"{'':{width}}  ms/query  docs/s  memory MiB  size MB  licence"
    rows = [
        f"{contender.label:{width}}  {cost.ms:8,.1f}  {cost.documents_per_s:6,.0f}"
        f"  {'-' if cost.peak_mib is None else format(cost.peak_mib, ',.0f'):>10}"
        f"  {contender.disk_bytes / 1e6:7,.1f}  {contender.licence}"
        for contender in contenders
        if (cost := costs.get(contender.label))
    ]
    return "\n".join([head, *rows])


def _say(line: str) -> None:
    print(f"tinyrerank: {line}", file=sys.stderr)


def _silent(_line: str) -> None:
    """Say nothing."""
