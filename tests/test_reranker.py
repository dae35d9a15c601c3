"""The public class, on the slow twin as its engine: quick at this size, and exact."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import TINY
from stub_engines import DOCUMENTS, ENGINE, QUERY, ConstantEngine, SumEngine, TwinEngine
from tinyrerank import Reranker
from tinyrerank.errors import EngineError, InputError, TooLongError
from tinyrerank.types import Document


@pytest.fixture(scope="module")
def reranker(tiny_folder: Path) -> Reranker:
    return Reranker(tiny_folder, engine=ENGINE)


WORDS = st.sampled_from(
    ["tide", "the moon", "sea", "bread?", "\n", "\U0001f600", "\ud800", "\x00", "</s>", ""]
)
TEXTS = st.lists(WORDS, max_size=6).map(" ".join)
property_test = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_hits_fall_by_logit_and_tell_what_was_scored(reranker: Reranker) -> None:
    ranking = reranker.rank(QUERY, DOCUMENTS)
    scores = reranker.score(QUERY, DOCUMENTS)
    assert sorted(hit.index for hit in ranking) == [0, 1, 2, 3]
    assert all(a.logit >= b.logit for a, b in pairwise(ranking))
    for hit in ranking:
        assert hit.logit == scores[hit.index]
        assert hit.document is DOCUMENTS[hit.index]
        assert hit.receipt.span == (0, len(hit.text))
        assert not hit.receipt.truncated
    assert {hit.text for hit in ranking if hit.index == 1} == {"Tides the moon and the sun pull on the ocean"}
    assert (ranking.query, ranking.n_documents, len(ranking)) == (QUERY, 4, 4)


def test_logits_are_the_twins(reranker: Reranker) -> None:
    ids = reranker._tokenizer.encode([QUERY, "the tide rises"])
    pair = (0, *ids[0].ids, 2, 2, *ids[1].ids, 2)
    assert reranker.score(QUERY, ["the tide rises"])[0] == np.float32(ENGINE.logit(pair))


def test_top_n_keeps_the_best_and_counts_all(reranker: Reranker) -> None:
    everything = reranker.rank(QUERY, DOCUMENTS)
    for n in (1, 2, 4, 99):
        top = reranker.rank(QUERY, DOCUMENTS, top_n=n)
        assert top.hits == everything.hits[:n]
        assert top.n_documents == 4


def test_numpy_integers_are_whole_numbers(reranker: Reranker) -> None:
    assert len(reranker.rank(QUERY, DOCUMENTS, top_n=np.int64(2))) == 2  # type: ignore[arg-type]  # not declared


@pytest.mark.parametrize("top_n", [0, -1, True, "3", 2.0])
def test_another_top_n_is_refused(reranker: Reranker, top_n: Any) -> None:
    with pytest.raises(InputError, match=f"top_n is {top_n!r}; give a whole number from 1"):
        reranker.rank(QUERY, DOCUMENTS, top_n)


def test_no_documents_are_an_empty_ranking(reranker: Reranker) -> None:
    assert len(reranker.rank(QUERY, [])) == 0
    for scores in (reranker.score(QUERY, iter(())), reranker.score_pairs([])):
        assert scores.shape == (0,)
        assert scores.dtype == np.float32


def test_empty_odd_and_repeated_documents_have_scores(reranker: Reranker) -> None:
    odd: list[Document] = [
        "",
        " ",
        "\x00",
        "\U0001f600",
        "\ud800",
        "\ud83d\ude00",
        "</s>",
        "tide\r\nmoon",
        "",
        {"text": ""},
    ]
    scores = reranker.score(QUERY, odd)
    assert np.isfinite(scores).all()
    assert scores[0] == scores[1] == scores[8] == scores[9]
    assert np.isfinite(reranker.score("", odd)).all()
    assert np.isfinite(reranker.score("\ud800", ["\ud800"])).all()


def test_equal_logits_keep_the_callers_order(tiny_folder: Path) -> None:
    ranking = Reranker(tiny_folder, engine=ConstantEngine(0.5)).rank(QUERY, ["c", "a", "b"] * 50)
    assert [hit.index for hit in ranking] == list(range(150))


def test_duplicates_stand_together_in_the_callers_order(reranker: Reranker) -> None:
    ranking = reranker.rank(QUERY, ["tide", "moon", "tide", "moon", "tide"])
    order = [hit.index for hit in ranking]
    assert order in ([0, 2, 4, 1, 3], [1, 3, 0, 2, 4])


@pytest.mark.parametrize("logit", [float("nan"), float("inf"), float("-inf")])
def test_a_logit_that_is_no_number_is_an_error_not_a_rank(tiny_folder: Path, logit: float) -> None:
    with pytest.raises(EngineError, match=f"constant gave document 0 the logit {logit}"):
        Reranker(tiny_folder, engine=ConstantEngine(logit)).rank(QUERY, ["a"])


@property_test
@given(st.lists(TEXTS, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_permuting_documents_permutes_scores(reranker: Reranker, texts: list[str], random: Any) -> None:
    order = random.sample(range(len(texts)), len(texts))
    straight = reranker.score(QUERY, texts)
    assert reranker.score(QUERY, [texts[i] for i in order]).tolist() == straight[order].tolist()


@property_test
@given(
    st.lists(TEXTS, min_size=1, max_size=9),
    st.integers(1, 9),
    st.sampled_from(["truncate", "window"]),
    st.integers(30, 60),
)
def test_neighbours_and_chunks_change_nothing(
    tiny_folder: Path, texts: list[str], chunk: int, policy: Any, max_length: int
) -> None:
    chunked = Reranker(
        tiny_folder, engine=ENGINE, chunk_documents=chunk, policy=policy, max_length=max_length
    )
    together = chunked.rank(QUERY, texts)
    for hit in together:
        (alone,) = chunked.rank(QUERY, [texts[hit.index]])
        assert (alone.logit, alone.receipt) == (hit.logit, hit.receipt)


def test_a_window_policy_gives_the_best_window_and_its_span(tiny_folder: Path) -> None:
    text = " ".join(["bread dough rises because yeast makes gas"] * 5 + ["the moon pulls the sea"])
    reranker = Reranker(tiny_folder, engine=ENGINE, max_length=24, policy="window", overlap_tokens=4)
    (hit,) = reranker.rank("tide", [text])
    assert hit.receipt.windows > 2
    assert hit.receipt.tokens_read == hit.receipt.tokens_total
    start, end = hit.receipt.span
    (alone,) = reranker.rank("tide", [text[start:end]])
    assert alone.receipt.windows == 1
    assert alone.logit == hit.logit


def test_windows_are_as_long_as_the_model_says_unless_somebody_asks(make_model: Callable[..., Path]) -> None:
    text = " ".join(["bread dough rises because yeast makes gas"] * 5)
    own = make_model(replace(TINY, query_window=6, document_window=24))
    reranker = Reranker(own, engine=ENGINE)
    assert (reranker.limit(), reranker.limit("window")) == (TINY.max_length, 24)
    (windows,) = reranker.rank("tide", [text], policy="window")
    (asked,) = Reranker(own, engine=ENGINE, max_length=24, policy="window").rank("tide", [text])
    assert windows.receipt.windows > 2
    assert (windows.logit, windows.receipt) == (asked.logit, asked.receipt)
    long_queries = Reranker(own, engine=ENGINE, query_window=0, policy="window")  # they might not fit
    for (whole,) in (
        reranker.rank("tide", [text]),  # truncated at the model's own limit
        reranker.rank("tide", [text], policy="window", max_length=100),
        Reranker(own, engine=ENGINE, max_length=100, policy="window").rank("tide", [text]),
        long_queries.rank("tide", [text]),
    ):
        assert whole.receipt.windows == 1


def test_a_number_of_windows_cuts_no_more_than_the_models_own_limit_makes_it(
    make_model: Callable[..., Path],
) -> None:
    text = " ".join(["bread dough rises because yeast makes gas"] * 5)
    reranker = Reranker(make_model(replace(TINY, query_window=6, document_window=24)), engine=ENGINE)
    (pair,) = reranker.encoder(policy="window", max_windows=2).encode([("tide", text)])
    assert pair.receipt().tokens_read == pair.receipt().tokens_total


def test_a_long_query_counts_the_mean_of_its_parts(
    tiny_folder: Path, make_model: Callable[..., Path]
) -> None:
    parts, query = ["the moon", "tide sea", "bread sea"], "the moon tide sea bread sea"
    whole = Reranker(tiny_folder, engine=ENGINE)
    tokens = [len(encoding) for encoding in whole._tokenizer.encode([*parts, query])]
    assert tokens == [tokens[0]] * 3 + [3 * tokens[0]]
    mean = np.mean([whole.score(part, DOCUMENTS) for part in parts], axis=0)
    reader = Reranker(tiny_folder, engine=ENGINE, query_window=tokens[0])
    np.testing.assert_allclose(reader.score(query, DOCUMENTS), mean, rtol=1e-5, atol=1e-6)
    assert reader.rank(query, DOCUMENTS).hits[0].logit == reader.score(query, DOCUMENTS).max()
    np.testing.assert_array_equal(reader.score(parts[0], DOCUMENTS), whole.score(parts[0], DOCUMENTS))
    own = make_model(replace(TINY, query_window=tokens[0]))  # what the folder says holds, if nobody asks
    assert (
        Reranker(own, engine=ENGINE).score(query, DOCUMENTS).tolist()
        == reader.score(query, DOCUMENTS).tolist()
    )
    asked = Reranker(own, engine=ENGINE, query_window=0)
    assert asked.score(query, DOCUMENTS).tolist() == whole.score(query, DOCUMENTS).tolist()


def test_chunks_are_as_large_as_asked(tiny_folder: Path) -> None:
    engine = TwinEngine()
    Reranker(tiny_folder, engine=engine, chunk_documents=3).score(QUERY, ["a"] * 8)
    assert engine.sizes == [3, 3, 2]


class Recording(ConstantEngine):
    """Writes down how many inputs and tokens each call brings."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.calls: list[tuple[int, int]] = []

    def score(self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32]) -> NDArray[np.float32]:
        self.calls.append((len(cu_seqlens) - 1, len(ids)))
        return super().score(ids, cu_seqlens)


def test_a_chunk_of_long_texts_ends_after_a_million_characters(tiny_folder: Path) -> None:
    engine = Recording()
    Reranker(tiny_folder, engine=engine).score("", [" " * 400_000] * 5)
    assert engine.calls == [(3, 12), (2, 8)]


def test_the_engine_never_gets_more_than_65536_tokens_at_a_time(tiny_folder: Path) -> None:
    engine = Recording()
    Reranker(tiny_folder, engine=engine).score("", ["the " * 8188] * 10)
    assert engine.calls == [(8, 8 * 8192), (2, 2 * 8192)]


def test_a_logit_that_is_no_number_names_its_document_across_chunks(tiny_folder: Path) -> None:
    class LateNan(Recording):
        def score(self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32]) -> NDArray[np.float32]:
            logits = super().score(ids, cu_seqlens)
            logits[-1] = np.nan if len(self.calls) == 3 else 0.0
            return logits

    with pytest.raises(EngineError, match="gave document 5 the logit nan"):
        Reranker(tiny_folder, engine=LateNan(), chunk_documents=2).rank(QUERY, ["a"] * 8)


def test_policies_and_lengths_can_be_set_for_one_request(reranker: Reranker) -> None:
    text = "the tide rises " * 30
    (cut,) = reranker.rank("moon", [text], max_length=30)
    assert cut.receipt.truncated
    (whole,) = reranker.rank("moon", [text], max_length=30, policy="window")
    assert not whole.receipt.truncated
    assert whole.receipt.windows > 1
    assert reranker.score("moon", [text], max_length=30)[0] == np.float32(cut.logit)
    assert reranker.score_pairs([("moon", text)], max_length=30, policy="window")[0] == np.float32(
        whole.logit
    )
    with pytest.raises(TooLongError) as caught:
        reranker.rank("moon", ["short", text], max_length=30, policy="refuse")
    assert caught.value.index == 1


def test_the_index_in_an_error_counts_across_chunks(tiny_folder: Path) -> None:
    reranker = Reranker(tiny_folder, engine=ENGINE, chunk_documents=2, max_length=30, policy="refuse")
    with pytest.raises(TooLongError) as caught:
        reranker.rank("moon", ["a"] * 5 + ["the tide rises " * 30])
    assert caught.value.index == 5


def test_a_query_too_long_is_an_error_even_without_documents(reranker: Reranker) -> None:
    with pytest.raises(TooLongError, match="the query has"):
        reranker.rank("the moon pulls the sea " * 200, [])


def test_pairs_score_as_their_requests_do(reranker: Reranker) -> None:
    pairs: list[tuple[str, Document]] = [
        ("moon", "tide"),
        ("bread", "dough"),
        ("moon", {"title": "a", "text": "b"}),
    ]
    scores = reranker.score_pairs(iter(pairs))
    assert scores.dtype == np.float32
    assert scores.tolist() == [float(reranker.score(query, [document])[0]) for query, document in pairs]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["ab"], "pair 0 is str"),
        ([("a", "b"), ("a", "b", "c")], "pair 1 is tuple"),
        ([("a", 3)], "document 0 is of type int"),
        ([(3, "a")], "the query of pair 0 is of type int"),
        ("ab", "is of type str"),
        ([{"a": 1, "b": 2}], "pair 0 is dict"),
    ],
)
def test_other_pairs_are_refused_by_their_index(reranker: Reranker, pairs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        reranker.score_pairs(pairs)


@pytest.mark.parametrize("documents", ["one string", b"bytes", {"text": "one mapping"}, None, 3])
def test_one_document_in_place_of_a_list_is_refused(reranker: Reranker, documents: Any) -> None:
    for method in (reranker.rank, reranker.score):
        with pytest.raises(InputError, match=r"give a list or another iterable"):
            method(QUERY, documents)


@pytest.mark.parametrize("query", [None, 3, b"q", ["q"]])
def test_another_query_is_refused(reranker: Reranker, query: Any) -> None:
    for method in (reranker.rank, reranker.score):
        with pytest.raises(InputError, match="query is of type"):
            method(query, DOCUMENTS)


def test_a_bad_document_is_named_before_anything_is_scored(tiny_folder: Path) -> None:
    engine = TwinEngine()
    with pytest.raises(InputError, match="document 4 is of type NoneType"):
        Reranker(tiny_folder, engine=engine, chunk_documents=1).rank(QUERY, [*DOCUMENTS, None])  # type: ignore[list-item]  # on purpose
    assert engine.sizes == []


def test_iterables_are_read_in_the_callers_thread(reranker: Reranker) -> None:
    readers = set()

    def documents() -> Iterator[str]:
        for i in range(600):
            readers.add(threading.get_ident())
            yield f"tide {i % 3}"

    assert reranker.score(QUERY, documents()).shape == (600,)
    assert readers == {threading.get_ident()}


def test_an_iterable_is_not_read_far_ahead_of_the_engine(tiny_folder: Path) -> None:
    read = scored = 0
    furthest = 0

    class Watching(ConstantEngine):
        def score(self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32]) -> NDArray[np.float32]:
            nonlocal scored, furthest
            furthest = max(furthest, read - scored)
            scored += len(cu_seqlens) - 1
            return super().score(ids, cu_seqlens)

    def documents() -> Iterator[str]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield "tide"

    Reranker(tiny_folder, engine=Watching(0.0), chunk_documents=50).score(QUERY, documents())
    assert (read, scored) == (1000, 1000)
    assert furthest == 100


def test_a_hundred_thousand_documents_are_ranked(tiny_folder: Path) -> None:
    reranker = Reranker(tiny_folder, engine=ConstantEngine(1.0))
    ranking = reranker.rank("tide", (f"sea {i}" for i in range(100_000)), top_n=2)
    assert [hit.text for hit in ranking] == ["sea 0", "sea 1"]
    assert ranking.n_documents == 100_000


def test_many_threads_get_their_own_answers(tiny_folder: Path) -> None:
    reranker = Reranker(tiny_folder, engine=SumEngine(), chunk_documents=5)
    requests = [(f"query {i}", [f"document {i} {j} moon" for j in range(i)]) for i in range(24)]
    alone = [reranker.score(*request).tolist() for request in requests]
    with ThreadPoolExecutor(8) as pool:
        assert [
            scores.tolist() for scores in pool.map(lambda r: reranker.score(*r), requests * 3)
        ] == alone * 3


def test_timings_are_filled(reranker: Reranker) -> None:
    timings = reranker.rank("moon", ["tide", "sea"]).timings
    lengths = [len(encoding) for encoding in reranker._tokenizer.encode(["moon", "tide", "moon", "sea"])]
    assert timings.tokens == sum(lengths) + 2 * 4
    assert timings.tokenize_ms > 0
    assert timings.score_ms > 0


def test_the_onnx_engine_gives_the_twins_logits_whatever_the_chunks(tiny_folder: Path) -> None:
    documents = [*DOCUMENTS, *("tide " * n for n in range(20)), "moon " * 400]
    expected = Reranker(tiny_folder, engine=ENGINE).score(QUERY, documents)
    with Reranker(tiny_folder, engine="onnx", threads=1) as reranker:
        together = reranker.score(QUERY, documents)
        alone = np.concatenate([reranker.score(QUERY, [document]) for document in documents])
    np.testing.assert_allclose(together, expected, atol=1e-4)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_onnx_engine_serves_many_threads(tiny_folder: Path) -> None:
    requests: list[tuple[str, list[Document]]] = [(f"moon {i}", DOCUMENTS * (i + 1)) for i in range(6)]
    with Reranker(tiny_folder, engine="onnx", threads=1, chunk_documents=4) as reranker:
        alone = [reranker.score(*request) for request in requests]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda request: reranker.score(*request), requests))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
