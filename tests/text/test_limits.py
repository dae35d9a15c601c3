"""Limits on what is read that a request may set: tokens of documents and queries, windows, which end goes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import tiny_tokenizer
from tinyrerank.errors import InputError, TooLongError
from tinyrerank.text.pairs import PairEncoder
from tinyrerank.text.tokenizer import TextTokenizer, ids_of

TINY = TextTokenizer(tiny_tokenizer())
WORDS = st.lists(st.sampled_from(["tide", "the moon", "sea", "bread?", "\U0001f600", "e\u0301"]), max_size=40)
QUERY = "a tide"


def encoder(**limits: Any) -> PairEncoder:
    return PairEncoder(TINY, max_length=24, **limits)


@settings(deadline=None)
@given(WORDS.map(" ".join), st.integers(1, 40), st.sampled_from(["left", "right"]))
def test_only_so_many_tokens_of_one_end_are_read_and_the_receipt_says_which(
    text: str, cap: int, side: Any
) -> None:
    pair = encoder(max_document_tokens=cap, side=side).encode([(QUERY, text)])[0]
    ids = ids_of(TINY.encode([text])[0]).tolist()
    read = min(len(ids), cap, pair.head.room)
    assert pair.tokens_read == read
    assert pair.tokens_total == len(ids)
    assert pair.pieces[0].tolist() == (ids[len(ids) - read :] if side == "left" else ids[:read])
    start, end = pair.spans[0]
    if read == len(ids):
        assert (start, end) == (0, len(text))
    else:
        assert (end == len(text)) if side == "left" else (start == 0)


@settings(deadline=None)
@given(WORDS.map(" ".join), st.integers(1, 4), st.integers(1, 60), st.sampled_from(["left", "right"]))
def test_at_most_so_many_windows_are_made_of_what_may_be_read(
    text: str, most: int, cap: int, side: Any
) -> None:
    limits: dict[str, Any] = {"policy": "window", "overlap_tokens": 3, "side": side}
    pair = encoder(max_windows=most, max_document_tokens=cap, **limits).encode([(QUERY, text)])[0]
    ids = ids_of(TINY.encode([text])[0]).tolist()
    assert 1 <= len(pair.pieces) <= most
    assert pair.tokens_read <= min(cap, len(ids))
    if len(pair.pieces) < most:
        assert pair.tokens_read == min(cap, len(ids))
    read = ids[len(ids) - pair.tokens_read :] if side == "left" else ids[: pair.tokens_read]
    assert set(read) == {token for piece in pair.pieces for token in piece.tolist()}


def test_a_document_that_was_cut_on_demand_is_not_too_long() -> None:
    long = "the moon " * 30
    strict = encoder(policy="refuse", max_document_tokens=5)
    assert strict.encode([(QUERY, long)])[0].tokens_read == 5
    with pytest.raises(TooLongError):
        encoder(policy="refuse", max_document_tokens=50).encode([(QUERY, long)])


def test_a_query_is_cut_only_where_the_caller_says_so_and_counted() -> None:
    query = "the moon " * 30
    with pytest.raises(TooLongError):
        encoder().head(query)
    head = encoder(max_query_tokens=4).head(query)
    assert head.parts[0].tolist() == [0, *TINY.encode([query])[0].ids[:4], 2, 2]
    assert head.cut == len(TINY.encode([query])[0]) - 4
    assert encoder(max_query_tokens=100).head(QUERY).cut == 0


@settings(deadline=None)
@given(WORDS.map(" ".join), st.integers(1, 12))
def test_a_long_query_is_read_in_even_parts_that_lose_nothing(query: str, window: int) -> None:
    ids = TINY.encode([query])[0].ids
    reader = PairEncoder(TINY, max_length=200, query_window=window)
    pair = reader.encode([(query, "the sea")])[0]
    parts = [part[1:-2].tolist() for part in pair.head.parts]
    assert [token for part in parts for token in part] == list(ids)
    assert max(map(len, parts)) <= window
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert len(parts) == max(1, -(-len(ids) // window))
    inputs = [len(pack.ids) for pack in reader.pack([pair], max_tokens=1)]
    assert len(inputs) == len(parts)
    assert reader.costs(pair) == (sum(inputs),)


@settings(deadline=None)
@given(
    WORDS.map(" ".join),
    WORDS.map(lambda words: " ".join(words[:12])),
    st.fixed_dictionaries(
        {"policy": st.sampled_from(["truncate", "window"]), "overlap_tokens": st.integers(0, 20)},
        optional={
            "max_document_tokens": st.integers(1, 60),
            "max_query_tokens": st.integers(1, 12),
            "max_windows": st.integers(1, 4),
            "query_window": st.integers(1, 12),
        },
    ),
)
def test_what_will_be_read_is_foretold_by_the_number_of_tokens(
    text: str, query: str, limits: dict[str, Any]
) -> None:
    reader = PairEncoder(TINY, max_length=80, **limits)
    [pair] = reader.encode([(query, text)])
    n_query, n_text = (len(TINY.encode([part])[0].ids) for part in (query, text))
    assert reader.reads(n_query, n_text) == sum(reader.costs(pair))


def test_a_query_longer_than_a_window_is_read_in_parts_that_fit() -> None:
    query, text = "the moon " * 30, "the sea " * 30
    [pair] = encoder(policy="window", query_window=8).encode([(query, text)])
    assert len(pair.head.parts) == 8
    assert max(len(pack.ids) for pack in encoder(query_window=8).pack([pair], max_tokens=1)) <= 24
    with pytest.raises(TooLongError, match=r"tokens, read in 3 parts; .* needs 25"):
        encoder(query_window=20).encode([(query, text)])


def test_a_query_without_room_foretells_no_more_than_itself() -> None:
    reader = PairEncoder(TINY, max_length=24, policy="window")
    assert reader.reads(1_000, 1_000_000) == 1_000


def test_parts_of_a_query_leave_more_room_for_the_document() -> None:
    query, text = "the moon " * 4, "the sea " * 30
    whole, parts = (encoder(query_window=window).encode([(query, text)])[0] for window in (0, 4))
    assert parts.tokens_read - whole.tokens_read == len(TINY.encode([query])[0]) - 4


@pytest.mark.parametrize("value", [-1, 1.5, True, "3"])
def test_a_query_window_is_a_whole_number_from_0(value: object) -> None:
    with pytest.raises(InputError, match="query_window"):
        encoder(query_window=value)


@pytest.mark.parametrize("name", ["max_document_tokens", "max_query_tokens", "max_windows"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3"])
def test_a_limit_is_a_whole_number_from_1(name: str, value: object) -> None:
    with pytest.raises(InputError, match=name):
        encoder(**{name: value})


def test_a_side_is_left_or_right() -> None:
    with pytest.raises(InputError, match="side"):
        encoder(side="middle")
