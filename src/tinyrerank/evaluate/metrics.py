"""Ranking metrics through ``ir-measures``, one value for every judged query."""

from __future__ import annotations

from collections.abc import Mapping

from tinyrerank.errors import MissingExtraError
from tinyrerank.evaluate.beir import Qrels, Run

#: What is measured, in the order of every table. NDCG uses graded judgements with linear gain; the others are
#: binary. ``Hit@10`` is the share of queries with a relevant document among the first ten (Success@10).
METRICS = ("NDCG@10", "MRR@10", "MAP", "R@100", "Hit@10")

#: Values by metric, then by query.
PerQuery = dict[str, dict[str, float]]


def measure(qrels: Qrels, run: Run, *, relevant_from: int = 1) -> PerQuery:
    """Every metric of a ranking, query by query; a query that the run lacks gets zero.

    The order of each list is what counts: scores are made from ranks, so ties cannot be broken by document
    id.

    Args:
        qrels: grades; its queries, in its order, are the queries of the result.
        run: document ids, best first.
        relevant_from: the lowest grade that is relevant in the binary metrics.

    Raises:
        MissingExtraError: ``ir-measures`` is not installed.
    """
    try:
        import ir_measures
        from ir_measures import AP, RR, R, Success, nDCG
    except ImportError:
        raise MissingExtraError("measuring a ranking", "eval") from None
    measures = {
        nDCG @ 10: "NDCG@10",
        RR(rel=relevant_from) @ 10: "MRR@10",
        AP(rel=relevant_from): "MAP",
        R(rel=relevant_from) @ 100: "R@100",
        Success(rel=relevant_from) @ 10: "Hit@10",
    }
    scores = {
        query: {key: float(len(listed) - i) for i, key in enumerate(listed)} for query, listed in run.items()
    }
    values: PerQuery = {name: dict.fromkeys(qrels, 0.0) for name in METRICS}
    for result in ir_measures.iter_calc(list(measures), qrels, scores):
        if result.query_id in qrels:
            values[measures[result.measure]][result.query_id] = float(result.value)
    return values


def mean(values: Mapping[str, float]) -> float:
    """The plain mean over queries."""
    return sum(values.values()) / len(values)
