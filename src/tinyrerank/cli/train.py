"""``tinyrerank train`` makes a model; ``synth``, ``mine``, ``teach`` and ``distill`` are its steps."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tinyrerank.errors import InputError

#: Each command's stages, one line for the list of commands, and what it does.
_COMMANDS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "train": (
        ("pool", "tokenizer", "mine", "teach", "hidden", "rank", "export"),
        "train a model from a recipe (extra: train)",
        """\
Train a model from a recipe (TOML): read data, learn a tokenizer, mine lists, ask the teachers, distil hidden
states, distil rankings, and write an int8 model folder with its manifest and card. The steps are commands of
their own: synth, mine, teach, distill.""",
    ),
    "synth": (
        ("pool", "tokenizer"),
        "step of train: read data, make synthetic queries, learn the vocabulary",
        """\
Read the sets that a recipe names, make queries from plain text (headings, questions, key words, sentences,
half and whole passages), hold some out, and learn the vocabulary. Leaves pool/ and tokenizer.json.""",
    ),
    "mine": (
        ("mine",),
        "step of train: compose candidate lists for the teachers to judge",
        """\
Compose a candidate list for every query: given passages, nearest ones of the first teacher, best ones of
BM25, and some by chance. Leaves mined.npz and, for the held-out queries, dev.npz.""",
    ),
    "teach": (
        ("teach",),
        "step of train: have the teachers score the lists",
        """\
Have the teachers of a recipe score every list; train the cross-encoder among them first, where the recipe
gives it weight. A given negative that the teacher finds nearly as close as the answer loses its label.
Leaves lists.npz, and in teachers.json what each teacher reaches on the held-out lists.""",
    ),
    "distill": (
        ("hidden", "rank", "export"),
        "step of train: distil the teachers into the student, write the model folder",
        """\
Distil hidden states on plain text, then the teachers' rankings, round after round, and write the int8 model
folder with its manifest and card.""",
    ),
}

_RESUMING = """

Every stage leaves its result and a manifest in the working folder and is passed over when they are there:
after an interrupt, the same command goes on from the last checkpoint. To repeat a stage, delete its result.
Embeddings and teacher scores are kept by content in the cache folder, which runs may share."""

_EPILOG = """\
examples:
  tinyrerank train recipes/tiny-en/cpu.toml --data ../shared/data --out my-model
  tinyrerank train recipe.toml --trial                        before the night: does every stage run?
  tinyrerank train recipe.toml --stages pool tokenizer        only look at data and vocabulary
  tinyrerank synth recipe.toml && tinyrerank mine recipe.toml && tinyrerank teach recipe.toml
  TINYRERANK_DATA=data tinyrerank distill recipe.toml --device cuda --out my-model

A recipe names the folders of its teachers, relative to where the command runs; recipes/README.md says
where to get each."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``train`` and the commands of its steps."""
    for name, (stages, line, description) in _COMMANDS.items():
        parser = subparsers.add_parser(
            name,
            help=line,
            description=description + _RESUMING,
            epilog=f"stages: {', '.join(stages)}\n\n{_EPILOG}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add = parser.add_argument
        add("recipe", type=Path, metavar="RECIPE.toml", help="what to do")
        add("--data", type=Path, metavar="DIR", help="folder with train/, eval/ (default: $TINYRERANK_DATA)")
        add("--work", type=Path, metavar="DIR", help="intermediate results (default: runs/train/NAME)")
        add("--cache", type=Path, metavar="DIR", help="what teachers said (default: runs/cache)")
        add(
            "--device",
            default="auto",
            help="auto, cpu, cuda or cuda:N (default: auto, a GPU if there is one)",
        )
        add("--threads", type=int, metavar="N", help="CPU threads (default: all cores this process may use)")
        add(
            "--trial", action="store_true", help="in miniature, in minutes: do recipe and data hold together?"
        )
        if "export" in stages:
            add("--out", type=Path, metavar="DIR", help="the model folder (default: WORK/model)")
        if name == "train":
            add("--stages", nargs="+", metavar="STAGE", help="only these (default: all)")
        if "teach" in stages:
            add(
                "--report",
                nargs="+",
                type=Path,
                default=[],
                metavar="SET",
                help="BEIR sets the teachers rank",
            )
        parser.set_defaults(run=run, stages_of_command=stages)


def run(args: argparse.Namespace) -> int:
    """Do the command's stages."""
    from tinyrerank.errors import MissingExtraError

    try:
        import torch
    except ImportError:
        raise MissingExtraError("training", "train") from None
    from tinyrerank.engine.threads import usable_cpus
    from tinyrerank.train.pipeline import Pipeline
    from tinyrerank.train.recipe import load_recipe, trial

    recipe = load_recipe(args.recipe)
    if args.trial:
        recipe = trial(recipe)
    data = args.data or os.environ.get("TINYRERANK_DATA")
    if not data:
        raise InputError("no data folder: pass --data DIR or set TINYRERANK_DATA")
    known = args.stages_of_command
    stages = getattr(args, "stages", None) or list(known)
    unknown = [s for s in stages if s not in known]
    if unknown:
        raise InputError(f"unknown stage {', '.join(unknown)}; known: {', '.join(known)}")
    device = torch.device(device_name(args.device))
    torch.set_num_threads(args.threads or usable_cpus())
    work = args.work or Path("runs") / ("trial" if args.trial else "train") / recipe.name
    work.mkdir(parents=True, exist_ok=True)
    Pipeline(
        recipe=recipe,
        data=Path(data),
        work=work,
        out=getattr(args, "out", None) or work / "model",
        device=device,
        report_on=getattr(args, "report", []),
        cache=args.cache or Path("runs") / "cache",
    ).run(stages)
    return 0


def device_name(wanted: str) -> str:
    """The torch device for ``--device``.

    Raises:
        InputError: a GPU is asked for that torch does not see.
    """
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {wanted}: torch sees no GPU here; use --device cpu")
    return wanted
