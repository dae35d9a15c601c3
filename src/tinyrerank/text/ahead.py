"""Work one step ahead in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Like ``map``, but the next result is computed in a thread while the caller uses the last one.

    ``items`` is read in the caller's thread, at most one item ahead. One item alone starts no thread.

    Example:
        >>> list(map_ahead(len, ["a", "bc"]))
        [1, 2]
    """
    source = iter(items)
    for first in source:
        ready = function(first)
        break
    else:
        return
    helper: ThreadPoolExecutor | None = None
    try:
        for item in source:
            if helper is None:
                from concurrent.futures import ThreadPoolExecutor  # not at the top: one chunk does without

                helper = ThreadPoolExecutor(1, thread_name_prefix="tinyrerank-ahead")
            following = helper.submit(function, item)
            yield ready
            ready = following.result()
        yield ready
    finally:
        if helper is not None:
            helper.shutdown(wait=True, cancel_futures=True)
