from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beir_files import DOCUMENTS, QUERIES, RUN, write_set
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyrerank import Reranker
from tinyrerank.errors import EngineError
from tinyrerank.evaluate.beir import BeirDocument, read_run
from tinyrerank.evaluate.first_stage import Task, load_task
from tinyrerank.evaluate.runner import (
    System,
    evaluate_system,
    fused,
    hash_model,
    reorder,
    reranker_system,
)
from tinyrerank.fusion import with_likeness
from tinyrerank.progress import Progress


class Overlap:
    """Scores by shared words; records its calls and can break at one."""

    def __init__(self, break_at: int | None = None, sign: int = 1) -> None:
        self.queries: list[str] = []
        self._break_at, self._sign = break_at, sign

    def score(self, query: str, documents: Sequence[BeirDocument]) -> NDArray[np.float64]:
        if len(self.queries) == self._break_at:
            raise KeyboardInterrupt
        self.queries.append(query)
        words = set(query.split())
        return np.array(
            [self._sign * len(words & set(one["text"].split())) for one in documents], dtype=float
        )


def system(scorer: Overlap, **identity: object) -> System:
    return System("words", {"kind": "test", **identity}, scorer)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load_task(write_set(tmp_path / "toy"))


def test_the_run_is_reordered_by_score_and_written_so_that_it_reads_back(task: Task, tmp_path: Path) -> None:
    values = evaluate_system(task, system(Overlap()), tmp_path / "out")
    assert read_run(tmp_path / "out" / "words.trec.gz") == {
        "q1": ["d3", "d2", "d1"],  # d2 and d1 tie and keep the order of the list
        "q2": ["d2", "d1"],
        "q3": ["d5", "d1", "d4"],
    }
    assert values.per_query["MRR@10"] == {"q1": 1.0, "q2": 1.0, "q3": 1.0}
    assert values.per_query["NDCG@10"]["q1"] == pytest.approx((1 + 2 / 2) / (2 + 1 / math.log2(3)))
    assert values.pairs == 8


def test_an_interrupted_evaluation_goes_on_where_it_stopped(task: Task, tmp_path: Path) -> None:
    whole = evaluate_system(task, system(Overlap()), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        evaluate_system(task, system(Overlap(break_at=2)), tmp_path / "out")
    rest = Overlap()
    resumed = evaluate_system(task, system(rest), tmp_path / "out")
    assert rest.queries == [QUERIES["q3"]]
    assert resumed.per_query == whole.per_query


@pytest.mark.parametrize("lost", [1, 20])
def test_a_line_cut_by_a_kill_is_scored_again(task: Task, tmp_path: Path, lost: int) -> None:
    evaluate_system(task, system(Overlap()), tmp_path)
    [kept] = tmp_path.glob("scores.*.jsonl")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-lost])
    rest = Overlap()
    evaluate_system(task, system(rest), tmp_path)
    assert rest.queries == [QUERIES["q3"]]
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [row["query"] for row in rows] == list(RUN)


def test_nothing_is_scored_twice(task: Task, tmp_path: Path) -> None:
    evaluate_system(task, system(Overlap()), tmp_path)
    again = Overlap()
    evaluate_system(task, system(again), tmp_path)
    assert again.queries == []


def test_the_join_with_the_list_takes_the_kept_scores(task: Task, tmp_path: Path) -> None:
    plain = evaluate_system(task, system(Overlap()), tmp_path)
    again = Overlap()
    values = evaluate_system(task, fused(system(again), list_weight=1e6), tmp_path)
    assert again.queries == []
    assert values.per_query != plain.per_query
    assert read_run(tmp_path / "words-list.trec.gz") == task.run  # so heavy that only the list counts


def test_the_likeness_to_the_best_takes_the_kept_scores(task: Task, tmp_path: Path) -> None:
    evaluate_system(task, system(Overlap()), tmp_path)
    again = Overlap()
    alike = fused(system(again), likeness=1e6)
    evaluate_system(task, alike, tmp_path)
    assert (again.queries, alike.label) == ([], "words+likeness")
    for query, ranked in read_run(tmp_path / "words-likeness.trec.gz").items():
        documents = [task.documents[key] for key in task.run[query]]
        texts = [f"{one['title']} {one['text']}".strip() for one in documents]
        logits = Overlap().score(task.queries[query], documents).tolist()
        assert ranked == reorder(task.run[query], with_likeness(logits, texts, 1e6))


def test_a_changed_model_or_setting_never_meets_old_scores(task: Task, tmp_path: Path) -> None:
    evaluate_system(task, system(Overlap(), sha256="a", max_length=512), tmp_path)
    for identity in ({"sha256": "b", "max_length": 512}, {"sha256": "a", "max_length": 256}):
        other = Overlap(sign=-1)
        values = evaluate_system(task, system(other, **identity), tmp_path)
        assert len(other.queries) == 3
        assert values.per_query["MRR@10"]["q3"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    "changed",
    [
        {"documents": {**DOCUMENTS, "d3": ("", "nothing of the kind")}},
        {"queries": {**QUERIES, "q1": "what are tides"}},
        {"run": {**RUN, "q1": ["d1", "d2", "d3"]}},
    ],
)
def test_changed_candidates_never_meet_old_scores(
    task: Task, tmp_path: Path, changed: dict[str, Any]
) -> None:
    evaluate_system(task, system(Overlap()), tmp_path)
    again = Overlap()
    new = load_task(write_set(tmp_path / "new", **changed))
    evaluate_system(new, system(again), tmp_path)
    assert again.queries == [new.queries["q1"]]  # the others have what they had


def test_scores_of_a_sample_serve_the_whole_set(task: Task, tmp_path: Path) -> None:
    sample = replace(task, run={"q2": task.run["q2"]}, qrels={"q2": task.qrels["q2"]})
    evaluate_system(sample, system(Overlap()), tmp_path / "out")
    rest = Overlap()
    values = evaluate_system(task, system(rest), tmp_path / "out")
    assert rest.queries == [QUERIES["q1"], QUERIES["q3"]]
    again = Overlap()
    assert evaluate_system(sample, system(again), tmp_path / "out").per_query["NDCG@10"].keys() == {"q2"}
    assert again.queries == []
    assert values.per_query == evaluate_system(task, system(Overlap()), tmp_path / "other").per_query


@pytest.mark.parametrize("logits", [np.array([1.0]), np.array([np.nan, 0, 0]), np.zeros((3, 1))])
def test_unusable_logits_are_an_engine_error(task: Task, tmp_path: Path, logits: NDArray[np.float64]) -> None:
    class Broken:
        def score(self, query: str, documents: Sequence[BeirDocument]) -> NDArray[np.float64]:
            del query, documents
            return logits

    with pytest.raises(EngineError, match="words gave logits of shape"):
        evaluate_system(task, System("words", {}, Broken()), tmp_path)
    assert all(not path.read_bytes() for path in tmp_path.glob("scores.*"))


@given(st.lists(st.integers(-3, 3), max_size=20))
def test_reordering_is_a_stable_sort_by_falling_logit(logits: list[int]) -> None:
    listed = [f"d{i}" for i in range(len(logits))]
    expected = [key for _, key in sorted(zip(logits, listed, strict=True), key=lambda pair: -pair[0])]
    assert reorder(listed, [float(x) for x in logits]) == expected


def test_a_reranker_ranks_as_it_scores_and_counts_what_it_cuts(
    task: Task, tmp_path: Path, tiny_folder: Path
) -> None:
    with Reranker(tiny_folder, max_length=30) as reranker:
        made = reranker_system(reranker, "tiny")
        values = evaluate_system(task, made, tmp_path)
        run = read_run(tmp_path / "tiny.trec.gz")
        cut = 0
        for query, listed in task.run.items():
            ranking = reranker.rank(task.queries[query], [task.documents[key] for key in listed])
            assert run[query] == [listed[hit.index] for hit in ranking]
            cut += sum(hit.receipt.truncated for hit in ranking)
    assert values.cut == cut > 0


def test_the_model_hash_sees_weights_config_and_tokenizer(make_model: Callable[..., Path]) -> None:
    folder = make_model()
    first = hash_model(folder)
    (folder / "README.md").write_text("a card")
    assert hash_model(folder) == first
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        before = hash_model(folder)
        (folder / name).write_bytes((folder / name).read_bytes() + b" ")
        assert hash_model(folder) != before


def test_progress_ends_at_nothing_left_whether_scored_or_kept(task: Task, tmp_path: Path) -> None:
    for _ in range(2):
        progress = Progress(system(Overlap()).work(task), quiet=True)
        evaluate_system(task, system(Overlap()), tmp_path, progress)
        assert progress.left(1.0) == "done"


def test_reading_documents_once_is_planned_as_once(task: Task, tmp_path: Path) -> None:
    def prepare(documents: Sequence[BeirDocument], on_read: Callable[[int], None]) -> None:
        for one in documents:
            on_read(len(f"{one['title']} {one['text']}".strip()))

    once = System("words", {}, Overlap(), prepare=prepare)
    progress = Progress(once.work(task), quiet=True)
    evaluate_system(task, once, tmp_path, progress)
    assert progress.left(1.0) == "done"
    assert once.work(task) < system(Overlap()).work(task)


def test_kept_scores_shorten_the_time_left_without_speeding_it_up() -> None:
    progress = Progress(1000, quiet=True)
    progress.advance(500, fresh=False)
    assert progress.left(10.0) == "time left unknown yet"
    progress.advance(100)
    assert progress.left(10.0) == "about 40 s left"


def test_a_terminal_gets_one_rewritten_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    clock = iter([0.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    progress = Progress(100, stream=stream)
    progress.advance(10, "toy, query 1 of 10")
    progress.advance(10, "toy, query 2")
    progress.close()
    erase = "\x1b[K"
    assert stream.getvalue().split("\r") == [
        "",
        f"toy, query 1 of 10, about 9 s left{erase}",
        f"toy, query 2, about 8 s left{erase}",
        erase,
    ]
