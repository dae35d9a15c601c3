"""How fast the student trains: whole steps of ranking distillation on made-up lists.

    python benchmarks/training.py --threads 1
    PYTHONPATH=OTHER_CHECKOUT/src python benchmarks/training.py --threads 1

The second measures another revision, where the package is not installed editable; take turns with the first.
Prints JSON: tokens and pairs a second (median over steps), and the share of a step that the optimizer takes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from tinyrerank.model.hub import resolve_model
from tinyrerank.model.jinabert import JinaBert
from tinyrerank.model.weights import load_weights
from tinyrerank.train.mine import Lists
from tinyrerank.train.optim import Stage, set_dropout
from tinyrerank.train.rank import _step, _to
from tinyrerank.train.recipe import StageRecipe
from tinyrerank.train.tokens import DeviceText, Flat, PairBuilder, Template

_QUERY_TOKENS, _CANDIDATES = 12, 8


def texts(n: int, length: int, n_ids: int, rng: np.random.Generator) -> DeviceText:
    """Texts of ``length`` tokens drawn by chance."""
    flat = Flat(rng.integers(5, n_ids, n * length).astype(np.int32), np.arange(n + 1) * length)
    return DeviceText(flat, torch.device("cpu"))


def made_up(n_lists: int, length: int, n_ids: int) -> tuple[PairBuilder, Lists]:
    """Lists of pairs of ``length`` tokens, with teacher scores drawn by chance and no labels."""
    rng, template = np.random.default_rng(0), Template()
    n_pairs = n_lists * _CANDIDATES
    queries = texts(n_lists, _QUERY_TOKENS, n_ids, rng)
    passages = texts(n_pairs, length - _QUERY_TOKENS - template.n_specials, n_ids, rng)
    candidate = np.arange(n_pairs, dtype=np.int32).reshape(n_lists, _CANDIDATES)
    score = rng.standard_normal(candidate.shape).astype(np.float32)
    lists = Lists(np.arange(n_lists, dtype=np.int32), candidate, np.full_like(score, np.nan), score)
    return PairBuilder(queries, passages, template, length), lists


def measure(builder: PairBuilder, lists: Lists, model: JinaBert, n_steps: int) -> tuple[float, float]:
    """Median seconds of a step, and of the optimizer's part of it."""
    batch = _to(lists, np.arange(len(lists.query)), torch.device("cpu"))
    recipe = StageRecipe(optimizer="muon", micro_tokens=4_096, average=0.0, learning_rate=1e-6, warmup=0.0)
    steps, updates = [], []
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(model, recipe, Path(folder), "benchmark")
        for _ in range(n_steps + 1):
            start = time.perf_counter()
            _step(model, builder, batch, recipe, 0.0)
            middle = time.perf_counter()
            stage.update()
            updates.append(time.perf_counter() - middle)
            steps.append(time.perf_counter() - start)
    return statistics.median(steps[1:]), statistics.median(updates[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--threads", type=int, default=1, help="of torch (default: 1)")
    add("--length", type=int, default=128, help="tokens a pair (default: 128)")
    add("--tokens", type=int, default=24_576, help="tokens a step (default: 24576)")
    add("--steps", type=int, default=5, help="steps measured, after one that is not (default: 5)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = JinaBert.from_weights(load_weights(resolve_model(None)))
    set_dropout(model, 0.0)
    model.train()
    n_lists = max(1, arguments.tokens // (arguments.length * _CANDIDATES))
    builder, lists = made_up(n_lists, arguments.length, model.config.vocab_size)
    step, update = measure(builder, lists, model, arguments.steps)
    n_pairs = lists.candidate.size
    found = {
        "tokens_s": round(n_pairs * arguments.length / step),
        "pairs_s": round(n_pairs / step, 1),
        "optimizer_share": round(update / step, 3),
        "threads": arguments.threads,
        "tokens_a_step": n_pairs * arguments.length,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
