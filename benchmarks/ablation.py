"""What each loss, teacher and family of data brings: short runs from one start that differ in one thing.

    python benchmarks/ablation.py WORK --start FOLDER --data DATA [--bi-encoder-lists LISTS.npz] [--encoder E]

``WORK`` is the folder of a finished `tinyrerank train` (pool, tokenizer, lists with teacher scores),
``FOLDER`` a student that has seen no lists yet (``hidden`` of such a folder). Every run takes the same number
of steps of the same size from the same start; the seed decides the lists, the same ones wherever the variant
does not choose others. ``--bi-encoder-lists`` are the same lists, scored without the cross-encoder; that
variant needs them, as the one without hidden-state distillation needs the encoder.

Three measures, none on test queries: NDCG@10 of held-out questions (the best of BM25, and their answers);
NDCG@10 of nfcorpus' development queries (the best of BM25 over that corpus, which no run learned from); the
correlation with the teacher inside lists that no run saw. p is that of a two-sided paired randomization test
over queries against the first variant.

Runs go side by side on one thread each. What is finished is kept below ``--keep``: the same command goes on.
Writes ``results.json`` and ``plot.png`` to ``--out`` and the table into docs/quality.md, between
``<!-- ablation -->`` and ``<!-- /ablation -->``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from page import DOCS, fill
from tokenizers import Tokenizer

from tinyrerank.evaluate.significance import randomization_test
from tinyrerank.model.config import ModelConfig
from tinyrerank.model.jinabert import JinaBert
from tinyrerank.model.weights import Weights, load_weights
from tinyrerank.train.manifest import sha256, surroundings
from tinyrerank.train.mine import Bm25, Lists
from tinyrerank.train.optim import set_dropout
from tinyrerank.train.pool import Pool, build_pool
from tinyrerank.train.rank import train_rank
from tinyrerank.train.recipe import DataRecipe, StageRecipe, WarmStartRecipe
from tinyrerank.train.runs import side_by_side
from tinyrerank.train.tokens import DeviceText, Flat, PairBuilder, Template, encode, punctuation
from tinyrerank.train.tune import DevLists, make_dev_lists, score_lists
from tinyrerank.train.warmstart import warm_start

CPU = torch.device("cpu")
MEASURES = ("held-out questions", "nfcorpus, development", "correlation")
UNSEEN_LISTS, DEV_QUERIES = 150, 160
LAYERS = WarmStartRecipe().layers
MIX = {"listwise_kl": 1.0, "label_cross_entropy": 0.1, "margin_mse": 0.05}


@dataclass(frozen=True)
class Variant:
    """One run: what it changes of the first, which lists it learns from, and the option that it needs."""

    changes: dict[str, Any] = field(default_factory=dict)
    lists: str = "all"
    needs: str = ""
    seed: int = 1


VARIANTS = {
    "the mix (KL + 0.1 labels + 0.05 MarginMSE), temperature 0.35": Variant(),
    "the same, another seed": Variant(seed=2),
    "listwise KL alone": Variant({"losses": {"listwise_kl": 1.0}}),
    "MarginMSE alone": Variant({"losses": {"margin_mse": 1.0}}),
    "RankNet alone": Variant({"losses": {"ranknet": 1.0}}),
    "LambdaLoss (NDCG) alone": Variant({"losses": {"lambda_ndcg": 1.0}}),
    "labels alone, no teacher": Variant({"losses": {"label_cross_entropy": 1.0}}, "labelled"),
    "temperature 0.7": Variant({"temperature": 0.7}),
    "teachers without the cross-encoder": Variant(needs="bi_encoder_lists"),
    "real queries alone": Variant(lists="real"),
    "made queries alone": Variant(lists="made"),
    "no hidden-state distillation before": Variant(needs="encoder"),
}


def stage(variant: Variant, steps: int, tokens: int) -> StageRecipe:
    """The recipe's ranking stage, short."""
    base = StageRecipe(
        steps=steps,
        tokens=tokens,
        micro_tokens=4_096,
        learning_rate=2e-4,
        optimizer="muon",
        warmup=0.06,
        max_length=128,
        bare_share=0.16,
        easy_share=0.33,
        losses=MIX,
        temperature=0.35,
        average=0.0,
        looks=0,
    )
    return dataclasses.replace(base, **variant.changes)


def rows_of(lists: Lists, family: str, made: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Numbers of the lists of a family."""
    labelled = (lists.label == 1).any(axis=1)
    chosen = {"all": made | ~made, "labelled": labelled, "real": ~made, "made": made}[family]
    return np.flatnonzero(chosen)


def keep_texts(args: argparse.Namespace) -> None:
    """Tokens, held-out lists and the sources of queries, once for all runs."""
    if (args.keep / "held_out.npz").exists():
        return
    args.keep.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(args.work / "tokenizer.json"))
    pool = Pool.load(args.work / "pool")
    held_out = [n for n, q in enumerate(pool.queries) if q.held_out and q.positives]
    chosen = [
        n
        for source in sorted({pool.queries[n].source for n in held_out})
        for n in np.random.default_rng(3).permutation(
            [n for n in held_out if pool.queries[n].source == source]
        )[:36]
    ]
    save_texts(args.keep, "held_out", tokenizer, pool, chosen)
    np.save(args.keep / "made.npy", [q.source.startswith("synthetic") for q in pool.queries])
    dev = build_pool(DataRecipe(dev=["nfcorpus"]), args.data, seed=1)
    numbers = np.random.default_rng(3).permutation(len(dev.queries))[:DEV_QUERIES]
    save_texts(args.keep, "nfcorpus", tokenizer, dev, numbers.tolist())


def save_texts(folder: Path, name: str, tokenizer: Tokenizer, pool: Pool, chosen: list[int]) -> None:
    """A pool's tokens, and lists of some of its queries: BM25's best, and known answers."""
    queries = encode(tokenizer, [q.text for q in pool.queries])
    passages = encode(tokenizer, pool.passages)
    index = Bm25(passages, tokenizer.get_vocab_size(), CPU)
    found = np.concatenate([part for _, part in index.top(queries.take(chosen), 10, batch=64)])
    lexical = np.zeros((len(pool.queries), 10), np.int32)
    lexical[chosen] = found
    numbers = np.array(chosen, np.int32)
    nothing = np.zeros((len(numbers), 0), np.int32)
    lists = make_dev_lists(pool, numbers, nothing, lexical[numbers], depth=12)
    np.savez(
        folder / f"{name}.npz",
        queries=queries.ids,
        query_offsets=queries.offsets,
        passages=passages.ids,
        passage_offsets=passages.offsets,
        query=lists.query,
        candidate=lists.candidate,
        gain=lists.gain,
        ideal=lists.ideal,
        source=lists.source,
    )


@cache
def load_texts(path: Path) -> tuple[PairBuilder, DevLists]:
    """What :func:`save_texts` wrote."""
    with np.load(path, allow_pickle=False) as f:
        queries = DeviceText(Flat(f["queries"], f["query_offsets"]), CPU)
        passages = DeviceText(Flat(f["passages"], f["passage_offsets"]), CPU)
        lists = DevLists(f["query"], f["candidate"], f["gain"], f["ideal"], f["source"].tolist())
    return PairBuilder(queries, passages, Template(), 128), lists


def split(lists: Lists) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lists to learn from, and those that no run sees."""
    order = np.random.default_rng(11).permutation(len(lists.query))
    return order[UNSEEN_LISTS:], order[:UNSEEN_LISTS]


def measure(model: JinaBert, lists: Lists, keep: Path) -> dict[str, list[float]]:
    """Every measure, query by query."""
    model.eval()
    values = {}
    for name, file in zip(MEASURES, ("held_out", "nfcorpus"), strict=False):
        builder, dev = load_texts(keep / f"{file}.npz")
        scores = score_lists(model, builder, dev.query, dev.candidate, CPU, micro_tokens=4_096)
        values[name] = dev.values(scores).tolist()
    builder, _ = load_texts(keep / "held_out.npz")
    rows = split(lists)[1]
    candidate, teacher = lists.candidate[rows], lists.teacher[rows]
    scores = score_lists(model, builder, lists.query[rows], candidate, CPU, micro_tokens=4_096)
    values["correlation"] = [
        float(np.corrcoef(s[c >= 0], t[c >= 0])[0, 1])
        for s, t, c in zip(scores, teacher, candidate, strict=True)
    ]
    return values


def from_encoder(args: argparse.Namespace) -> Weights:
    """The student as it is before hidden-state distillation."""
    sample = Pool.load(args.work / "pool").passages[::2000]
    tokenizer = Tokenizer.from_file(str(args.work / "tokenizer.json"))
    return warm_start(args.encoder, LAYERS, tokenizer, ModelConfig(hidden_dropout=0.1), 2, sample)


def run(name: str, args: argparse.Namespace) -> None:
    """One variant, from start to measures; nothing where it is done."""
    path = args.keep / f"{list(VARIANTS).index(name):02}.json" if name else args.keep / "start.json"
    if path.exists():
        return
    began = time.monotonic()
    lists = Lists.load(args.work / "lists.npz")
    variant = VARIANTS.get(name, Variant())
    unhealed = variant.needs == "encoder"
    model = JinaBert.from_weights(from_encoder(args) if unhealed else load_weights(args.start))
    set_dropout(model, 0.0)
    if name:
        made = np.load(args.keep / "made.npy")[lists.query]
        source = Lists.load(args.bi_encoder_lists) if variant.needs == "bi_encoder_lists" else lists
        rows = np.intersect1d(rows_of(lists, variant.lists, made), split(lists)[0])
        part = Lists(source.query[rows], source.candidate[rows], source.label[rows], source.teacher[rows])
        recipe = stage(variant, args.steps, args.tokens)
        builder, _ = load_texts(args.keep / "held_out.npz")
        dropped = punctuation(Tokenizer.from_file(str(args.work / "tokenizer.json")))
        folder = args.keep / path.stem
        train_rank(model, builder, part, recipe, folder, name, variant.seed, punctuation=dropped)
    trained = time.monotonic() - began
    values = measure(model, lists, args.keep)
    path.write_text(json.dumps({"name": name, "seconds": trained, "values": values}))
    print(f"{name or 'start'}: " + ", ".join(f"{k} {np.mean(v):.4f}" for k, v in values.items()), flush=True)


def run_all(names: list[str], args: argparse.Namespace) -> None:
    """Some variants, one after the other."""
    for name in names:
        run(name, args)


def table(results: dict[str, Any]) -> str:
    """A row a variant: each measure, and its difference from the first variant with p."""
    lines = ["| run | " + " | ".join(MEASURES) + " |", "| --- | " + "--: | " * len(MEASURES)]
    runs = {"the start": results["start"], **results["runs"]}
    first = results["runs"][next(iter(VARIANTS))]
    for name, values in runs.items():
        cells = []
        for measure_name in MEASURES:
            cell = f"{np.mean(values[measure_name]):.4f}"
            if values is not first:
                [test] = randomization_test([np.subtract(values[measure_name], first[measure_name])])
                cell += f" ({test.difference:+.4f}, p = {test.p:.4f})"
            cells.append(cell)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(results: dict[str, Any], path: Path) -> None:
    """Differences from the first variant with their standard errors, a panel a measure."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(results["runs"])
    first = results["runs"][names[0]]
    figure, panels = plt.subplots(1, len(MEASURES), figsize=(11, 4.2), sharey=True, layout="constrained")
    for axes, measure_name in zip(panels, MEASURES, strict=True):
        differences = [np.subtract(results["runs"][n][measure_name], first[measure_name]) for n in names[1:]]
        errors = [d.std() / len(d) ** 0.5 for d in differences]
        axes.errorbar([d.mean() for d in differences], names[1:], xerr=errors, fmt="o", capsize=3)
        axes.axvline(0, color="gray", linewidth=0.8)
        axes.set_title(measure_name)
        axes.set_xlabel("difference from the mix")
    panels[0].invert_yaxis()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run what is missing, two at a time; write results, plot and table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("work", type=Path, help="folder of a finished training run")
    add("--start", type=Path, required=True, help="model folder that every run starts from")
    add("--data", type=Path, required=True, help="folder with train/ and eval/")
    add("--bi-encoder-lists", type=Path, help="the run's lists, scored without the cross-encoder")
    add("--encoder", type=Path, help="what the start's hidden states were distilled from")
    add("--steps", type=int, default=48)
    add("--tokens", type=int, default=6_144, help="of a step")
    add("--at-once", type=int, default=2, help="runs side by side")
    add("--keep", type=Path, default=Path("runs/ablation"))
    add("--out", type=Path, default=DOCS / "results/ablation")
    args = parser.parse_args()
    keep_texts(args)
    names = ["", *(n for n, v in VARIANTS.items() if not v.needs or getattr(args, v.needs))]
    torch.set_num_threads(args.at_once)
    side_by_side(run_all, [(names[n :: args.at_once], args) for n in range(args.at_once)])
    done = [json.loads(path.read_text()) for path in sorted(args.keep.glob("[0-9][0-9].json"))]
    results = {
        "settings": {
            "steps": args.steps,
            "tokens": args.tokens,
            "start": sha256(args.start / "model.safetensors"),
        },
        **surroundings(),
        "seconds": {one["name"]: one["seconds"] for one in done},
        "start": json.loads((args.keep / "start.json").read_text())["values"],
        "runs": {one["name"]: one["values"] for one in done},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_text(json.dumps(results) + "\n")
    plot(results, args.out / "plot.png")
    fill(DOCS / "quality.md", "ablation", table(results))
    print(table(results))


if __name__ == "__main__":
    main()
