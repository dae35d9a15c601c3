"""The lists of the real sets have the NDCG@10 that their README states, to four digits."""

from __future__ import annotations

import pytest
from beir_files import DATA

from tinyrerank.evaluate.first_stage import load_task
from tinyrerank.evaluate.metrics import mean, measure

FIGURES = {
    "nfcorpus": 0.3204,
    "arguana": 0.3379,
    "trec-dl19": 0.5058,
    "trec-dl21": 0.4458,
    "noveleval": 0.7012,
    "wikiqa": 0.6937,
    "hotpotqa-100": 0.8005,
    "climate-fever-sentences": 0.8034,
    "mediqa2019-qa": 0.8702,
    "cranfield": 0.4986,
    "cisi": 0.2863,
    "cacm": 0.4211,
    "npl": 0.4291,
    "cystic-fibrosis": 0.4437,
    "birco-wtb": 0.2403,
    "birco-clinical-trial": 0.2463,
    "birco-relic": 0.1602,
}
QUICK = {"nfcorpus", "trec-dl21", "wikiqa"}  # missing queries, grades, ties


@pytest.mark.skipif(not DATA.is_dir(), reason="the evaluation sets are not here (set TINYRERANK_DATA)")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in FIGURES]
)
def test_the_list_as_given_has_its_published_ndcg(name: str) -> None:
    task = load_task(DATA / name)
    values = measure(task.qrels, task.run, relevant_from=task.relevant_from)
    assert round(mean(values["NDCG@10"]), 4) == FIGURES[name]
