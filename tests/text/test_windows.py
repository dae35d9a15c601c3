"""Windows cover every token; spans are slices of the text."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from conftest import tiny_tokenizer
from tinyrerank.text.windows import char_span, windows

_TOKENIZER = tiny_tokenizer()


@given(st.integers(0, 300), st.integers(1, 60), st.integers(0, 80))
def test_windows_cover_every_token_and_fit(n_tokens: int, room: int, overlap: int) -> None:
    ranges = windows(n_tokens, room, overlap)
    covered = {i for start, end in ranges for i in range(start, end)}
    assert covered == set(range(n_tokens))
    assert all(end - start == min(room, n_tokens) for start, end in ranges)
    assert ranges == sorted(set(ranges))


@given(st.integers(0, 300), st.integers(1, 60), st.integers(0, 80))
def test_neighbours_share_the_overlap_and_the_last_two_at_least_that(
    n_tokens: int, room: int, overlap: int
) -> None:
    ranges = windows(n_tokens, room, overlap)
    shared = [a_end - b_start for (_, a_end), (b_start, _) in pairwise(ranges)]
    wanted = min(overlap, room // 2)
    assert all(n == wanted for n in shared[:-1])
    assert all(n >= wanted for n in shared[-1:])


def test_no_window_more_than_needed() -> None:
    assert windows(8, 4, 0) == [(0, 4), (4, 8)]
    assert windows(7, 4, 1) == [(0, 4), (3, 7)]
    assert windows(4, 4, 3) == [(0, 4)]
    assert windows(0, 4, 3) == [(0, 0)]


TEXTS = st.lists(
    st.sampled_from(
        ["tide", " ", "  ", "e\u0301", "q\u0303", "\u0130", "\U0001f600", "\n", "moon.", "\x00", "</s>", "x"]
    ),
    min_size=1,
    max_size=30,
).map("".join)


@given(TEXTS, st.data())
def test_spans_of_consecutive_pieces_leave_out_nothing_but_space(text: str, data: st.DataObject) -> None:
    encoding = _TOKENIZER.encode(text, add_special_tokens=False)
    if not len(encoding):
        return
    cut = data.draw(st.integers(1, len(encoding)))
    spans = [char_span(text, encoding, 0, cut)]
    if cut < len(encoding):
        spans.append(char_span(text, encoding, cut, len(encoding)))
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    if len(spans) == 2:
        assert text[spans[0][1] : spans[1][0]].strip(" \n") == ""


def test_a_span_ends_with_its_last_token() -> None:
    text = "a  b \u00e9 c  "
    encoding = _TOKENIZER.encode(text, add_special_tokens=False)
    assert len(encoding) == 4
    assert char_span(text, encoding, 0, 2) == (0, 4)
    assert char_span(text, encoding, 1, 3) == (3, 6)
    assert char_span(text, encoding, 2, 4) == (5, 10)


def test_a_mark_merged_into_its_letter_stays_with_it() -> None:
    text = "cafe\u0301 now"
    encoding = _TOKENIZER.encode(text, add_special_tokens=False)
    end = next(i for i, (start, _) in enumerate(encoding.offsets) if start == 6)
    start, stop = char_span(text, encoding, 0, end)
    assert text[start:stop] == "cafe\u0301"
