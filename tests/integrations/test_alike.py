"""What holds of every integration: order, scores, receipts, and documents at the edges."""

from __future__ import annotations

from pathlib import Path

import pytest
from adapters import ADAPTERS, Adapter, Doc

from tinyrerank import Reranker, fuse_with_list
from tinyrerank.errors import InputError

TEXTS = [
    "bread dough rises because yeast makes gas",
    "the tide rises when the moon pulls the sea toward it",
    "a reranker reads a query and a document together",
    "the moon and the sun pull on the ocean",
]
QUERY = "how do tides work?"

pytestmark = pytest.mark.filterwarnings("default")  # frameworks warn of their own affairs

each = pytest.mark.parametrize("adapter", [pytest.param(each, id=name) for name, each in ADAPTERS.items()])

#: Those that rank a list, where a framework hands over the retriever's order.
LISTED = ("llama_index", "langchain", "haystack", "lancedb", "lancedb_words", "dspy", "rerankers", "redisvl")
each_listed = pytest.mark.parametrize("adapter", [pytest.param(ADAPTERS[name], id=name) for name in LISTED])


def docs_of(texts: list[str]) -> list[Doc]:
    return [Doc(i, text) for i, text in enumerate(texts)]


@each
def test_order_scores_and_receipts_are_those_of_the_reranker(adapter: Adapter, tiny_folder: Path) -> None:
    results = adapter(model=str(tiny_folder))(QUERY, docs_of(TEXTS))
    with Reranker(str(tiny_folder)) as reranker:
        expected = reranker.rank(QUERY, TEXTS)
    assert [result.key for result in results] == [hit.index for hit in expected]
    assert [result.score for result in results] == pytest.approx([hit.score for hit in expected], rel=1e-5)
    for result, hit in zip(results, expected, strict=True):
        if result.receipt is not None:
            assert result.receipt.get("logit", hit.logit) == pytest.approx(hit.logit, rel=1e-5)
            assert result.receipt["index"] == hit.index
            assert result.receipt["tokens_read"] == result.receipt["tokens_total"] > 0
            assert result.receipt["truncated"] is False


@each
def test_top_n_keeps_the_best_and_no_limit_keeps_all(adapter: Adapter, tiny_folder: Path) -> None:
    every = adapter(model=str(tiny_folder))(QUERY, docs_of(TEXTS))
    assert adapter(model=str(tiny_folder), top_n=2)(QUERY, docs_of(TEXTS)) == every[:2]
    assert len(every) == len(TEXTS)
    assert len(adapter(model=str(tiny_folder), top_n=9)(QUERY, docs_of(TEXTS))) == len(TEXTS)


@each
def test_no_documents_give_nothing_and_open_no_model(adapter: Adapter, tmp_path: Path) -> None:
    assert adapter(model=str(tmp_path / "no such model"))(QUERY, []) == []


@each
def test_one_document_comes_back(adapter: Adapter, tiny_folder: Path) -> None:
    assert [r.key for r in adapter(model=str(tiny_folder))(QUERY, docs_of(TEXTS[:1]))] == [0]


@each
def test_documents_that_share_an_id_or_a_text_are_all_kept(adapter: Adapter, tiny_folder: Path) -> None:
    docs = [Doc(0, TEXTS[0], "same"), Doc(1, TEXTS[1], "same"), Doc(2, TEXTS[0], "same")]
    results = adapter(model=str(tiny_folder))(QUERY, docs)
    assert sorted(result.key for result in results) == [0, 1, 2]
    order = [result.key for result in results]
    assert order.index(0) < order.index(2)  # equal texts keep the order given


@each
def test_a_document_with_metadata_only_is_scored_as_empty_text(adapter: Adapter, tiny_folder: Path) -> None:
    results = adapter(model=str(tiny_folder))(QUERY, [Doc(0, ""), Doc(1, TEXTS[1]), Doc(2, "")])
    assert sorted(result.key for result in results) == [0, 1, 2]
    empty = {result.key: result.score for result in results}
    assert empty[0] == empty[2]


@each
def test_a_thousand_documents_come_back_each_once(adapter: Adapter, tiny_folder: Path) -> None:
    docs = docs_of([f"{TEXTS[i % 4]} {i}" for i in range(1000)])
    results = adapter(model=str(tiny_folder))(QUERY, docs)
    assert sorted(result.key for result in results) == list(range(1000))
    scores = [result.score for result in results]
    assert scores == sorted(scores, reverse=True)


@each
def test_a_document_of_a_hundred_thousand_words_is_cut_and_says_so(
    adapter: Adapter, tiny_folder: Path
) -> None:
    """Where a framework has no room for a receipt, the score must at least be that of the reranker."""
    docs = [Doc(0, "the tide rises " * 33_334), Doc(1, TEXTS[0])]
    results = {result.key: result for result in adapter(model=str(tiny_folder))(QUERY, docs)}
    with Reranker(str(tiny_folder)) as reranker:
        hits = {hit.index: hit for hit in reranker.rank(QUERY, [doc.text for doc in docs])}
    assert results.keys() == hits.keys()
    for key, hit in hits.items():
        assert results[key].score == pytest.approx(hit.score, rel=1e-5)
    receipt = results[0].receipt
    if receipt is not None:
        assert receipt["truncated"] is True
        assert receipt["tokens_read"] < 512
        assert receipt["tokens_total"] >= 100_000
        assert results[1].receipt is not None
        assert results[1].receipt["truncated"] is False


@each_listed
def test_the_order_given_and_likeness_count_where_they_have_a_weight(
    adapter: Adapter, tiny_folder: Path
) -> None:
    weights = {"list_weight": 0.7, "likeness": 0.3}
    results = adapter(model=str(tiny_folder), **weights)(QUERY, docs_of(TEXTS))
    with Reranker(str(tiny_folder)) as reranker:
        expected = fuse_with_list(reranker.rank(QUERY, TEXTS), 0.7, likeness=0.3)
    assert [result.key for result in results] == [hit.index for hit in expected]
    scores = [result.score for result in results]
    assert scores == pytest.approx([hit.score for hit in expected], rel=1e-5)
    assert scores == sorted(scores, reverse=True)
    assert adapter(model=str(tiny_folder), top_n=2, **weights)(QUERY, docs_of(TEXTS)) == results[:2]
    listed = adapter(model=str(tiny_folder), list_weight=1e4)(QUERY, docs_of(TEXTS))
    assert [result.key for result in listed] == [0, 1, 2, 3]


@each_listed
def test_an_unusable_weight_is_refused_at_once(adapter: Adapter, tiny_folder: Path) -> None:
    with pytest.raises(InputError, match="weight of the list is -1"):
        adapter(model=str(tiny_folder), list_weight=-1.0)
    with pytest.raises(InputError, match="weight of the likeness is -2"):
        adapter(model=str(tiny_folder), likeness=-2.0)
