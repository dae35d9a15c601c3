"""``tinyrerank rank``: documents from files, best first."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tinyrerank.cli import batch, inputs, order
from tinyrerank.cli.inputs import FORMATS, UNITS, Passage, Reading
from tinyrerank.cli.order import Order
from tinyrerank.cli.render import row, table, to_json
from tinyrerank.errors import InputError
from tinyrerank.types import Policy, Ranking

if TYPE_CHECKING:
    from tinyrerank import Reranker

SCHEMA_VERSION = 1
_TABLE_ROWS = 10

_DESCRIPTION = """\
Rank documents by how well they answer a query, best first.

Documents come from files, folders (all their .txt .md .jsonl .csv .tsv files) and '-' for standard input:
  text      a file is one document; with --per paragraph or --per line it is many (standard input: by line)
  Markdown  split under its headings into passages of readable size; --per as for text
  JSONL     one object a line: "text", perhaps "title" and "id"
  CSV, TSV  a header line, then rows with the same fields
"""

_EPILOG = """\
examples:
  tinyrerank rank -q "how do tides work?" notes/*.md
  tinyrerank rank -q "is it safe to eat?" --top-n 3 recipes/
  grep -i tide *.txt | tinyrerank rank -q "what causes spring tides?" -
  tinyrerank rank -q "late payment" --text-field body --id-field ticket tickets.csv --jsonl | head -5
  tinyrerank rank -q "late payment" --policy window contracts/ --json > ranking.json

many queries (the run can be killed and repeated: it goes on where it stopped):
  tinyrerank rank --queries queries.jsonl --out results.jsonl
      each line: {"id": "q1", "query": "how do tides work?", "documents": ["…", {"id": "d7", "text": "…"}]}
  tinyrerank rank --queries queries.jsonl --out results.jsonl notes/
      the same without "documents": every query against the files
  tinyrerank rank --queries bm25.jsonl --list-weight 0.3 --likeness 0.1 --out results.jsonl
      a retriever's lists: its order and documents alike count, too

output: a table on a terminal, else JSONL. Every result says how many of its tokens were read.
exit codes: 0 done, 2 bad argument or query, 3 malformed file, 4 unusable model, 5 missing extra,
6 engine failed, 7 output file in use.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``rank``."""
    parser = subparsers.add_parser(
        "rank",
        help="rank documents from files, folders or standard input",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("sources", nargs="*", metavar="FILE", help="files, folders, or - for standard input")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("-q", "--query", help="what the documents should answer")
    query.add_argument("--queries", metavar="JSONL", help="a file of queries: batch mode")
    order.add_options(parser)
    parser.add_argument("--out", metavar="JSONL", help="batch mode: write results here, and resume from here")

    model = parser.add_argument_group("model")
    model.add_argument("--model", metavar="FOLDER", help="model folder or hub name (default: the embedded)")
    model.add_argument("--engine", default="auto", help="one that `tinyrerank doctor` lists (default: auto)")
    model.add_argument(
        "--device", metavar="D", help="cuda or cuda:N: a GPU, with the engine torch (default: CPU)"
    )
    model.add_argument(
        "--policy",
        choices=get_args(Policy),
        default="truncate",
        help="documents beyond --max-length: read their beginning and say so, read all of them in overlapping"
        " windows and take the best, or stop with an error (default: truncate)",
    )
    model.add_argument(
        "--max-length",
        type=int,
        metavar="TOKENS",
        help="longest pair to read, or with --policy window the length of a window (default: as the model's"
        " config says)",
    )
    model.add_argument(
        "--query-window",
        type=int,
        metavar="TOKENS",
        help="read a longer query in even parts and take the mean of their scores; 0 reads it whole (default:"
        " as the model's config says)",
    )
    model.add_argument("--threads", type=int, metavar="N", help="threads (default: one a usable core)")

    reading = parser.add_argument_group("reading")
    reading.add_argument("--format", choices=tuple(FORMATS), help="format of all files (default: by name)")
    reading.add_argument("--per", choices=UNITS, help="what makes one document of a text or Markdown file")
    reading.add_argument("--text-field", default="text", metavar="NAME", help="key or column of the text")
    reading.add_argument("--title-field", default="title", metavar="NAME", help="key or column of the title")
    reading.add_argument("--id-field", default="id", metavar="NAME", help="key or column of the identifier")

    output = parser.add_mutually_exclusive_group()
    choice: dict[str, Any] = {"dest": "output", "action": "store_const"}
    output.add_argument("--table", **choice, const="table", help="a table, also into a pipe")
    output.add_argument("--json", **choice, const="json", help="one object with everything")
    output.add_argument("--jsonl", **choice, const="jsonl", help="one object a result")


def run(args: argparse.Namespace) -> int:
    """Rank and write the results.

    Raises:
        TinyrerankError: see the exit codes in the help.
    """
    wanted = Order.of(args)
    reading = Reading(args.format, args.per, args.text_field, args.title_field, args.id_field)
    if args.queries is not None:
        if args.output in ("table", "json"):
            raise InputError(f"--{args.output} does not go with --queries, which writes JSONL; leave it out")
        return _run_batch(args, reading, wanted)
    if args.out is not None:
        raise InputError("--out belongs to --queries; for one query, redirect standard output")
    if not args.sources:
        raise InputError("no documents: give files, folders, or - for standard input")
    return _run_one(args, reading, wanted)


def open_reranker(args: argparse.Namespace) -> Reranker:
    """The model that the arguments ask for."""
    from tinyrerank import Reranker

    return Reranker(
        args.model,
        engine=args.engine,
        max_length=args.max_length,
        policy=args.policy,
        query_window=args.query_window,
        threads=args.threads,
        device=args.device,
    )


def _run_batch(args: argparse.Namespace, reading: Reading, wanted: Order) -> int:
    if args.queries == inputs.STDIN:
        raise InputError("--queries must be a file, since it is read twice; - is for documents")
    shared = inputs.read_passages(args.sources, reading) if args.sources else None
    reranker = open_reranker(args)
    depends_on = settings(reranker) | wanted.settings() | {"files": fingerprint(reranker.folder)}
    salt = batch.salt(depends_on, reading, shared)
    batch.run(reranker, batch.Queries(args.queries, salt, shared, reading), wanted, out=args.out)
    return 0


def _run_one(args: argparse.Namespace, reading: Reading, wanted: Order) -> int:
    start = time.perf_counter()
    passages = inputs.read_passages(args.sources, reading)
    read = time.perf_counter()
    reranker = open_reranker(args)
    loaded = time.perf_counter()
    output = args.output or ("table" if sys.stdout.isatty() else "jsonl")
    if output == "table" and wanted.top_n is None:
        wanted = replace(wanted, top_n=_TABLE_ROWS)
    ranking = wanted.rank(reranker, args.query, [passage.document for passage in passages])
    done = time.perf_counter()

    warnings = _warnings(ranking, passages)
    for warning in warnings:
        print(f"tinyrerank: warning: {warning}", file=sys.stderr)
    rows = (row(rank, hit, passages[hit.index]) for rank, hit in enumerate(ranking, 1))
    if output == "table":
        _print_table(ranking, passages, seconds=done - loaded)
    elif output == "jsonl":
        for each in rows:
            print(to_json(each))
    else:
        timings = {
            "read_ms": _ms(read - start),
            "load_ms": _ms(loaded - read),
            "tokenize_ms": round(ranking.timings.tokenize_ms, 3),
            "score_ms": round(ranking.timings.score_ms, 3),
            "total_ms": _ms(done - start),
            "tokens": ranking.timings.tokens,
        }
        envelope = {
            "schema_version": SCHEMA_VERSION,
            "command": "rank",
            "inputs": {"query": args.query, "sources": args.sources, "n_documents": ranking.n_documents},
            "settings": settings(reranker) | wanted.settings(),
            "results": list(rows),
            "warnings": warnings,
            "timings": timings,
        }
        print(to_json(envelope, indent=2))
    return 0


def settings(reranker: Reranker) -> dict[str, Any]:
    """What the results depend on besides query and documents, as it was resolved here."""
    return {
        "model": str(reranker.folder),
        "engine": reranker.engine.name,
        "policy": reranker.policy,
        "max_length": reranker.limit(),
        "overlap_tokens": reranker.overlap_tokens,
        "query_window": reranker.query_window,
    }


def fingerprint(folder: Path) -> dict[str, str]:
    """SHA-256 of each file in a model folder that scores depend on."""
    files = (path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".safetensors", ".bin"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _print_table(ranking: Ranking, passages: Sequence[Passage], *, seconds: float) -> None:
    width = shutil.get_terminal_size().columns
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")  # see no-color.org
    for line in table(ranking, passages, width=width, color=color):
        print(line)
    shown = f"{len(ranking)} of " if len(ranking) < ranking.n_documents else ""
    print(f"{shown}{ranking.n_documents} documents, {_ms(seconds):.0f} ms", file=sys.stderr)


def _warnings(ranking: Ranking, passages: Sequence[Passage]) -> list[str]:
    if not passages:
        return ["there are no documents in what was given"]
    cut = sum(hit.receipt.truncated for hit in ranking)
    if not cut:
        return []
    return [
        f"{cut} of {len(ranking)} results were not read to the end; --policy window reads all of a document"
    ]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
