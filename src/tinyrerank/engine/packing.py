"""Checks of packed input, and its division into groups that fit a budget of memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinyrerank.errors import InputError, TooLongError


def check(
    ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32], *, vocab_size: int, max_length: int
) -> NDArray[np.int64]:
    """Check a packed batch against the contract of :class:`~tinyrerank.engine.base.Engine`.

    Args:
        ids: (total_tokens,) int32.
        cu_seqlens: (n + 1,) int32, 0 first, strictly rising, ``total_tokens`` last; [0] for no sequence.
        vocab_size: ids lie in 0..vocab_size - 1.
        max_length: the longest sequence allowed, in tokens.

    Returns:
        Tokens in each sequence, shape (n,).

    Raises:
        InputError: something is out of range; names the first sequence at fault, counted from 0.
    """
    for name, array in (("ids", ids), ("cu_seqlens", cu_seqlens)):
        if not isinstance(array, np.ndarray) or array.dtype != np.int32 or array.ndim != 1:
            kind = (
                f"{array.dtype} {list(array.shape)}"
                if isinstance(array, np.ndarray)
                else type(array).__name__
            )
            raise InputError(f"{name} must be a flat int32 array, not {kind}")
    if len(cu_seqlens) == 0 or cu_seqlens[0] != 0:
        raise InputError(f"cu_seqlens must begin with 0, not {cu_seqlens[:1].tolist()}")
    bounds = cu_seqlens.astype(np.int64)
    lengths: NDArray[np.int64] = bounds[1:] - bounds[:-1]
    if len(lengths) and lengths.min() < 1:
        i = int(np.argmax(lengths < 1))
        raise InputError(f"sequence {i} has {lengths[i]} tokens; cu_seqlens must rise by at least 1")
    if cu_seqlens[-1] != len(ids):
        raise InputError(f"cu_seqlens ends at {cu_seqlens[-1]}, but there are {len(ids)} ids")
    if len(lengths) and lengths.max() > max_length:
        i = int(np.argmax(lengths > max_length))
        raise TooLongError(
            f"sequence {i} has {lengths[i]} tokens; the model reads at most {max_length}:"
            " cut it or use windows",
            index=i,
            tokens=int(lengths[i]),
            limit=max_length,
        )
    if len(ids) and (ids.min() < 0 or ids.max() >= vocab_size):
        at = int(np.argmax((ids < 0) | (ids >= vocab_size)))
        i = int(np.searchsorted(cu_seqlens, at, side="right")) - 1
        raise InputError(
            f"sequence {i} holds token id {ids[at]}; this model's ids are 0..{vocab_size - 1}:"
            " do its tokenizer.json and weights belong together?"
        )
    return lengths


def group(
    lengths: Sequence[int] | NDArray[np.int64], *, max_tokens: int, padded: bool, max_cells: int | None = None
) -> list[NDArray[np.int64]]:
    """Divide sequences into groups of like length that fit a budget, long ones first.

    A padded engine pays longest x count for a group, an unpadded one the sum of its lengths. A sequence that
    alone is over a budget gets a group of its own: refusing it is not this function's business.

    Args:
        lengths: tokens in each sequence, shape (n,).
        max_tokens: most tokens a group may cost.
        padded: which of the two costs applies.
        max_cells: most attention cells a group may have, the sum of length x length (of the longest, when
            padded); None for no bound.

    Returns:
        Index arrays that hold each of 0..n-1 exactly once; equal lengths keep their order.

    Example:
        >>> [g.tolist() for g in group([2, 9, 3, 2], max_tokens=8, padded=True)]
        [[1], [2, 0], [3]]
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    groups: list[NDArray[np.int64]] = []
    start = tokens = cells = longest = 0
    for at, size in enumerate(sizes[order].tolist()):
        if at == start:
            longest = size
        cost = longest if padded else size
        full = tokens + cost > max_tokens or (max_cells is not None and cells + cost * cost > max_cells)
        if full and at > start:
            groups.append(order[start:at])
            start, tokens, cells = at, 0, 0
            longest = cost = size
        tokens += cost
        cells += cost * cost
    if len(order):
        groups.append(order[start:])
    return groups


def gather(
    ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32], members: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The packed batch of some of the sequences, in the order given: ids (tokens,) and bounds (m + 1,)."""
    parts = [ids[cu_seqlens[i] : cu_seqlens[i + 1]] for i in members.tolist()]
    bounds = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return np.concatenate(parts), bounds
