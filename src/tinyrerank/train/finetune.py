"""Fine-tuning for users: a model learns a domain from their examples, or from their documents alone.

Every candidate list has a target: what the starting model thinks of it, moved by what is known. Labels lift
answers and lower given non-answers; teachers add their opinion; candidates that nobody judged keep their
place, so a missing label does no harm. Lists on everyday questions, whose target is the starting model's own
opinion, are mixed in and keep the model from forgetting. Word embeddings stay as they are.

Some queries are never trained on. One part of them decides when to stop and how far to go from the old
weights to the new ones, among those shares of the way where the score on everyday questions holds; the other
part, which decides nothing, is what the report is made from.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tinyrerank.errors import DataError
from tinyrerank.evaluate.significance import randomization_test
from tinyrerank.model.jinabert import JinaBert
from tinyrerank.model.weights import Weights, from_tensors, load_weights
from tinyrerank.train.cache import identity
from tinyrerank.train.examples import split
from tinyrerank.train.manifest import sha256, surroundings
from tinyrerank.train.mine import Bm25, Lists, centered, mine, spread
from tinyrerank.train.optim import Stage, set_dropout
from tinyrerank.train.pool import Pool
from tinyrerank.train.rank import Enough, mean_list_tokens, train_rank
from tinyrerank.train.recipe import MineRecipe, StageRecipe
from tinyrerank.train.tokens import DeviceText, PairBuilder, Template, encode
from tinyrerank.train.tune import DevLists, discounts
from tinyrerank.train.tunecard import tune_card

#: Logits of (query, document) pairs by the model of a folder: folder, pairs, longest pair in tokens.
Score = Callable[[Path, Sequence[tuple[str, str]], int], NDArray[np.float32]]
#: A teacher's scores of lists: numbers of queries (L,) and passages (L, K) of the pool -> (L, K).
Teacher = Callable[[NDArray[np.int32], NDArray[np.int32]], NDArray[np.float32]]

_TEMPERATURE = 0.35
_EVALUATION_TOKENS = 512
#: How far to go from the old weights to the new ones: what lies between often ranks unseen queries of the
#: domain better than the end of the way, and forgets less (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903).
_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
#: Without labels: held-out lists then ask how well the teacher is followed, and the end follows it best.
_SHARES_UNLABELLED = (0.2, 0.4, 0.6)


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """How to fine-tune.

    Attributes:
        minutes: training at most; preparing and measuring come on top.
        epochs: times that every list is seen, unless the minutes end it before.
        learning_rate: peak.
        max_length: tokens of a training pair.
        tokens: of one optimizer step.
        held_out: share of the queries that is not trained on.
        forget: share of the score on everyday questions that may be lost.
        general_share: share of the lists that are on everyday questions.
        label_boost: how far a label moves a candidate, in standard deviations of its list's scores.
        own_weight: of the starting model's opinion beside teachers, in standard deviations.
        lists_per_query: at most, for queries with many answers.
        seed: of all chance.
    """

    minutes: float = 5.0
    epochs: float = 4.0
    learning_rate: float = 1e-4
    max_length: int = 256
    tokens: int = 4096
    held_out: float = 0.3
    forget: float = 0.01
    general_share: float = 0.25
    label_boost: float = 3.0
    own_weight: float = 0.5
    lists_per_query: int = 8
    seed: int = 1


class Tuning:
    """One fine-tuning run.

    Args:
        start: model folder to start from, in any form.
        pool: the examples; queries without labels have a source that starts with ``synthetic`` or ``log``.
        general: everyday questions with answers.
        settings: how.
        score: ranks with a model folder.
        teachers: further opinions on the pool's lists.
        device: where training computes.
    """

    def __init__(
        self,
        start: Path,
        pool: Pool,
        general: Pool,
        settings: TuneSettings,
        score: Score,
        teachers: Sequence[Teacher] = (),
        device: str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.start, self.settings, self.score, self.teachers = start, settings, score, teachers
        self.tokenizer = Tokenizer.from_file(str(start / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.pool = pool = self._shortened(pool)
        self.general = self._shortened(general)
        self.weights = load_weights(start).to_dense()
        self.labelled = any(q.source == "examples" for q in pool.queries)
        train, choose, report = split(pool, settings.seed, settings.held_out)
        self.n_queries = {"train": len(train), "choose": len(choose), "report": len(report)}
        _say(f"{len(train)} queries to learn from, {len(choose)} to choose by, {len(report)} to report on")
        lexical = self._lexical(pool)
        self.lists = self._targets(self._mined(pool, train, lexical))
        self.choose, self.report = (self._dev(pool, n, lexical, 20) for n in (choose, report))
        self._add_general()

    def run(self, out: Path) -> dict[str, Any]:
        """Train, choose, measure, write the int8 folder; returns the report.

        Raises:
            DataError: held-out queries are ranked no better afterwards; nothing is written.
        """
        work = out.with_name(out.name + ".work")
        work.mkdir(parents=True, exist_ok=True)
        start_time = time.monotonic()
        before = self.measure(self.start)
        _say(f"before: held-out NDCG@10 {before[0]:.4f}, everyday questions {before[1]:.4f}")
        looks = _Looks(self, work, before[0])
        model = JinaBert.from_weights(self.weights).to(self.device)
        set_dropout(model, 0.0)  # what the start already says right must cost nothing
        model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
        stage = self._train(model, work, looks)
        looks.end(model)
        try:
            folder, share, after = self._walk(looks, before, work)
        except DataError:
            shutil.rmtree(work)
            raise
        values = [
            self.report.values(self._list_scores(f, self.report, self.pool)) for f in (self.start, folder)
        ]
        [test] = randomization_test([values[1] - values[0]])
        report = {
            "queries": self.n_queries,
            "lists": len(self.lists.query),
            "steps": stage.step,
            "seconds": round(time.monotonic() - start_time, 1),
            "choosing": {"before": before[0], "after": after[0]},
            "reported": {
                "before": float(values[0].mean()),
                "after": float(values[1].mean()),
                "difference": test.difference,
                "p": test.p,
            },
            "everyday": {"before": before[1], "after": after[1]},
            "share_of_the_way": share,
            "looks": looks.history,
        }
        self._write(folder, out, report)
        shutil.rmtree(work)
        return report

    def _train(self, model: JinaBert, work: Path, looks: _Looks) -> Stage:
        s = self.settings
        texts = [DeviceText(encode(self.tokenizer, t), self.device) for t in (self.queries, self.passages)]
        builder = PairBuilder(texts[0], texts[1], Template(), s.max_length)
        size = max(1, round(s.tokens / mean_list_tokens(builder, self.lists)))
        recipe = StageRecipe(
            steps=max(12, round(s.epochs * len(self.lists.query) / size)),
            minutes=s.minutes,
            tokens=s.tokens,
            micro_tokens=s.tokens,
            learning_rate=s.learning_rate,
            warmup=0.1,
            max_length=s.max_length,
            losses={"listwise_kl": 1.0},
            temperature=_TEMPERATURE,
            quantize_share=1.0,  # the int8 form is what is measured and kept
            average=0.0,
            looks=3,
        )
        facts = json.dumps([asdict(s), asdict(recipe), self.queries, self.passages, identity(self.start)])
        key = hashlib.sha256(facts.encode() + self.lists.teacher.tobytes()).hexdigest()[:16]
        return train_rank(model, builder, self.lists, recipe, work, key, s.seed, lambda: looks(model))

    def _walk(
        self, looks: _Looks, before: tuple[float, float], work: Path
    ) -> tuple[Path, float, tuple[float, float]]:
        """The mix of old and best weights that ranks held-out queries best and keeps the everyday score."""
        best = looks.best() or self.weights
        found: tuple[Path, float, tuple[float, float]] | None = None
        for share in _SHARES if self.labelled else _SHARES_UNLABELLED:
            mixed = {
                name: old + np.float32(share) * (best.tensors[name] - old)
                for name, old in self.weights.tensors.items()
            }
            folder = work / f"share-{share:g}"
            self.save_int8(from_tensors(self.weights.config, mixed, "mixed weights"), folder)
            after = self.measure(folder)
            _say(f"{share:.0%} of the way: held-out {after[0]:.4f}, everyday {after[1]:.4f}")
            kept = after[1] >= (1 - self.settings.forget) * before[1]
            if kept and after[0] > (found[2][0] if found else before[0]):
                found = folder, share, after
        if found:
            return found
        raise DataError(
            f"held-out queries are ranked no better afterwards (NDCG@10 {before[0]:.4f} before, best"
            f" {max((x['held_out'] for x in looks.history), default=0.0):.4f}) without losing more than"
            f" {self.settings.forget:.0%} on everyday questions; nothing was written: give more or cleaner"
            " examples"
        )

    def measure(self, folder: Path) -> tuple[float, float]:
        """NDCG@10 on the queries to choose by, and on everyday questions."""
        held_out = self.choose.values(self._list_scores(folder, self.choose, self.pool))
        everyday = self.check.values(self._list_scores(folder, self.check, self.general))
        return float(held_out.mean()), float(everyday.mean())

    def save_int8(self, weights: Weights, folder: Path) -> None:
        """Write a model folder with the tokenizer of the start."""
        weights.to_int8().save(folder)
        shutil.copyfile(self.start / "tokenizer.json", folder / "tokenizer.json")

    def _shortened(self, pool: Pool) -> Pool:
        """The pool with queries cut to half of a training pair, as the pairs are cut."""
        most = min(self.settings.max_length, _EVALUATION_TOKENS) // 2
        queries = list(pool.queries)
        cut = 0
        for i, query in enumerate(queries):
            offsets = self.tokenizer.encode(query.text, add_special_tokens=False).offsets
            if len(offsets) > most:
                queries[i] = replace(query, text=query.text[: offsets[most - 1][1]])
                cut += 1
        if cut:
            _say(f"{cut} queries are longer than {most} tokens, half of what a pair may have, and were cut")
        return replace(pool, queries=queries)

    def _list_scores(
        self, folder: Path, lists: Lists | DevLists, pool: Pool, longest: int = 0
    ) -> NDArray[np.float32]:
        real = lists.candidate >= 0
        query = np.broadcast_to(lists.query[:, None], real.shape)[real]
        pairs = [
            (pool.queries[q].text, pool.passages[p])
            for q, p in zip(query, lists.candidate[real], strict=True)
        ]
        scores = np.zeros(real.shape, dtype=np.float32)
        scores[real] = self.score(folder, pairs, longest or _EVALUATION_TOKENS)
        return scores

    def _lexical(self, pool: Pool, depth: int = 40) -> NDArray[np.int32]:
        """BM25's best passages for every query, (queries, depth), -1 where there are fewer."""
        queries, passages = (
            encode(self.tokenizer, texts) for texts in ([q.text for q in pool.queries], pool.passages)
        )
        index = Bm25(passages, self.tokenizer.get_vocab_size(), torch.device("cpu"))
        found = np.full((len(pool.queries), depth), -1, dtype=np.int32)
        for start, rows in index.top(queries, depth):
            found[start : start + len(rows), : rows.shape[1]] = rows
        return found

    def _mined(self, pool: Pool, numbers: list[int], lexical: NDArray[np.int32]) -> Lists:
        repeated = [
            n
            for n in numbers
            for _ in range(
                min(self.settings.lists_per_query, -(-len(pool.queries[n].positives) // 2))
                if pool.queries[n].source == "examples"
                else 1
            )
        ]
        chosen = np.array(repeated, dtype=np.int32)
        nothing = np.full((len(chosen), 1), -1, dtype=np.int32)
        recipe = MineRecipe(dense=0, lexical=6, chance=2, depth=lexical.shape[1], length=10)
        return mine(pool, chosen, nothing, lexical[chosen], recipe, self.settings.seed)

    def _targets(self, lists: Lists) -> Lists:
        """Fill in what the student should say: the start's and the teachers' opinions, moved by labels."""
        own = centered(
            self._list_scores(self.start, lists, self.pool, self.settings.max_length), lists.candidate
        )
        if self.teachers:
            target = self.settings.own_weight * own / spread(own, lists.candidate)
            for teacher in self.teachers:
                scores = centered(teacher(lists.query, lists.candidate), lists.candidate)
                target += scores / spread(scores, lists.candidate)
        else:
            target = _TEMPERATURE * own
        for row, number in enumerate(lists.query):
            query = self.pool.queries[number]
            if query.source != "examples":
                continue
            most = max(query.positives.values())
            for place, passage in enumerate(lists.candidate[row]):
                gain = query.positives.get(int(passage), 0) / most
                lowered = 0.3 if int(passage) in query.negatives else 0.0
                target[row, place] += self.settings.label_boost * (gain - lowered)
        lists.teacher = target.astype(np.float32)
        return lists

    def _dev(self, pool: Pool, numbers: list[int], lexical: NDArray[np.int32], depth: int) -> DevLists:
        """Lists to rank, as a first stage gives them: BM25's best, the last one an answer if it found none.

        Answers added to every list would flatter: a model that turns away from the query's own words finds
        those that BM25 missed, and no first stage would have brought them.
        """
        rng = np.random.default_rng(self.settings.seed)
        chosen = np.array(numbers, dtype=np.int32)
        candidate = lexical[chosen, :depth].copy()
        gain = np.zeros(candidate.shape, dtype=np.float32)
        ideal = np.ones(len(chosen), dtype=np.float32)
        for row, n in enumerate(numbers):
            judged = pool.queries[n].positives
            if judged and judged.keys().isdisjoint(candidate[row].tolist()):
                candidate[row, -1] = rng.choice(list(judged))
            gain[row] = [judged.get(int(p), 0) for p in candidate[row]]
            best = np.sort(np.array([*judged.values(), 0.0]))[::-1][:10]
            ideal[row] = (best * discounts(len(best))).sum()
        dev = DevLists(chosen, candidate, gain, ideal, [pool.queries[n].source for n in numbers])
        if self.teachers and not self.labelled and pool is self.pool:
            # Without labels: how much of the teachers' order is found again.
            blank = np.zeros_like(dev.gain)
            lists = self._targets(Lists(dev.query, dev.candidate, blank, blank.copy()))
            dev.gain = np.where(dev.candidate >= 0, np.maximum(lists.teacher, 0.01), 0).astype(np.float32)
            best = -np.sort(-dev.gain, axis=1)[:, :10]
            dev.ideal = (best * discounts(best.shape[1])).sum(1).astype(np.float32)
        return dev

    def _add_general(self) -> None:
        """Everyday questions: most of them keep the model where it is, a quarter check that it stayed."""
        lexical = self._lexical(self.general)
        n = len(self.general.queries)
        self.check = self._dev(self.general, list(range(0, n, 4)), lexical, 10)
        wanted = self.settings.general_share / (1 - self.settings.general_share) * len(self.lists.query)
        numbers = [i for i in range(n) if i % 4]
        lists = self._mined(
            self.general, (numbers * -(-round(wanted) // len(numbers)))[: round(wanted)], lexical
        )
        scores = self._list_scores(self.start, lists, self.general, self.settings.max_length)
        lists.teacher = _TEMPERATURE * centered(scores, lists.candidate)
        n_queries, n_passages = len(self.pool.queries), len(self.pool.passages)
        self.queries = [q.text for q in (*self.pool.queries, *self.general.queries)]
        self.passages = [*self.pool.passages, *self.general.passages]
        moved = np.where(lists.candidate >= 0, lists.candidate + n_passages, -1).astype(np.int32)
        own, other = self.lists, Lists(lists.query + np.int32(n_queries), moved, lists.label, lists.teacher)
        names = ("query", "candidate", "label", "teacher")
        self.lists = Lists(*(np.concatenate([getattr(own, n), getattr(other, n)]) for n in names))

    def _write(self, folder: Path, out: Path, report: dict[str, Any]) -> None:
        out.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            shutil.copyfile(folder / name, out / name)
        manifest = {
            "start": {
                "folder": self.start.name,
                "model.safetensors": sha256(self.start / "model.safetensors"),
            },
            "settings": asdict(self.settings),
            "report": report,
            "files": {n: sha256(out / n) for n in ("config.json", "model.safetensors", "tokenizer.json")},
            **surroundings(),
        }
        (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        (out / "README.md").write_text(
            tune_card(out.name, manifest, labelled=self.labelled), encoding="utf-8"
        )


class _Looks:
    """Measures the model on its way, keeps the best weights on disk, and says when it is enough.

    Args:
        tuning: measures.
        work: folder for the model that is looked at, the best weights and what was seen.
        before: held-out score of the start.
    """

    def __init__(self, tuning: Tuning, work: Path, before: float) -> None:
        self.tuning, self.work, self.before = tuning, work, before
        self.path = work / "looks.json"
        self.history: list[dict[str, float]] = json.loads(self.path.read_text()) if self.path.exists() else []

    def __call__(self, model: JinaBert) -> str:
        """Look at the model now."""
        weights = model.to_weights()
        self.tuning.save_int8(weights, self.work / "look")
        held_out, everyday = self.tuning.measure(self.work / "look")
        if held_out > max((x["held_out"] for x in self.history), default=self.before):
            weights.save(self.work / "best")
        self.history.append({"held_out": held_out, "everyday": everyday})
        self.path.write_text(json.dumps(self.history))
        best = max(range(len(self.history)), key=lambda n: self.history[n]["held_out"])
        if len(self.history) - best > 2:
            raise Enough
        return f"held-out {held_out:.4f}, everyday {everyday:.4f}"

    def end(self, model: JinaBert) -> None:
        """The last look."""
        try:
            _say(self(model))
        except Enough:
            _say("stopped early: the held-out queries gain no more")

    def best(self) -> Weights | None:
        """The best weights seen, None if none was better than the start."""
        folder = self.work / "best"
        return load_weights(folder) if (folder / "model.safetensors").exists() else None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress
