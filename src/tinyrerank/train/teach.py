"""The teaching stage: mine candidate lists, train the cross-encoder teacher, fuse what all teachers say."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tinyrerank.evaluate.beir import whole_text
from tinyrerank.evaluate.first_stage import load_task
from tinyrerank.progress import Progress
from tinyrerank.train.cache import pair_digests
from tinyrerank.train.encoders import CrossTeacher, load_backbone, score_pairs
from tinyrerank.train.mine import Bm25, Lists, centered, doubt, mine, nearest
from tinyrerank.train.mine import spread as spread_of
from tinyrerank.train.pool import Pool
from tinyrerank.train.rank import train_rank
from tinyrerank.train.recipe import Recipe, StageRecipe
from tinyrerank.train.teachers import Teacher
from tinyrerank.train.tokens import Flat
from tinyrerank.train.tune import DevLists, dev_scores, make_dev_lists, score_lists

_DOUBT_MARGIN = 0.3
_LISTS_AT_ONCE = 1_024  # scored by a cross-encoder between two writes to the cache
_COSINE_TEMPERATURE = 0.35


class Teaching:
    """Mines and labels the lists of one run.

    Args:
        recipe: the run's.
        pool: queries and passages.
        work: the run's folder, for the cross-encoders.
        device: where teachers compute.
        key: what checkpoints of the cross-encoders belong to.
        cache: folder of kept answers.
        teachers: how many of the recipe's teachers are asked, from the first (mining needs one).
    """

    def __init__(
        self,
        recipe: Recipe,
        pool: Pool,
        work: Path,
        device: torch.device,
        key: str,
        cache: Path,
        teachers: int | None = None,
    ) -> None:
        self.recipe, self.pool, self.work, self.device, self.key = recipe, pool, work, device, key
        self.teachers = [Teacher(r, pool, device, cache) for r in recipe.teacher[:teachers]]
        self.spread: dict[str, float] = {}

    def mine(self, queries: Flat, passages: Flat) -> tuple[Lists, DevLists]:
        """Compose training lists and held-out lists.

        Args:
            queries: the pool's queries in the student's tokens.
            passages: the pool's passages in the student's tokens.
        """
        depth, n = self.recipe.mine.depth, self.pool.n_trainable
        first = self.teachers[0]
        dense = nearest(first.query_vectors, first.passage_vectors[:n], depth)
        n_terms = int(max(queries.ids.max(), passages.ids.max())) + 1
        lexical = self._lexical(queries, passages.slice(0, n), n_terms, 0)
        train = self._to_train(dense)
        lists = mine(
            self.pool,
            train,
            dense[train],
            lexical[train],
            self.recipe.mine,
            self.recipe.seed,
        )
        held_out: dict[str, list[int]] = {}
        for i, query in enumerate(self.pool.queries):
            if query.held_out and query.positives:
                held_out.setdefault(query.source, []).append(i)
        rng = np.random.default_rng(self.recipe.seed)
        for source, found in held_out.items():
            if not source.startswith("dev "):
                held_out[source] = sorted(rng.permutation(found)[: self.recipe.mine.held_out].tolist())
        # Passages of dev sets stand behind the trainable ones; their first stage sees nothing else.
        outside = [i for s, found in held_out.items() if s.startswith("dev ") for i in found]
        if outside:
            among = passages.slice(n, len(passages.lengths))
            lexical[outside] = self._lexical(queries.take(outside), among, n_terms, n)
        numbers = np.array([i for found in held_out.values() for i in found], np.int32)
        return lists, make_dev_lists(self.pool, numbers, dense[numbers], lexical[numbers])

    def _to_train(self, dense: NDArray[np.int32]) -> NDArray[np.int32]:
        """Queries that are not held out, and have a known answer or a passage that is close enough."""
        queries = self.pool.queries
        numbers = np.array([i for i, q in enumerate(queries) if not q.held_out], np.int32)
        best = self.teachers[0].cosines(numbers, dense[numbers, :1])[:, 0]
        known = np.array([bool(queries[i].positives) for i in numbers])
        return numbers[known | (best >= self.recipe.mine.min_cosine)]

    def _lexical(self, queries: Flat, passages: Flat, n_terms: int, offset: int) -> NDArray[np.int32]:
        index = Bm25(passages, n_terms, self.device)
        depth = self.recipe.mine.depth
        out = np.full((len(queries.lengths), depth), -1, dtype=np.int32)
        progress = Progress(len(out), "queries", name="BM25")
        for start, found in index.top(queries, depth):
            out[start : start + len(found), : found.shape[1]] = found + offset
            progress.advance(len(found))
        progress.close()
        return out

    def label(
        self, lists: Lists, dev: DevLists, queries: Flat, passages: Flat
    ) -> dict[str, dict[str, float]]:
        """Fill in the fused teacher scores.

        Args:
            lists: changed in place.
            dev: held-out lists.
            queries: the pool's queries in the student's tokens, for BM25.
            passages: the pool's passages in the student's tokens.

        Returns:
            Every teacher's NDCG@10 on the held-out lists.
        """
        fused, _ = self._fused(lists.query, lists.candidate)
        dev_fused, opinions = self._fused(dev.query, dev.candidate)
        quality = {name: dev.ndcg(scores) for name, scores in opinions.items()}
        quality["untrained fused"] = dev.ndcg(dev_fused)
        doubt(lists, fused, _DOUBT_MARGIN)
        if self.recipe.mine.bm25_weight:
            n_terms = int(max(queries.ids.max(), passages.ids.max())) + 1
            index = Bm25(passages, n_terms, self.device)
            lexical, dev_lexical = (index.shares(queries, x.query, x.candidate) for x in (lists, dev))
            quality["BM25"] = dev.ndcg(dev_lexical)
            scale = self.recipe.mine.bm25_weight / spread_of(lexical, lists.candidate)
            fused += scale * centered(lexical, lists.candidate)
            dev_fused += scale * centered(dev_lexical, dev.candidate)
        lists.teacher = fused
        for teacher in self.teachers:
            if not teacher.recipe.cross_weight:
                continue
            self._train_cross(teacher, lists, dev)
            scored, logits = self._score(teacher, lists)
            self.spread[teacher.name + " cross"] = spread = spread_of(logits[scored], lists.candidate[scored])
            fused[scored] += (
                teacher.recipe.cross_weight * centered(logits[scored], lists.candidate[scored]) / spread
            )
            cross = teacher.cross
            assert cross is not None  # noqa: S101 - set by _train_cross
            dev_logits = score_lists(cross, teacher.builder(), dev.query, dev.candidate, self.device)
            quality[f"{teacher.name} cross-encoder"] = dev.ndcg(dev_logits)
            dev_fused = dev_fused + teacher.recipe.cross_weight * centered(dev_logits, dev.candidate) / spread
        quality["all fused"] = dev.ndcg(dev_fused)
        lists.teacher = fused
        for name, values in quality.items():
            print(f"{name}: {json.dumps({k: round(v, 4) for k, v in values.items()})}", file=sys.stderr)  # noqa: T201
        return quality

    def _fused(
        self,
        query: NDArray[np.int32],
        candidate: NDArray[np.int32],
        texts: Mapping[str, tuple[Flat, Flat]] | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """All that teachers say without training, weighed and added, (L, K), and each by name."""
        fused, each = np.zeros(candidate.shape, dtype=np.float32), {}
        for teacher in self.teachers:
            others = texts[teacher.name] if texts else ()
            for name, (weight, scores) in teacher.opinions(query, candidate, *others).items():
                spread = self.spread.setdefault(name, spread_of(scores, candidate))
                fused += weight * centered(scores, candidate) / spread
                each[name] = scores
        return fused, each

    def _train_cross(self, teacher: Teacher, lists: Lists, dev: DevLists) -> None:
        if teacher.cross is not None:
            return
        recipe = teacher.recipe
        folder = self.work / f"cross-{teacher.name}"
        cross = teacher.cross = CrossTeacher(load_backbone(teacher.folder), teacher.text.width).to(
            self.device
        )
        if (folder / "trained.pt").exists():
            cross.load_state_dict(torch.load(folder / "trained.pt", self.device, weights_only=True))
            cross.eval()
            return
        labelled = np.flatnonzero((lists.label == 1).any(1))
        others = np.setdiff1d(np.arange(len(lists.query)), labelled)
        others = np.random.default_rng(self.recipe.seed).permutation(others)[: len(labelled) // 2]
        chosen = np.concatenate([labelled, others])
        part = Lists(lists.query[chosen], lists.candidate[chosen], lists.label[chosen], lists.teacher[chosen])
        builder = teacher.builder()
        stage = StageRecipe(
            steps=10 * len(chosen),  # the minutes end it
            minutes=recipe.minutes,
            tokens=recipe.tokens,
            micro_tokens=recipe.tokens,
            learning_rate=recipe.learning_rate,
            max_length=recipe.max_length,
            # Answers count most: what the similarities say is in the fused teacher anyway.
            losses={"listwise_kl": 0.5, "label_cross_entropy": 1.0},
            temperature=_COSINE_TEMPERATURE,
            average=0.0,
        )
        train_rank(
            cross,
            builder,
            part,
            stage,
            folder,
            self.key,
            self.recipe.seed,
            evaluate=(lambda: f"dev NDCG@10 {dev_scores(cross, builder, dev, self.device)['mean']:.4f}")
            if dev.source
            else None,
            n_fillers=self.pool.n_trainable,
        )
        folder.mkdir(parents=True, exist_ok=True)  # a short stage leaves no checkpoint
        torch.save(cross.state_dict(), folder / "trained.partial")
        (folder / "trained.partial").replace(folder / "trained.pt")

    def _score(self, teacher: Teacher, lists: Lists) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Logits of as many lists as the minutes allow: without a known answer first, synthetic ones last."""
        cross, builder = teacher.cross, teacher.builder()
        assert cross is not None  # noqa: S101 - set by _train_cross
        store, query_keys, passage_keys = teacher.cross_store()
        queries = [self.pool.queries[i] for i in lists.query]
        place = np.array([2 if q.source.startswith("synthetic") else bool(q.positives) for q in queries])
        order = np.random.default_rng(self.recipe.seed).permutation(len(queries))
        order = order[np.argsort(place[order], kind="stable")]
        logits = np.zeros(lists.candidate.shape, dtype=np.float32)
        progress = Progress(len(order), "lists", name=f"{teacher.name} scores")
        stop_at = time.monotonic() + 60 * teacher.recipe.score_minutes
        done = 0
        for rows in np.array_split(order, max(1, len(order) // _LISTS_AT_ONCE)):
            candidate = lists.candidate[rows]
            real = candidate >= 0
            query, passage = np.broadcast_to(lists.query[rows][:, None], real.shape)[real], candidate[real]
            keys = pair_digests(query_keys[query], passage_keys[passage])

            def answer(
                pairs: NDArray[np.int64],
                query: NDArray[np.int32] = query,
                passage: NDArray[np.int32] = passage,
            ) -> NDArray[np.float32]:
                texts = (
                    torch.from_numpy(x[pairs].astype(np.int64)).to(self.device) for x in (query, passage)
                )
                found = score_pairs(
                    cross, builder, *texts, micro_tokens=teacher.micro_tokens, device=self.device
                )
                return found.cpu().numpy()[:, None]

            part = np.zeros(candidate.shape, dtype=np.float32)
            part[real] = store.fill(keys, answer, len(keys))[:, 0]
            logits[rows] = part
            done += len(rows)
            progress.advance(len(rows))
            if time.monotonic() > stop_at:
                break
        progress.close()
        return order[:done], logits

    def report(self, folders: list[Path]) -> None:
        """Score the given lists of evaluation sets with every teacher, for the record.

        Writes ``teacher-scores.npz``: arrays ``set/teacher`` in the order of the set's run.
        """
        out: dict[str, NDArray[np.float32]] = {}
        for folder in folders:
            task = load_task(folder)
            numbers = {key: n for n, key in enumerate(task.documents)}
            texts = list(map(whole_text, task.documents.values()))
            listed = list(task.run.values())
            width = max(map(len, listed))
            candidate = np.full((len(listed), width), -1, dtype=np.int32)
            for row, keys in enumerate(listed):
                candidate[row, : len(keys)] = [numbers[k] for k in keys]
            query = np.arange(len(listed), dtype=np.int32)
            real, asked = candidate >= 0, [task.queries[q] for q in task.run]
            encoded = {teacher.name: teacher.encode(asked, texts) for teacher in self.teachers}
            fused, each = self._fused(query, candidate, encoded)
            out |= {f"{task.name}/{name}": scores[real] for name, scores in each.items()}
            for teacher in self.teachers:
                if teacher.cross is not None:
                    builder = replace(
                        teacher.builder(*encoded[teacher.name]),
                        max_length=min(384, 2 * teacher.recipe.max_length),
                    )
                    logits = score_lists(teacher.cross, builder, query, candidate, self.device)
                    out[f"{task.name}/{teacher.name} cross-encoder"] = logits[real]
                    spread = self.spread[teacher.name + " cross"]
                    fused += teacher.recipe.cross_weight * centered(logits, candidate) / spread
            out[f"{task.name}/all fused"] = fused[real]
        np.savez_compressed(self.work / "teacher-scores.npz", **out)  # type: ignore[arg-type]
