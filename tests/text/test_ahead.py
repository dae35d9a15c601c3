"""One step ahead: the same results as ``map``, in order, with clean ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tinyrerank.text.ahead import map_ahead


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_results_come_in_order(n: int) -> None:
    assert list(map_ahead(str, range(n))) == [str(i) for i in range(n)]


def test_items_are_read_in_the_callers_thread_and_one_ahead_at_most() -> None:
    readers = set()
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for i in range(5):
            readers.add(threading.get_ident())
            read += 1
            yield i

    for used, _ in enumerate(map_ahead(str, items()), start=1):
        assert read <= used + 1
    assert readers == {threading.get_ident()}


def test_the_next_result_is_computed_while_the_last_is_used() -> None:
    begun = threading.Event()

    def function(i: int) -> int:
        if i == 1:
            begun.set()
        return i

    results = map_ahead(function, [0, 1])
    assert next(results) == 0
    assert begun.wait(10)
    assert list(results) == [1]


def test_one_item_starts_no_thread() -> None:
    assert list(map_ahead(lambda _: threading.get_ident(), [0])) == [threading.get_ident()]


def test_an_error_arrives_after_the_results_before_it() -> None:
    def function(i: int) -> int:
        return 1 // i

    results = map_ahead(function, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_leaving_early_stops_the_helper_thread() -> None:
    before = threading.active_count()
    results = map_ahead(str, range(100))
    next(results)
    results.close()  # type: ignore[attr-defined]  # an Iterator that is a generator
    assert threading.active_count() == before
