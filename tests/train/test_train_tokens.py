"""Batches of pairs equal what plain Python would build from the same lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import flat

from conftest import TEXT, tiny_tokenizer

torch = pytest.importorskip("torch", reason="training needs the train extra")

from tinyrerank.train.tokens import DeviceText, PairBuilder, Template, by_length, encode, join, punctuation  # noqa: E402

CPU = torch.device("cpu")
TEMPLATES = [Template(), Template(101, (102,), 103, 0), Template(5, (), 6, 7)]
texts = st.lists(st.lists(st.integers(10, 99), max_size=12), min_size=1, max_size=6)


def plain(
    template: Template, rows: list[tuple[list[int], list[int]]]
) -> tuple[list[list[int]], list[list[bool]]]:
    """Padded ids and mask, pair by pair."""
    pairs = [[template.start, *a, *template.middle, *b, template.end] for a, b in rows]
    longest = max(map(len, pairs))
    width = longest + (-longest) % 8
    ids = [pair + [template.pad] * (width - len(pair)) for pair in pairs]
    return ids, [[n < len(pair) for n in range(width)] for pair in pairs]


@given(first=texts, second=texts, template=st.sampled_from(TEMPLATES), data=st.data())
@settings(max_examples=60, deadline=None)
def test_joined_slices_equal_a_plain_build(
    first: list[list[int]], second: list[list[int]], template: Template, data: st.DataObject
) -> None:
    rows, slices = [], []
    for side in (first, second):
        stream = [i for text in side for i in text]
        bounds = st.tuples(st.integers(0, len(stream)), st.integers(0, len(stream))).map(sorted)
        cuts = data.draw(st.lists(bounds, min_size=3, max_size=3))
        start, stop = torch.tensor([c[0] for c in cuts]), torch.tensor([c[1] for c in cuts])
        slices.append((torch.tensor(stream, dtype=torch.int32), start, stop - start))
        rows.append([stream[a:b] for a, b in cuts])
    ids, mask = join(template, slices[0], slices[1])
    assert (ids.tolist(), mask.tolist()) == plain(template, list(zip(*rows, strict=True)))


@given(
    queries=texts,
    passages=texts,
    template=st.sampled_from(TEMPLATES),
    max_length=st.integers(8, 30),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_only_the_document_is_cut(
    queries: list[list[int]],
    passages: list[list[int]],
    template: Template,
    max_length: int,
    data: st.DataObject,
) -> None:
    builder = PairBuilder(
        DeviceText(flat(queries), CPU), DeviceText(flat(passages), CPU), template, max_length
    )
    pair = st.tuples(st.integers(0, len(queries) - 1), st.integers(0, len(passages) - 1))
    chosen = data.draw(st.lists(pair, min_size=1, max_size=6))
    rows = []
    for q, p in chosen:
        query = queries[q][: max_length // 2]  # whole, unless it alone takes more than half
        rows.append((query, passages[p][: max_length - template.n_specials - len(query)]))
    numbers = torch.tensor([q for q, _ in chosen]), torch.tensor([p for _, p in chosen])
    ids, mask = builder.build(*numbers)
    assert (ids.tolist(), mask.tolist()) == plain(template, rows)
    assert int(mask.sum(1).max()) <= max_length
    n_query, n_passage = builder.lengths(*numbers)
    assert list(zip(n_query.tolist(), n_passage.tolist(), strict=True)) == [(len(a), len(b)) for a, b in rows]


@given(lengths=st.lists(st.integers(0, 40), max_size=30), budget=st.integers(1, 100))
@settings(max_examples=60, deadline=None)
def test_batches_by_length_cover_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    parts = [part.tolist() for part in by_length(torch.tensor(lengths, dtype=torch.int64), budget)]
    assert sorted(row for part in parts for row in part) == list(range(len(lengths)))
    for part in parts:
        assert len(part) == 1 or len(part) * max(lengths[row] for row in part) <= max(budget, len(part))


def test_batches_by_length_are_as_full_as_the_budget_lets_them_be() -> None:
    parts = [part.tolist() for part in by_length(torch.tensor([5, 9, 2, 2, 10]), 20)]
    assert [sorted(part) for part in parts] == [[1, 4], [0, 2, 3]]


def test_encoded_texts_are_the_tokenizers_ids_without_specials() -> None:
    tokenizer = tiny_tokenizer()
    given_texts = [*TEXT, "", "tides"]
    encoded = encode(tokenizer, given_texts, batch=2)
    assert encoded.lengths.tolist() == [
        len(tokenizer.encode(t, add_special_tokens=False).ids) for t in given_texts
    ]
    for n, text in enumerate(given_texts):
        got = encoded.ids[encoded.offsets[n] : encoded.offsets[n + 1]].tolist()
        assert got == tokenizer.encode(text, add_special_tokens=False).ids
    assert encode(tokenizer, []).lengths.tolist() == []


@given(first=texts, second=texts, gone=st.sets(st.integers(10, 99), max_size=60))
@settings(max_examples=40, deadline=None)
def test_bare_texts_lack_the_dropped_tokens_and_nothing_else(
    first: list[list[int]], second: list[list[int]], gone: set[int]
) -> None:
    dropped = np.isin(np.arange(100), list(gone))
    one, other = DeviceText(flat(first), CPU), DeviceText(flat(second), CPU)
    bare = PairBuilder(one, other, Template(), 64).bare(dropped)
    for side, text in ((first, bare.queries), (second, bare.passages)):
        got = [text.ids[s : s + n].tolist() for s, n in zip(text.starts, text.lengths, strict=True)]
        assert got == [[i for i in row if i not in gone] for row in side]


def test_punctuation_is_what_has_no_letter_and_no_digit() -> None:
    tokenizer = tiny_tokenizer()
    found = punctuation(tokenizer)
    assert found[tokenizer.encode("?", add_special_tokens=False).ids].all()
    assert not found[tokenizer.encode("tide 7 é", add_special_tokens=False).ids].any()
