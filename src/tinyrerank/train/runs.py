"""Several runs from one start, side by side, and the mean of what they learned.

Two short runs over different data and their mean are worth more than one long run, and need no communication
(a model soup: Wortsman et al. 2022, arXiv 2203.05482; the figures are in docs/experiments.md).
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tinyrerank.errors import TinyrerankError
from tinyrerank.model.weights import Weights


def mean_weights(runs: Sequence[Weights]) -> Weights:
    """The mean of float32 weights of one geometry, summed in double precision."""
    first = runs[0]

    def mean(name: str) -> NDArray[np.float32]:
        total = sum(run.tensors[name].astype(np.float64) for run in runs)
        return np.asarray(total / len(runs), dtype=np.float32)

    return Weights(first.config, {name: mean(name) for name in first.tensors}, first.n_labels)


def side_by_side(work: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> None:
    """Call ``work`` once with each arguments, all at once, each in a process with its share of the threads.

    Args:
        work: picklable; its result must be left in files.
        arguments: of each call.

    Raises:
        TinyrerankError: a process ended with an error; its own message is on standard error.
    """
    threads = max(1, torch.get_num_threads() // len(arguments))
    context = multiprocessing.get_context("spawn")  # a fork would share torch's thread pool
    processes = [
        context.Process(target=_with_threads, args=(threads, work, each), daemon=True) for each in arguments
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join()
    except KeyboardInterrupt:  # the terminal sends it to all: each writes its checkpoint before it ends
        for process in processes:
            process.join()
        raise
    failed = [str(n) for n, process in enumerate(processes, 1) if process.exitcode != 0]
    if failed:
        raise TinyrerankError(
            f"training run {', '.join(failed)} of {len(processes)} failed (see above); the same command goes"
            " on from the last checkpoints"
        )


def _with_threads(threads: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(threads)
    work(*arguments)
