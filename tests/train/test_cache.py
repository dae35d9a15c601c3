"""The cache gives back what was kept, asks for nothing twice, and survives torn files and other writers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyrerank.train.cache import Cache, digest_rows, digests, identity

WIDTH = 3


def keys_of(numbers: list[int]) -> NDArray[np.void]:
    return digests(str(n).encode() for n in numbers)


def answer_of(numbers: list[int]) -> NDArray[np.float32]:
    return np.array([[n, n + 0.5, -n] for n in numbers], dtype=np.float32).reshape(-1, WIDTH)


class Answerer:
    """Answers a list of numbers, and remembers what it was asked."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers
        self.asked: list[int] = []

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        chosen = [self.numbers[r] for r in rows]
        self.asked += chosen
        return answer_of(chosen)


@given(
    rounds=st.lists(st.lists(st.integers(0, 30), max_size=20), min_size=1, max_size=4),
    chunk=st.integers(1, 7),
)
@settings(max_examples=40, deadline=None)
def test_every_answer_comes_back_and_no_question_is_asked_twice(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[int]], chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    asked: list[int] = []
    for numbers in rounds:
        cache = Cache(folder, "someone", WIDTH, np.float32)  # a new process each time
        answerer = Answerer(numbers)
        np.testing.assert_array_equal(
            cache.fill(keys_of(numbers), answerer, chunk).reshape(-1, WIDTH), answer_of(numbers)
        )
        asked += answerer.asked
    assert sorted(asked) == sorted({n for numbers in rounds for n in numbers})


def test_a_killed_run_keeps_the_chunks_that_were_done(tmp_path: Path) -> None:
    numbers = list(range(10))
    answerer = Answerer(numbers)

    def killed(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if len(answerer.asked) >= 6:
            raise KeyboardInterrupt
        return answerer(rows)

    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path, "x", WIDTH, np.float32).fill(keys_of(numbers), killed, 3)
    again = Answerer(numbers)
    Cache(tmp_path, "x", WIDTH, np.float32).fill(keys_of(numbers), again, 3)
    assert again.asked == [6, 7, 8, 9]


@pytest.mark.parametrize("torn", [1, 16, 27])
def test_a_torn_last_record_is_dropped_and_written_over(tmp_path: Path, torn: int) -> None:
    cache = Cache(tmp_path, "x", WIDTH, np.float32)
    cache.add(keys_of([1, 2]), answer_of([1, 2]))
    cache.path.write_bytes(cache.path.read_bytes()[:-torn])
    answerer = Answerer([1, 2, 3])
    values = Cache(tmp_path, "x", WIDTH, np.float32).fill(keys_of([1, 2, 3]), answerer, 9)
    np.testing.assert_array_equal(values, answer_of([1, 2, 3]))
    assert answerer.asked == [2, 3]


def test_two_writers_of_one_file_spoil_nothing(tmp_path: Path) -> None:
    one, other = (Cache(tmp_path, "x", WIDTH, np.float32) for _ in range(2))
    one.add(keys_of([1, 2]), answer_of([1, 2]))
    other.add(keys_of([2, 3]), answer_of([2, 3]))
    found, values = Cache(tmp_path, "x", WIDTH, np.float32).find(keys_of([3, 4, 1, 2]))
    assert found.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(values, answer_of([3, 1, 2]))


def test_texts_are_told_apart_by_what_is_read_of_them() -> None:
    ids = np.array([1, 2, 3, 1, 2, 3, 4, 1, 2], dtype=np.int32)
    offsets = np.array([0, 3, 7, 9, 9], dtype=np.int64)  # 1 2 3 | 1 2 3 4 | 1 2 | nothing
    assert len(np.unique(digest_rows(ids, offsets, 8).view("S16"))) == 4
    read = digest_rows(ids, offsets, 3)
    assert read[0] == read[1]
    assert len(np.unique(read.view("S16"))) == 3


def test_another_model_or_setting_is_someone_else(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = identity(tmp_path, max_length=128)
    assert identity(tmp_path, max_length=128) == first
    assert identity(tmp_path, max_length=256) != first
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert identity(tmp_path, max_length=128) != first
