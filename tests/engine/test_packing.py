"""Packed input is checked with the sequence named, and groups cover it within their budget."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyrerank.engine.packing import check, gather, group
from tinyrerank.errors import InputError, TooLongError

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


def pack(lengths: list[int], seed: int = 0) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    cu = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return np.random.default_rng(seed).integers(0, 100, cu[-1]).astype(np.int32), cu


@given(LENGTHS, st.integers(1, 200), st.booleans(), st.none() | st.integers(1, 5000))
def test_groups_hold_every_sequence_once_long_ones_first(
    lengths: list[int], max_tokens: int, padded: bool, max_cells: int | None
) -> None:
    groups = group(lengths, max_tokens=max_tokens, padded=padded, max_cells=max_cells)
    order = [int(i) for members in groups for i in members]
    assert order == sorted(range(len(lengths)), key=lambda i: -lengths[i])


@given(LENGTHS, st.integers(1, 200), st.booleans(), st.none() | st.integers(1, 5000))
def test_groups_of_several_stay_within_both_budgets(
    lengths: list[int], max_tokens: int, padded: bool, max_cells: int | None
) -> None:
    for members in group(lengths, max_tokens=max_tokens, padded=padded, max_cells=max_cells):
        sizes = [lengths[int(i)] for i in members]
        costs = [max(sizes)] * len(sizes) if padded else sizes
        assert len(sizes) == 1 or sum(costs) <= max_tokens
        assert len(sizes) == 1 or max_cells is None or sum(c * c for c in costs) <= max_cells


@given(LENGTHS, st.integers(1, 200), st.booleans())
def test_a_group_ends_only_where_the_next_sequence_would_not_fit(
    lengths: list[int], max_tokens: int, padded: bool
) -> None:
    groups = group(lengths, max_tokens=max_tokens, padded=padded)
    for members, following in pairwise(groups):
        sizes = [lengths[int(i)] for i in [*members, following[0]]]
        assert (max(sizes) * len(sizes) if padded else sum(sizes)) > max_tokens


@given(LENGTHS.filter(bool), st.randoms())
def test_gathering_keeps_each_sequence_whole(lengths: list[int], random: np.random.Generator) -> None:
    ids, cu = pack(lengths)
    members = list(range(len(lengths)))
    random.shuffle(members)
    picked, bounds = gather(ids, cu, np.array(members))
    for at, i in enumerate(members):
        assert picked[bounds[at] : bounds[at + 1]].tolist() == ids[cu[i] : cu[i + 1]].tolist()


@given(LENGTHS)
def test_sound_input_gives_its_lengths(lengths: list[int]) -> None:
    assert check(*pack(lengths), vocab_size=100, max_length=60).tolist() == lengths


I32 = np.int32
BAD = {
    "ids of another type": (
        np.zeros(3),
        np.array([0, 3], I32),
        "ids must be a flat int32 array, not float64",
    ),
    "ids in a list": ([1, 2, 3], np.array([0, 3], I32), "ids must be a flat int32 array, not list"),
    "ids in a matrix": (np.zeros((1, 3), I32), np.array([0, 3], I32), r"not int32 \[1, 3\]"),
    "bounds of another type": (np.zeros(3, I32), np.array([0, 3]), "cu_seqlens must be a flat int32 array"),
    "no bounds": (np.zeros(0, I32), np.zeros(0, I32), "must begin with 0"),
    "bounds that start late": (np.zeros(3, I32), np.array([1, 3], I32), "must begin with 0"),
    "an empty sequence": (np.zeros(3, I32), np.array([0, 2, 2, 3], I32), "sequence 1 has 0 tokens"),
    "falling bounds": (np.zeros(3, I32), np.array([0, 3, 2, 3], I32), "sequence 1 has -1 tokens"),
    "ids left over": (np.zeros(4, I32), np.array([0, 3], I32), "ends at 3, but there are 4 ids"),
    "ids missing": (np.zeros(2, I32), np.array([0, 3], I32), "ends at 3, but there are 2 ids"),
    "a negative id": (np.array([0, 1, -1], I32), np.array([0, 2, 3], I32), "sequence 1 holds token id -1"),
    "an id past the end": (np.array([0, 100, 1], I32), np.array([0, 2, 3], I32), "sequence 0 .* id 100"),
}


@pytest.mark.parametrize(("ids", "cu", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_by_name(ids: NDArray[np.int32], cu: NDArray[np.int32], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(ids, cu, vocab_size=100, max_length=60)


def test_a_sequence_that_is_too_long_is_named_with_the_limit() -> None:
    with pytest.raises(TooLongError, match="sequence 2 has 61 tokens; the model reads at most 60") as caught:
        check(*pack([5, 60, 61]), vocab_size=100, max_length=60)
    assert (caught.value.index, caught.value.tokens, caught.value.limit) == (2, 61, 60)
