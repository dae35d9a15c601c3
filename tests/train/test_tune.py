"""NDCG@10 on held-out lists is the TREC tool's, and the lists know nothing of the answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import flat

from conftest import TINY, random_weights
from tinyrerank.train.pool import Pool, Query

torch = pytest.importorskip("torch", reason="training needs the train extra")

from tinyrerank.model.jinabert import JinaBert  # noqa: E402
from tinyrerank.train.tokens import DeviceText, PairBuilder, Template  # noqa: E402
from tinyrerank.train.tune import DevLists, make_dev_lists, score_lists  # noqa: E402

CPU = torch.device("cpu")


def random_lists(seed: int, n_passages: int = 80) -> tuple[Pool, DevLists]:
    """Held-out queries of two sets and of a dev set, with graded answers in their lists and outside."""
    rng = np.random.default_rng(seed)
    queries = []
    for n in range(9):
        answers = rng.permutation(n_passages)[: int(rng.integers(1, 15))]
        source = ("a", "b", "dev c")[n % 3]
        queries.append(
            Query(f"q{n}", source, {int(p): int(rng.integers(1, 4)) for p in answers}, held_out=True)
        )
    pool = Pool([f"p{n}" for n in range(n_passages)], queries, n_passages)
    dense, lexical = (
        np.stack([rng.permutation(n_passages)[:30] for _ in queries]).astype(np.int32) for _ in "dl"
    )
    lexical[:, 20:] = np.where(rng.random((9, 10)) < 0.5, lexical[:, 20:], -1)
    return pool, make_dev_lists(pool, np.arange(9, dtype=np.int32), dense, lexical, depth=40)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_ndcg_equals_the_trec_tools(seed: int) -> None:
    ir_measures = pytest.importorskip("ir_measures", reason="the metrics need the eval extra")
    pool, dev = random_lists(seed)
    scores = np.random.default_rng(seed).permutation(dev.candidate.size).reshape(dev.candidate.shape)
    qrels = {str(n): {str(p): gain for p, gain in q.positives.items()} for n, q in enumerate(pool.queries)}
    run = {
        str(n): {str(p): float(s) for p, s in zip(row, scores[n], strict=True) if p >= 0}
        for n, row in enumerate(dev.candidate.tolist())
    }
    by_source: dict[str, list[float]] = {}
    for metric in ir_measures.iter_calc([ir_measures.nDCG @ 10], qrels, run):
        by_source.setdefault(pool.queries[int(metric.query_id)].source, []).append(metric.value)
    expected = {source: sum(values) / len(values) for source, values in by_source.items()}
    expected["mean"] = sum(expected.values()) / len(expected)
    assert dev.ndcg(scores.astype(np.float32)) == pytest.approx(expected, rel=1e-5)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_lists_hold_the_answers_in_an_order_that_does_not_give_them_away(seed: int) -> None:
    pool, dev = random_lists(seed)
    for number, query in enumerate(pool.queries):
        row = [p for p in dev.candidate[number].tolist() if p >= 0]
        assert len(set(row)) == len(row)
        assert dev.gain[number, : len(row)].tolist() == [query.positives.get(p, 0) for p in row]
        if query.source.startswith("dev "):  # as its first stage ranked them
            assert len(row) <= 30
            assert row != sorted(row)
        else:
            assert set(query.positives) <= set(row)
            assert row == sorted(row)


def test_scores_of_lists_stand_where_their_candidates_do() -> None:
    rng = np.random.default_rng(1)
    passages = [rng.integers(10, 40, rng.integers(1, 9)).tolist() for _ in range(20)]
    queries = [[11, 12], [13], [14, 15, 16]]
    builder = PairBuilder(DeviceText(flat(queries), CPU), DeviceText(flat(passages), CPU), Template(), 24)
    candidate = np.array([[3, 5, -1], [0, -1, -1], [19, 7, 3]], dtype=np.int32)
    model = JinaBert.from_weights(random_weights(TINY))
    scores = score_lists(model, builder, np.array([2, 0, 1], np.int32), candidate, CPU, micro_tokens=16)
    for row, number in enumerate([2, 0, 1]):
        for place, passage in enumerate(candidate[row]):
            if passage < 0:
                assert scores[row, place] == 0.0
            else:
                with torch.no_grad():
                    ids = torch.tensor([[0, *queries[number], 2, 2, *passages[passage], 2]])
                    expected = float(model(ids)[0, 0])
                assert scores[row, place] == pytest.approx(expected, abs=0.05)  # bf16 where it is fast
