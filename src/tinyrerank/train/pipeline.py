"""From raw data to a model folder, stage by stage; every stage resumes where it was stopped.

==========  ==========================================  =====================================
stage       what it does                                what it leaves in the working folder
==========  ==========================================  =====================================
pool        reads data, synthesizes queries             ``pool/``
tokenizer   learns the vocabulary                       ``tokenizer.json``
mine        composes candidate lists                    ``mined.npz``, ``dev.npz``, ``dev.json``
teach       trains and asks the teachers                ``lists.npz``, ``teachers.json``
hidden      hidden-state distillation                   ``hidden/``
rank        ranking distillation, in rounds             ``rank-1/`` and on
export      int8 folder, manifest, model card           the output folder
==========  ==========================================  =====================================

A recipe with a ``start`` takes tokenizer and weights from there: its tokenizer is copied, and hidden has
nothing to do.

Each also leaves ``manifests/STAGE.json``: the part of the recipe that it followed, hashes of what it made,
code revision, libraries, machine, seconds.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from tinyrerank.errors import DataError
from tinyrerank.model.config import ModelConfig
from tinyrerank.model.hub import resolve_model
from tinyrerank.model.jinabert import JinaBert
from tinyrerank.model.weights import Weights, load_weights
from tinyrerank.train.encoders import TeacherText, load_backbone
from tinyrerank.train.export import export
from tinyrerank.train.hidden import AlignedText, distill_hidden
from tinyrerank.train.manifest import part_key, stage_manifest
from tinyrerank.train.mine import Lists
from tinyrerank.train.optim import set_dropout
from tinyrerank.train.pool import Pool, build_pool
from tinyrerank.train.rank import train_rank
from tinyrerank.train.recipe import Recipe
from tinyrerank.train.runs import mean_weights, side_by_side
from tinyrerank.train.teach import Teaching
from tinyrerank.train.tokenizer import train_tokenizer, whole_words
from tinyrerank.train.tokens import DeviceText, Flat, PairBuilder, Template, encode, punctuation
from tinyrerank.train.tune import DevLists, dev_scores
from tinyrerank.train.warmstart import warm_start

STAGES = ("pool", "tokenizer", "mine", "teach", "hidden", "rank", "export")

#: What of the recipe each stage depends on, itself and through the stages before it.
_POOL = ("seed", "data")
_TOKENIZER = (*_POOL, "start", "tokenizer", "warm_start")
_MINE = (*_TOKENIZER, "mine", "teacher")
_HIDDEN = (*_TOKENIZER, "hidden")


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
        cache: what teachers said, by content; runs may share it.
    """

    recipe: Recipe
    data: Path
    work: Path
    out: Path
    device: torch.device
    report_on: list[Path]
    cache: Path

    def run(self, stages: list[str]) -> None:
        """Run the named stages in order; those already done are passed over."""
        for name in STAGES:
            if name in stages:
                step: Callable[[], None] = getattr(self, name)
                step()

    def pool(self) -> None:
        """Read data and synthesize queries."""
        made = ("pool/passages.jsonl", "pool/queries.jsonl")
        self._stage("pool", _POOL, made, self._make_pool)

    def tokenizer(self) -> None:
        """Learn the student's vocabulary from all trainable passages and queries, sampled or not."""
        self._stage("tokenizer", _TOKENIZER, ("tokenizer.json",), self._make_tokenizer)

    def mine(self) -> None:
        """Compose candidate lists, and held-out ones to look at."""
        if not (self.work / "lists.npz").exists():
            self._stage("mine", _MINE, ("mined.npz", "dev.npz", "dev.json"), self._make_lists)

    def teach(self) -> None:
        """Have the teachers score the lists."""
        self._stage("teach", _MINE, ("lists.npz", "teachers.json"), self._ask_teachers)

    def hidden(self) -> None:
        """Start from the encoder and match its hidden states on plain text."""
        if self.recipe.start:
            return
        self._stage("hidden", _HIDDEN, ("hidden/model.safetensors",), self._distill_hidden)

    def rank(self) -> None:
        """Distil the teachers' rankings into the student, round after round."""
        start = time.monotonic()
        for number in range(1, len(self.recipe.rank) + 1):
            name = f"rank-{number}"

            def work(number: int = number) -> dict[str, Any]:
                return self._rank_round(number)

            self._stage(name, _round_parts(number), (f"{name}/model.safetensors",), work)
        seconds = self._log().get("rank", {}).get("seconds", 0.0) + time.monotonic() - start
        self._note("rank", seconds=round(seconds, 1))

    def export(self) -> None:
        """Write the int8 folder, its manifest and its card."""
        export(self.recipe, self.data, self.work, self.out)
        _say(f"model: {self.out}")

    def _stage(
        self, name: str, parts: tuple[str, ...], made: tuple[str, ...], work: Callable[[], dict[str, Any]]
    ) -> None:
        """Do a stage, unless what it makes is there.

        Args:
            name: of the stage.
            parts: keys of the recipe that it depends on.
            made: files below the working folder that it leaves.
            work: does it; what it returns goes into log and manifest.

        Raises:
            DataError: what it makes is there, but another recipe made it.
        """
        manifest = self.work / "manifests" / f"{name}.json"
        if all((self.work / file).exists() for file in made):
            if manifest.exists() and json.loads(manifest.read_text())["key"] != part_key(self.recipe, parts):
                raise DataError(
                    f"{self.work}: the stage {name} was made by another recipe ({', '.join(parts)} count);"
                    f" delete {made[0]} and what follows from it, or choose another --work folder"
                )
            return
        start = time.monotonic()
        facts = work()
        self._note(name, **facts, seconds=round(time.monotonic() - start, 1))
        manifest.parent.mkdir(exist_ok=True)
        content = stage_manifest(name, self.recipe, parts, self.work, made, self._log()[name])
        manifest.write_text(json.dumps(content, indent=2) + "\n")

    def _make_pool(self) -> dict[str, Any]:
        pool = build_pool(self.recipe.data, self.data, self.recipe.seed)
        pool.save(self.work / "pool")
        _say(f"pool: {len(pool.passages):,} passages, {len(pool.queries):,} queries")
        return {"passages": len(pool.passages), "queries": len(pool.queries)}

    def _make_tokenizer(self) -> dict[str, Any]:
        if self.recipe.start:
            shutil.copyfile(resolve_model(self.recipe.start) / "tokenizer.json", self.work / "tokenizer.json")
            return {"entries": self._tokenizer().get_vocab_size()}
        everything = replace(self.recipe.data, max_queries=0, max_passages=0, dev=[])
        pool = build_pool(everything, self.data, self.recipe.seed)
        texts = [*pool.passages[: pool.n_trainable], *(q.text for q in pool.queries if not q.held_out)]
        words = whole_words(Path(self.recipe.warm_start.folder) / "tokenizer.json")
        tokenizer = train_tokenizer(texts, self.recipe.tokenizer, words)
        tokenizer.save(str(self.work / "tokenizer.json"))
        _say(f"tokenizer: {tokenizer.get_vocab_size():,} entries")
        return {"entries": tokenizer.get_vocab_size()}

    def _make_lists(self) -> dict[str, Any]:
        pool = self._pool()
        queries, passages = self._tokens()
        lists, dev = self._teaching(pool, _MINE, teachers=1).mine(queries, passages)
        np.savez(
            self.work / "dev.npz", query=dev.query, candidate=dev.candidate, gain=dev.gain, ideal=dev.ideal
        )
        (self.work / "dev.json").write_text(json.dumps(dev.source))
        lists.save(self.work / "mined.npz")
        return {"lists": len(lists.query), "held_out": len(dev.query)}

    def _ask_teachers(self) -> dict[str, Any]:
        if not (self.work / "mined.npz").exists():
            raise DataError(f"{self.work}: no mined lists here; run the stage mine first")
        pool = self._pool()
        teaching, lists = self._teaching(pool, _MINE), Lists.load(self.work / "mined.npz")
        quality = teaching.label(lists, self._dev(), *self._tokens())
        (self.work / "teachers.json").write_text(json.dumps(quality, indent=2) + "\n")
        lists.save(self.work / "lists.npz")
        if self.report_on:
            teaching.report(self.report_on)
        return {"lists": len(lists.query)}

    def _teaching(self, pool: Pool, parts: tuple[str, ...], teachers: int | None = None) -> Teaching:
        key = part_key(self.recipe, parts)
        return Teaching(self.recipe, pool, self.work, self.device, key, self.cache, teachers)

    def _distill_hidden(self) -> dict[str, Any]:
        folder = self.work / "hidden"
        pool, tokenizer = self._pool(), self._tokenizer()
        start = Path(self.recipe.warm_start.folder)
        config = ModelConfig(hidden_dropout=0.1)
        sample = pool.passages[: pool.n_trainable : max(1, pool.n_trainable // 64)]
        model = JinaBert.from_weights(
            warm_start(start, self.recipe.warm_start.layers, tokenizer, config, self.recipe.seed, sample)
        ).to(self.device)
        set_dropout(model, self.recipe.hidden.dropout)
        theirs = TeacherText(start)
        text = AlignedText(pool.passages[: pool.n_trainable], [tokenizer, theirs.tokenizer], self.device)
        loss = distill_hidden(
            model,
            load_backbone(start),
            (Template(), theirs.template),
            text,
            self.recipe.hidden,
            folder,
            part_key(self.recipe, _HIDDEN),
            self.recipe.seed,
            self.recipe.warm_start.layers,
        )
        model.to_weights().save(folder)
        return {"loss": loss}

    def _rank_round(self, number: int) -> dict[str, Any]:
        recipe = self.recipe.rank[number - 1]
        folder = self.work / f"rank-{number}"
        builder = self._builder(recipe.max_length)

        def look(weights: Weights) -> dict[str, float]:
            return self._look(JinaBert.from_weights(weights).to(self.device), builder)

        if number == 1 and "dev_before" not in self._log().get("rank-1", {}):
            self._note("rank-1", dev_before=look(load_weights(self._start_of(number))))
        runs = [folder / f"run-{run}" for run in range(1, recipe.runs + 1)] if recipe.runs > 1 else [folder]
        if recipe.runs == 1:
            self.rank_run(number, 0)
        else:
            side_by_side(self.rank_run, [(number, run) for run in range(recipe.runs)])
        weights = mean_weights([load_weights(run) for run in runs])
        weights.save(folder)
        steps = [json.loads((run / "run.json").read_text())["steps"] for run in runs]
        return {"steps": steps if len(steps) > 1 else steps[0], "dev_after": look(weights)}

    def rank_run(self, number: int, run: int) -> None:
        """One run of a round over its share of the lists; leaves weights and ``run.json``.

        Args:
            number: of the round, from 1.
            run: of the run, from 0.
        """
        recipe = self.recipe.rank[number - 1]
        folder = self.work / f"rank-{number}" / (f"run-{run + 1}" if recipe.runs > 1 else ".")
        if (folder / "run.json").exists():
            return
        model = JinaBert.from_weights(load_weights(self._start_of(number))).to(self.device)
        set_dropout(model, recipe.dropout)
        pool = self._pool()
        queries, passages, lists = self.taught()
        builder = self._builder(recipe.max_length, (queries, passages))
        stage = train_rank(
            model,
            builder,
            lists.share(run, recipe.runs),
            recipe,
            folder,
            part_key(self.recipe, _round_parts(number)) + f"-{run}",
            self.recipe.seed + number - 1 + 1000 * run,
            evaluate=(lambda: f"dev NDCG@10 {self._look(model, builder)['mean']:.4f}")
            if self._dev().source
            else None,
            n_fillers=pool.n_trainable,
            punctuation=punctuation(self._tokenizer()),
        )
        model.to_weights().save(folder)
        (folder / "run.json").write_text(json.dumps({"steps": stage.step}) + "\n")

    def _start_of(self, number: int) -> Path:
        """Where a round starts."""
        if number > 1:
            return self.work / f"rank-{number - 1}"
        return resolve_model(self.recipe.start) if self.recipe.start else self.work / "hidden"

    def taught(self) -> tuple[Flat, Flat, Lists]:
        """Queries, passages and lists: those of this folder first, then those beside it."""
        folders = [self.work, *map(Path, self.recipe.beside)]
        own = (self.work / "tokenizer.json").read_bytes()
        parts: list[Lists] = []
        queries: list[Flat] = []
        passages: list[Flat] = []
        for folder in folders:
            made = folder / "lists.npz"
            if not made.exists():
                raise DataError(f"{made}: no such file; run that folder's recipe up to the stage teach first")
            if (folder / "tokenizer.json").read_bytes() != own:
                raise DataError(f"{folder}: its tokenizer is another than that of {self.work}")
            n_queries, n_passages = (sum(len(flat.lengths) for flat in side) for side in (queries, passages))
            parts.append(Lists.load(made).moved(n_queries, n_passages))
            text = _tokens_of(folder)
            queries.append(text[0])
            passages.append(text[1])
        if len({part.candidate.shape[1] for part in parts}) > 1:
            raise DataError(f"{', '.join(map(str, folders))}: their lists must be of one length")
        return Flat.joined(queries), Flat.joined(passages), Lists.joined(parts)

    def _builder(self, max_length: int, text: tuple[Flat, Flat] | None = None) -> PairBuilder:
        queries, passages = (DeviceText(flat, self.device) for flat in text or self._tokens())
        return PairBuilder(queries, passages, Template(), max_length)

    def _look(self, model: JinaBert, builder: PairBuilder) -> dict[str, float]:
        """NDCG@10 on the held-out lists; every round is looked at alike, whatever length it trains on."""
        whole = replace(builder, max_length=self.recipe.rank[0].max_length)
        return dev_scores(model, whole, self._dev(), self.device)

    def _pool(self) -> Pool:
        path = self.work / "pool/queries.jsonl"
        if not path.exists():
            raise DataError(f"{self.work}: no pool here; run the stage pool first")
        return _load_pool(path.parent, path.stat().st_mtime_ns)

    def _tokenizer(self) -> Tokenizer:
        path = self.work / "tokenizer.json"
        if not path.exists():
            raise DataError(f"{path}: no such file; run the stage tokenizer first")
        return Tokenizer.from_file(str(path))

    def _tokens(self) -> tuple[Flat, Flat]:
        """The pool's queries and passages in the student's tokens."""
        self._pool()  # says what is missing, as the next does
        self._tokenizer()
        return _tokens_of(self.work)

    def _dev(self) -> DevLists:
        with np.load(self.work / "dev.npz", allow_pickle=False) as f:
            source = json.loads((self.work / "dev.json").read_text())
            return DevLists(f["query"], f["candidate"], f["gain"], f["ideal"], source)

    def _log(self) -> dict[str, Any]:
        path = self.work / "log.json"
        log: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return log

    def _note(self, stage: str, **facts: Any) -> None:  # noqa: ANN401 - whatever JSON takes
        log = self._log()
        log.setdefault(stage, {}).update(facts)
        (self.work / "log.json").write_text(json.dumps(log, indent=2) + "\n")


def _round_parts(number: int) -> tuple[str, ...]:
    """What a round depends on: those before it, but not those after it."""
    return (*_MINE, "hidden", "beside", *(f"rank.{n}" for n in range(number)))


# Stages that follow each other in one process read and tokenize the pool once.


@lru_cache(maxsize=1)
def _load_pool(folder: Path, changed: int) -> Pool:
    del changed  # of the key alone
    return Pool.load(folder)


def _tokens_of(work: Path) -> tuple[Flat, Flat]:
    pool, tokenizer = work / "pool", work / "tokenizer.json"
    changed = tuple(p.stat().st_mtime_ns for p in (pool / "queries.jsonl", tokenizer))
    return _encode_pool(pool, tokenizer, changed)


@lru_cache(maxsize=2)
def _encode_pool(folder: Path, tokenizer: Path, changed: tuple[int, int]) -> tuple[Flat, Flat]:
    pool, reader = _load_pool(folder, changed[0]), Tokenizer.from_file(str(tokenizer))
    return encode(reader, [q.text for q in pool.queries]), encode(reader, pool.passages)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress
