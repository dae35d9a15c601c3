"""From raw data to a model folder, stage by stage; every stage resumes where it was stopped.

==========  ==========================================  =====================================
stage       what it does                                what it leaves in the working folder
==========  ==========================================  =====================================
pool        reads data, synthesizes queries             ``pool/``
tokenizer   learns the vocabulary                       ``tokenizer.json``
teach       mines lists, trains and asks the teachers   ``lists.npz``, ``dev.json``, ``teachers.json``
hidden      hidden-state distillation                   ``hidden/``
rank        ranking distillation, in rounds             ``rank-1/`` and on
export      int8 folder, manifest, model card           the output folder
==========  ==========================================  =====================================
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from tinyrerank.errors import DataError
from tinyrerank.model.config import ModelConfig
from tinyrerank.model.jinabert import JinaBert
from tinyrerank.model.weights import load_weights
from tinyrerank.train.export import export
from tinyrerank.train.hidden import AlignedText, distill_hidden
from tinyrerank.train.mine import Lists
from tinyrerank.train.optim import Stage
from tinyrerank.train.pool import Pool, build_pool
from tinyrerank.train.rank import train_rank
from tinyrerank.train.recipe import Recipe, StageRecipe
from tinyrerank.train.teach import Teaching
from tinyrerank.train.teachers import TeacherText, load_backbone
from tinyrerank.train.tokenizer import train_tokenizer, whole_words
from tinyrerank.train.tokens import DeviceText, Flat, PairBuilder, Template, encode
from tinyrerank.train.tune import DevLists, dev_scores
from tinyrerank.train.warmstart import warm_start

STAGES = ("pool", "tokenizer", "teach", "hidden", "rank", "export")


@dataclass(slots=True)
class Pipeline:
    """One training run.

    Attributes:
        recipe: what to do.
        data: folder with ``train/`` and ``eval/``.
        work: intermediate results.
        out: the model folder that the stage export writes.
        device: where tensors live.
        report_on: BEIR folders whose given lists the teachers rank for the record (never for tuning).
    """

    recipe: Recipe
    data: Path
    work: Path
    out: Path
    device: torch.device
    report_on: list[Path]

    def run(self, stages: list[str]) -> None:
        """Run the named stages in order; those already done are passed over."""
        for name in STAGES:
            if name in stages:
                start = time.monotonic()
                step: Callable[[], None] = getattr(self, name)
                step()
                self._note(name, seconds=round(time.monotonic() - start, 1))

    def pool(self) -> None:
        """Read data and synthesize queries."""
        if not (self.work / "pool/queries.jsonl").exists():
            pool = build_pool(self.recipe.data, self.data, self.recipe.seed)
            pool.save(self.work / "pool")
            _say(f"pool: {len(pool.passages):,} passages, {len(pool.queries):,} queries")

    def tokenizer(self) -> None:
        """Learn the student's vocabulary from all trainable passages and queries, sampled or not."""
        path = self.work / "tokenizer.json"
        if not path.exists():
            everything = replace(self.recipe.data, max_queries=0, max_passages=0, dev=[])
            pool = build_pool(everything, self.data, self.recipe.seed)
            texts = [*pool.passages[: pool.n_trainable], *(q.text for q in pool.queries if not q.held_out)]
            words = whole_words(Path(self.recipe.warm_start.folder) / "tokenizer.json")
            train_tokenizer(texts, self.recipe.tokenizer, words).save(str(path))
            _say(f"tokenizer: {Tokenizer.from_file(str(path)).get_vocab_size():,} entries")

    def teach(self) -> None:
        """Mine candidate lists and have the teachers score them."""
        if (self.work / "lists.npz").exists():
            return
        pool = self._pool()
        queries, passages = self._tokens(pool)
        teaching = Teaching(self.recipe, pool, self.work, self.device, self._key())
        lists, dev = teaching.mine(queries, passages)
        quality = teaching.label(lists, dev)
        (self.work / "teachers.json").write_text(json.dumps(quality, indent=2) + "\n")
        np.savez(
            self.work / "dev.npz", query=dev.query, candidate=dev.candidate, gain=dev.gain, ideal=dev.ideal
        )
        (self.work / "dev.json").write_text(json.dumps(dev.source))
        lists.save(self.work / "lists.npz")
        if self.report_on:
            teaching.report(self.report_on)

    def hidden(self) -> None:
        """Start from the encoder and match its hidden states on plain text."""
        folder = self.work / "hidden"
        if (folder / "model.safetensors").exists():
            return
        pool, tokenizer = self._pool(), self._tokenizer()
        start = Path(self.recipe.warm_start.folder)
        config = ModelConfig(hidden_dropout=0.1)
        sample = pool.passages[: pool.n_trainable : max(1, pool.n_trainable // 64)]
        model = JinaBert.from_weights(
            warm_start(start, self.recipe.warm_start.layers, tokenizer, config, self.recipe.seed, sample)
        ).to(self.device)
        set_dropout(model, self.recipe.hidden.dropout)
        theirs = TeacherText(start, "bert")
        text = AlignedText(pool.passages[: pool.n_trainable], [tokenizer, theirs.tokenizer], self.device)
        loss = distill_hidden(
            model,
            load_backbone(start),
            (Template(), theirs.template),
            text,
            self.recipe.hidden,
            folder,
            self._key(),
            self.recipe.seed,
            self.recipe.warm_start.layers,
        )
        self._note("hidden", loss=loss)
        model.to_weights().save(folder)

    def rank(self) -> None:
        """Distil the teachers' rankings into the student, round after round."""
        start = self.work / "hidden"
        for number, recipe in enumerate(self.recipe.rank, 1):
            folder = self.work / f"rank-{number}"
            if not (folder / "model.safetensors").exists():
                self._rank_round(number, recipe, start, folder)
            start = folder

    def _rank_round(self, number: int, recipe: StageRecipe, start: Path, folder: Path) -> None:
        queries, passages = self._tokens(self._pool())
        model = JinaBert.from_weights(load_weights(start)).to(self.device)
        set_dropout(model, recipe.dropout)
        texts = (DeviceText(queries, self.device), DeviceText(passages, self.device))
        builder = PairBuilder(*texts, Template(), recipe.max_length)
        dev = self._dev()
        # Every round is looked at alike, whatever length it trains on.
        whole = PairBuilder(*texts, Template(), self.recipe.rank[0].max_length)

        def look() -> dict[str, float]:
            return dev_scores(model, whole, dev, self.device)

        if number == 1:
            self._note("rank-1", dev_before=look())
        stage: Stage = train_rank(
            model,
            builder,
            Lists.load(self.work / "lists.npz"),
            recipe,
            folder,
            self._key(),
            self.recipe.seed + number - 1,
            evaluate=lambda: f"dev NDCG@10 {look()['mean']:.4f}",
        )
        self._note(f"rank-{number}", steps=stage.step, dev_after=look())
        model.to_weights().save(folder)

    def export(self) -> None:
        """Write the int8 folder, its manifest and its card."""
        export(self.recipe, self.data, self.work, self.out)
        _say(f"model: {self.out}")

    def _pool(self) -> Pool:
        if not (self.work / "pool/queries.jsonl").exists():
            raise DataError(f"{self.work}: no pool here; run the stage pool first")
        return Pool.load(self.work / "pool")

    def _tokenizer(self) -> Tokenizer:
        path = self.work / "tokenizer.json"
        if not path.exists():
            raise DataError(f"{path}: no such file; run the stage tokenizer first")
        return Tokenizer.from_file(str(path))

    def _tokens(self, pool: Pool) -> tuple[Flat, Flat]:
        tokenizer = self._tokenizer()
        return encode(tokenizer, [q.text for q in pool.queries]), encode(tokenizer, pool.passages)

    def _dev(self) -> DevLists:
        with np.load(self.work / "dev.npz", allow_pickle=False) as f:
            source = json.loads((self.work / "dev.json").read_text())
            return DevLists(f["query"], f["candidate"], f["gain"], f["ideal"], source)

    def _key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self.recipe), sort_keys=True).encode()).hexdigest()[:16]

    def _note(self, stage: str, **facts: Any) -> None:  # noqa: ANN401 - whatever JSON takes
        path = self.work / "log.json"
        log = json.loads(path.read_text()) if path.exists() else {}
        log.setdefault(stage, {}).update(facts)
        path.write_text(json.dumps(log, indent=2) + "\n")


def set_dropout(model: nn.Module, p: float) -> None:
    """Give every dropout layer the same rate."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = p


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress
