"""``tinyrerank train``: make a model from a recipe."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tinyrerank.errors import InputError

_DESCRIPTION = """\
Train a model from a recipe (TOML): read data, learn a tokenizer, ask the teachers, distil hidden states,
distil rankings, and write an int8 model folder with its manifest and card.

Every stage leaves its result in the working folder and is passed over when that is there: after an
interrupt, the same command goes on from the last checkpoint. To run a stage again, delete its result."""

_EPILOG = """\
stages: pool, tokenizer, teach, hidden, rank, export

examples:
  tinyrerank train recipes/tiny-en/cpu.toml --data ../shared/data --out my-model
  tinyrerank train recipe.toml --stages pool tokenizer        only look at data and vocabulary
  TINYRERANK_DATA=data tinyrerank train recipe.toml --device cuda --out my-model

A recipe names the folders of its teachers, relative to where the command runs; recipes/README.md says
where to get each."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``train``."""
    parser = subparsers.add_parser(
        "train",
        help="train a model from a recipe (extra: train)",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("recipe", type=Path, metavar="RECIPE.toml", help="what to do")
    add("--data", type=Path, metavar="DIR", help="folder with train/ and eval/ (default: $TINYRERANK_DATA)")
    add("--work", type=Path, metavar="DIR", help="intermediate results (default: runs/train/NAME)")
    add("--out", type=Path, metavar="DIR", help="the model folder (default: WORK/model)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto, a GPU if there is one)")
    add("--threads", type=int, metavar="N", help="CPU threads (default: all cores this process may use)")
    add("--stages", nargs="+", metavar="STAGE", help="only these (default: all)")
    add(
        "--report",
        nargs="+",
        type=Path,
        default=[],
        metavar="SET",
        help="BEIR sets the teachers rank",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, stage by stage."""
    from tinyrerank.errors import MissingExtraError

    try:
        import torch
    except ImportError:
        raise MissingExtraError("training", "train") from None
    from tinyrerank.engine.threads import usable_cpus
    from tinyrerank.train.pipeline import STAGES, Pipeline
    from tinyrerank.train.recipe import load_recipe

    recipe = load_recipe(args.recipe)
    data = args.data or os.environ.get("TINYRERANK_DATA")
    if not data:
        raise InputError("no data folder: pass --data DIR or set TINYRERANK_DATA")
    stages = args.stages or list(STAGES)
    unknown = [s for s in stages if s not in STAGES]
    if unknown:
        raise InputError(f"unknown stage {', '.join(unknown)}; known: {', '.join(STAGES)}")
    name = args.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {name}: torch sees no GPU here; use --device cpu")
    torch.set_num_threads(args.threads or usable_cpus())
    work = args.work or Path("runs") / "train" / recipe.name
    work.mkdir(parents=True, exist_ok=True)
    Pipeline(
        recipe=recipe,
        data=Path(data),
        work=work,
        out=args.out or work / "model",
        device=torch.device(name),
        report_on=args.report,
    ).run(stages)
    return 0
