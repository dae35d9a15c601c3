"""Candidate lists: BM25 by its formula, lengths, labels, doubts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import flat

from tinyrerank.train.pool import Pool, Query
from tinyrerank.train.recipe import MineRecipe

torch = pytest.importorskip("torch", reason="training needs the train extra")

from tinyrerank.train.mine import Bm25, Lists, doubt, mine, nearest  # noqa: E402

CPU = torch.device("cpu")
RECIPE = MineRecipe(dense=4, lexical=4, chance=2, depth=12, length=10)
documents = st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=1, max_size=8)


def slow_bm25(texts: list[list[int]], query: list[int], k1: float, b: float) -> list[float]:
    """The score of every text, term by term."""
    n, mean = len(texts), max(1.0, sum(map(len, texts)) / len(texts))
    scores = []
    for text in texts:
        score = 0.0
        for term in set(query):
            n_with = sum(term in other for other in texts)
            count = text.count(term)
            idf = math.log(1 + (n - n_with + 0.5) / (n_with + 0.5))
            score += idf * count / (count + k1 * (1 - b + b * len(text) / mean))
        scores.append(score)
    return scores


@given(texts=documents, queries=documents, depth=st.integers(1, 10), batch=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_bm25_finds_what_the_formula_finds(
    texts: list[list[int]], queries: list[list[int]], depth: int, batch: int
) -> None:
    if not any(texts):
        return
    found: dict[int, list[int]] = {}
    for start, numbers in Bm25(flat(texts), 10, CPU, k1=1.1, b=0.6).top(flat(queries), depth, batch):
        found |= {start + n: row for n, row in enumerate(numbers.tolist())}
    assert sorted(found) == list(range(len(queries)))
    for n, query in enumerate(queries):
        scores = slow_bm25(texts, query, 1.1, 0.6)
        assert len(set(found[n])) == len(found[n]) == min(depth, len(texts))
        best = sorted(scores, reverse=True)[: len(found[n])]  # texts that tie may stand in any order
        assert [scores[t] for t in found[n]] == pytest.approx(best, rel=1e-5)


@given(texts=documents, query=st.lists(st.integers(0, 9), min_size=1, max_size=6), data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_share_of_a_candidate_is_its_bm25_over_the_best_of_all(
    texts: list[list[int]], query: list[int], data: st.DataObject
) -> None:
    if not any(texts):
        return
    index = Bm25(flat(texts), 10, CPU, k1=1.1, b=0.6)
    row = data.draw(st.lists(st.integers(-1, len(texts) - 1), min_size=1, max_size=5))
    got = index.shares(flat([query]), np.zeros(1, np.int32), np.array([row], np.int32))
    scores = slow_bm25(texts, query, 1.1, 0.6)
    best = max(scores)
    wanted = [scores[t] / best if t >= 0 and best else 0.0 for t in row]
    assert got[0].tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_nearest_are_the_largest_inner_products() -> None:
    rng = np.random.default_rng(0)
    queries, passages = rng.standard_normal((7, 5)), rng.standard_normal((20, 5))
    found = nearest(torch.from_numpy(queries), torch.from_numpy(passages), 6, batch=3)
    np.testing.assert_array_equal(found, np.argsort(-(queries @ passages.T), axis=1)[:, :6])
    assert nearest(torch.from_numpy(queries), torch.from_numpy(passages[:4]), 6).shape == (7, 4)


def random_pool(rng: np.random.Generator, n: int) -> Pool:
    queries = []
    for i in range(12):
        positives = {int(p): 1 for p in rng.permutation(n)[: i % 4]}
        others = [int(p) for p in rng.permutation(n)[: 2 * (i % 3)] if int(p) not in positives]
        queries.append(Query(f"q{i}", ("synthetic title" if i % 5 == 1 else "set"), positives, others))
    return Pool([f"p{i}" for i in range(n)], queries, n)


@given(seed=st.integers(0, 10_000), n=st.integers(4, 40) | st.just(500), chance=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_lists_have_their_length_no_duplicates_and_labels_of_what_is_known(
    seed: int, n: int, chance: int
) -> None:
    rng = np.random.default_rng(seed)
    pool, recipe = random_pool(rng, n), replace(RECIPE, chance=chance)
    numbers = np.array([3, 1, 0, 7, 11, 6, 2], dtype=np.int32)
    ranked = [np.stack([rng.permutation(n)[: recipe.depth] for _ in numbers]).astype(np.int32) for _ in "dl"]
    lists = mine(pool, numbers, ranked[0], ranked[1], recipe, seed)
    assert lists.query.tolist() == numbers.tolist()
    assert lists.candidate.shape == lists.label.shape == (7, recipe.length)
    assert not lists.teacher.any()
    for number, row, labels in zip(numbers, lists.candidate, lists.label, strict=True):
        query, real = pool.queries[number], row[row >= 0].tolist()
        assert (row[: len(real)] >= 0).all()  # padding stands at the end
        assert len(set(real)) == len(real)
        assert max(real) < n
        assert len(real) == recipe.length or n < 500
        given_first = [p for p in real if p in query.positives or p in query.negatives]
        assert len(given_first) >= min(2, len(query.positives)) + min(4, len(query.negatives))
        if query.positives and not query.source.startswith("synthetic"):
            assert labels[: len(real)].tolist() == [float(p in query.positives) for p in real]
        else:
            assert np.isnan(labels).all()
        assert np.isnan(labels[len(real) :]).all()


def test_lists_hold_candidates_of_every_kind_and_the_seed_decides_them() -> None:
    pool = Pool([f"p{i}" for i in range(1000)], [Query("q", "set", {5: 1})], 1000)
    dense, lexical = (np.arange(a, a + 12, dtype=np.int32)[None] for a in (100, 200))
    lists = mine(pool, np.zeros(1, np.int32), dense, lexical, RECIPE, 1)
    found = lists.candidate[0].tolist()
    assert found[0] == 5
    assert sum(100 <= p < 112 for p in found) == 4
    assert sum(200 <= p < 212 for p in found) >= 3  # the tenth place is chance's
    assert sum(not 100 <= p < 112 and not 200 <= p < 212 for p in found[1:]) == 2
    again = mine(pool, np.zeros(1, np.int32), dense, lexical, RECIPE, 1)
    other = mine(pool, np.zeros(1, np.int32), dense, lexical, RECIPE, 2)
    assert again.candidate[0].tolist() == found
    assert other.candidate[0].tolist() != found


def test_passages_of_dev_sets_are_never_drawn() -> None:
    pool = Pool([f"p{i}" for i in range(50)], [Query("q", "set", {5: 1})], 20)
    nothing = np.full((1, 12), -1, dtype=np.int32)
    for seed in range(20):
        assert mine(pool, np.zeros(1, np.int32), nothing, nothing, RECIPE, seed).candidate.max() < 20


@given(seed=st.integers(0, 10_000), margin=st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=40, deadline=None)
def test_a_non_answer_nearly_as_close_as_the_best_answer_becomes_unknown(seed: int, margin: float) -> None:
    rng = np.random.default_rng(seed)
    label = rng.choice([0.0, 1.0, np.nan], (4, 6), p=[0.6, 0.2, 0.2]).astype(np.float32)
    similarity = rng.normal(0, 1, (4, 6)).astype(np.float32)
    lists = Lists(np.arange(4, dtype=np.int32), np.zeros((4, 6), np.int32), label.copy(), similarity)
    doubt(lists, similarity, margin)
    for before, after, close in zip(label, lists.label, similarity, strict=True):
        answers = [float(s) for s, known in zip(close, before, strict=True) if known == 1]
        for old, new, s in zip(before, after, close, strict=True):
            if old == 0 and answers and np.float32(s) > np.float32(max(answers)) - np.float32(margin):
                assert np.isnan(new)
            elif old == 0 and not answers:
                assert np.isnan(new)  # nothing to compare with
            else:
                np.testing.assert_equal(new, old)


def test_lists_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    label = rng.choice([0.0, 1.0, np.nan], (3, 4)).astype(np.float32)
    lists = Lists(
        np.arange(3, dtype=np.int32),
        rng.integers(-1, 9, (3, 4), np.int32),
        label,
        rng.random((3, 4), np.float32),
    )
    lists.save(tmp_path / "lists.npz")
    back = Lists.load(tmp_path / "lists.npz")
    for name in ("query", "candidate", "label", "teacher"):
        np.testing.assert_array_equal(getattr(back, name), getattr(lists, name))


@pytest.mark.parametrize("source", ["synthetic passage", "synthetic part"])
def test_a_passage_that_asks_for_others_is_not_its_own_candidate(source: str) -> None:
    pool = Pool([f"p{i}" for i in range(1000)], [Query("p100", source, {100: 1})], 1000)
    dense, lexical = (np.arange(100, 112, dtype=np.int32)[None] for _ in "dl")
    for seed in range(20):
        lists = mine(pool, np.zeros(1, np.int32), dense, lexical, RECIPE, seed)
        assert 100 not in lists.candidate[0]
        assert (lists.candidate[0] >= 0).all()
        assert np.isnan(lists.label).all()


def test_shares_of_lists_are_all_of_them_once() -> None:
    rng = np.random.default_rng(0)
    lists = Lists(*(rng.random((7, 3)).astype(np.float32) for _ in range(4)))  # type: ignore[arg-type]
    shares = [lists.share(n, 3) for n in range(3)]
    assert sorted(len(s.query) for s in shares) == [2, 2, 3]
    for name in ("query", "candidate", "label", "teacher"):
        together = np.concatenate([getattr(s, name) for s in shares])
        assert sorted(together.tolist()) == sorted(getattr(lists, name).tolist())
