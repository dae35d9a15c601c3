"""Pairs, policies and receipts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Encoding

from conftest import tiny_tokenizer
from tinyrerank.errors import InputError, TooLongError
from tinyrerank.text.pairs import EncodedPair, PairEncoder, best_pieces, document_text, mean_of_parts
from tinyrerank.text.plain import Tokens
from tinyrerank.text.tokenizer import TextTokenizer
from tinyrerank.text.windows import windows
from tinyrerank.types import Policy

TINY = TextTokenizer(tiny_tokenizer())
WORDS = st.sampled_from(
    ["tide", "the moon", "sea", "bread?", "\n", "\U0001f600", "e\u0301", "\ud800", "\x00", "</s>", ""]
)
TEXTS = st.lists(WORDS, max_size=40).map(" ".join)
QUERIES = st.lists(WORDS, max_size=3).map(" ".join)


class Counting(TextTokenizer):
    """Writes down every text that it is asked for."""

    def __init__(self) -> None:
        super().__init__(tiny_tokenizer())
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> list[Encoding | Tokens]:
        self.asked += texts
        return super().encode(texts)


def n_tokens(text: str) -> int:
    return len(TINY.encode([text])[0])


def sequences(
    encoder: PairEncoder, pairs: Sequence[EncodedPair], max_tokens: int = 10_000
) -> list[list[int]]:
    found = []
    for pack in encoder.pack(pairs, max_tokens=max_tokens):
        assert pack.ids.dtype == np.int32
        assert pack.cu_seqlens.dtype == np.int32
        assert pack.cu_seqlens[0] == 0
        assert pack.cu_seqlens[-1] == len(pack.ids)
        found += [part.tolist() for part in np.split(pack.ids, pack.cu_seqlens[1:-1])]
    return found


@given(QUERIES, TEXTS, st.integers(1, 60), st.sampled_from(get_args(Policy)), st.integers(0, 30))
def test_every_input_is_the_query_and_a_stretch_of_the_document(
    query: str, text: str, room: int, policy: Policy, overlap: int
) -> None:
    max_length = n_tokens(query) + 4 + room
    encoder = PairEncoder(TINY, max_length=max_length, policy=policy, overlap_tokens=overlap)
    document = TINY.encode([text])[0].ids
    head = [0, *TINY.encode([query])[0].ids, 2, 2]
    if policy == "refuse" and len(document) > room:
        with pytest.raises(TooLongError) as caught:
            encoder.encode([(query, text)], 7)
        assert (caught.value.index, caught.value.tokens) == (7, len(head) + len(document) + 1)
        assert caught.value.limit == max_length
        return
    (pair,) = encoder.encode([(query, text)])
    inputs = sequences(encoder, [pair])
    pieces = [ids[len(head) : -1] for ids in inputs]
    assert inputs == [[*head, *piece, 2] for piece in pieces]
    assert max(map(len, inputs)) <= max_length

    receipt = pair.receipt()
    assert receipt.windows == len(pieces)
    assert receipt.tokens_total == len(document)
    if policy == "window":
        assert receipt.tokens_read == len(document)
        assert pieces[0] == document[: len(pieces[0])]
        assert pieces[-1] == document[len(document) - len(pieces[-1]) :]
    else:
        assert pieces == [document[:room]]
        assert receipt.tokens_read == min(room, len(document))
    assert receipt.truncated == (policy == "truncate" and len(document) > room)


@given(TEXTS, st.integers(1, 20), st.integers(0, 30))
def test_window_spans_hold_their_tokens_and_cover_the_text(text: str, room: int, overlap: int) -> None:
    encoder = PairEncoder(TINY, max_length=4 + room, policy="window", overlap_tokens=overlap)
    (pair,) = encoder.encode([("", text)])
    assert pair.spans[0][0] == 0
    assert pair.spans[-1][1] == len(text)
    (encoding,) = TINY.encode([text])
    ranges = windows(len(encoding), room, overlap)
    for (first, last), (start, end) in zip(ranges, pair.spans, strict=True):
        assert all(start <= a <= b <= end for a, b in encoding.offsets[first:last])
    for (_, end), (start, _) in zip(pair.spans, pair.spans[1:], strict=False):
        assert start <= end or text[end:start].strip() == ""


def test_the_winning_span_is_the_passage() -> None:
    text = "bread dough rises. " * 20 + "the tide rises" + " bread dough rises." * 20
    encoder = PairEncoder(TINY, max_length=40, policy="window", overlap_tokens=10)
    (pair,) = encoder.encode([("moon", text)])
    for piece, (start, end) in zip(pair.pieces, pair.spans, strict=True):
        assert TINY.encode([text[start:end]])[0].ids == piece.tolist()
    assert any("tide" in text[slice(*span)] for span in pair.spans)


def test_a_cut_document_has_the_span_that_was_read() -> None:
    text = "tide moon sea " * 50
    encoder = PairEncoder(TINY, max_length=30)
    (pair,) = encoder.encode([("sun", text)])
    start, end = pair.receipt().span
    assert start == 0
    assert TINY.encode([text[:end]])[0].ids == pair.pieces[0].tolist()


def test_a_pair_of_exactly_max_length_is_not_cut() -> None:
    length = n_tokens("tide") + n_tokens("the moon pulls") + 4
    (pair,) = PairEncoder(TINY, max_length=length, policy="refuse").encode([("tide", "the moon pulls")])
    assert pair.tokens_read == pair.tokens_total
    with pytest.raises(TooLongError, match=f"{length} tokens, but max_length is {length - 1}"):
        PairEncoder(TINY, max_length=length - 1, policy="refuse").encode([("tide", "the moon pulls")])


@pytest.mark.parametrize("policy", get_args(Policy))
def test_a_query_must_leave_room_for_one_token_under_every_policy(policy: Policy) -> None:
    query = "how do tides work?"
    encoder = PairEncoder(TINY, max_length=n_tokens(query) + 5, policy=policy)
    assert encoder.head(query).room == 1
    encoder = PairEncoder(TINY, max_length=n_tokens(query) + 4, policy=policy)
    with pytest.raises(TooLongError, match="shorten the query or raise max_length") as caught:
        encoder.encode([(query, "")])
    assert (caught.value.index, caught.value.tokens, caught.value.limit) == (
        None,
        n_tokens(query) + 5,
        n_tokens(query) + 4,
    )


@given(st.lists(st.tuples(QUERIES, TEXTS), max_size=8), st.integers(1, 200))
@settings(deadline=None)
def test_packs_hold_every_piece_in_order_within_the_budget(pairs: list[tuple[str, str]], budget: int) -> None:
    encoder = PairEncoder(TINY, max_length=60, policy="window")
    encoded = encoder.encode(pairs)
    assert sequences(encoder, encoded, budget) == sequences(encoder, encoded)
    assert len(sequences(encoder, encoded)) == sum(len(pair.pieces) for pair in encoded)
    for pack in encoder.pack(encoded, max_tokens=budget):
        assert len(pack.ids) <= budget or len(pack.cu_seqlens) == 2


def test_a_query_is_encoded_once_a_request() -> None:
    tokenizer = Counting()
    encoder = PairEncoder(tokenizer, max_length=100)
    encoder.head("tide")
    encoder.encode([("tide", "a"), ("moon", "b"), ("tide", "c")])
    encoder.encode([("moon", "d"), ("tide", "e")])
    assert sorted(tokenizer.asked) == ["a", "b", "c", "d", "e", "moon", "tide"]


def test_very_many_queries_are_forgotten_but_never_the_chunks_own() -> None:
    encoder = PairEncoder(TINY, max_length=100)
    for start in range(0, 12_000, 3_000):
        pairs = [(f"q {i}", "") for i in range(start, start + 3_000)] + [("tide", "")]
        assert sequences(encoder, encoder.encode(pairs)[-1:]) == [[0, *TINY.encode(["tide"])[0].ids, 2, 2, 2]]
    assert len(encoder._heads) <= 6_001


@given(st.lists(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=4), max_size=6))
def test_a_pair_gets_the_logit_of_its_best_piece(logits: list[list[float]]) -> None:
    (pair,) = PairEncoder(TINY, max_length=100).encode([("", "")])
    pairs = [EncodedPair(pair.head, pair.pieces * len(own), pair.spans, 0, 0) for own in logits]
    flat = np.array([logit for own in logits for logit in own], dtype=np.float32)
    best, winners = best_pieces(pairs, flat)
    assert best.tolist() == [max(own) for own in logits]
    assert winners == [own.index(max(own)) for own in logits]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60)), min_size=1, max_size=6))
def test_every_piece_gets_the_mean_over_the_parts_of_its_query(sizes: list[tuple[int, int]]) -> None:
    encoder = PairEncoder(TINY, max_length=16, policy="window", overlap_tokens=2, query_window=5)
    pairs = encoder.encode([("tide " * min(q, 8), "sea " * d) for q, d in sizes])
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    expected, at = [], 0
    for pair in pairs:
        for _ in pair.pieces:
            expected.append(values[at : at + len(pair.head.parts)].mean(dtype=np.float64))
            at += len(pair.head.parts)
    assert len(sequences(encoder, pairs)) == at
    np.testing.assert_allclose(mean_of_parts(pairs, values[:at]), expected, rtol=1e-5, atol=1e-6)


def test_nan_in_any_part_of_a_query_stays() -> None:
    pairs = PairEncoder(TINY, max_length=100, query_window=1).encode([("tide tide", "sea")])
    assert np.isnan(mean_of_parts(pairs, np.array([np.nan, 1.0], dtype=np.float32))).all()


def test_nan_in_any_piece_is_not_hidden_by_the_maximum() -> None:
    (pair,) = PairEncoder(TINY, max_length=100).encode([("", "")])
    pairs = [EncodedPair(pair.head, pair.pieces * 2, pair.spans, 0, 0)]
    assert np.isnan(best_pieces(pairs, np.array([1.0, np.nan], dtype=np.float32))[0]).all()


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ({"text": "body"}, "body"),
        ({"text": "body", "title": "Title"}, "Title body"),
        ({"text": "body", "title": ""}, "body"),
        ({"text": "body", "title": None, "_id": 3}, "body"),
        ({"text": "", "title": "Title"}, "Title"),
        ({"text": "", "title": ""}, ""),
    ],
)
def test_the_text_of_a_document(document: object, text: str) -> None:
    assert document_text(document, 0) == text


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "document 5 is of type NoneType"),
        (3, "document 5 is of type int"),
        (b"bytes", "decode bytes first"),
        (["a list"], "document 5 is of type list"),
        ({"title": "no text"}, "document 5 is a mapping that has no 'text'"),
        ({"text": 3}, "document 5 is a mapping that has a 'text' of type int"),
        ({"text": "a", "title": 3}, "document 5 has a 'title' of type int"),
    ],
)
def test_another_document_is_refused_by_its_index(document: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        document_text(document, 5)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_length": 4},
        {"max_length": True},
        {"max_length": 10.0},
        {"policy": "cut"},
        {"policy": None},
        {"overlap_tokens": -1},
        {"overlap_tokens": True},
        {"overlap_tokens": 1.5},
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        PairEncoder(TINY, **{"max_length": 10, **settings})
