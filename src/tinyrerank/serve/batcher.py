"""Computes queued pairs in batches, in a thread of its own, whatever requests they belong to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyrerank.reranker import Reranker
from tinyrerank.serve.lanes import Item, Lanes
from tinyrerank.serve.request import Outcome, Problem
from tinyrerank.text.pairs import EncodedPair, best_pieces

_PACK_TOKENS = 65_536
_FAILED = Problem("engine_failed", "the engine failed on this document; the server's log says why")
_log = logging.getLogger("tinyrerank.serve")


@dataclass(frozen=True, slots=True)
class Batch:
    """What the engine made of a batch.

    Attributes:
        items: computed, or failed.
        outcomes: one an item.
        dropped: items that were not computed since nobody waited for them.
        started: monotonic seconds.
        finished: monotonic seconds.
        error: what went wrong with the batch as a whole, after which its items were computed one by one.
    """

    items: list[Item]
    outcomes: list[Outcome]
    dropped: list[Item]
    started: float
    finished: float
    error: BaseException | None = None

    @property
    def tokens(self) -> int:
        """Tokens computed."""
        return sum(item.tokens for item in self.items)


class Batcher:
    """A queue and the thread that empties it. As soon as the engine is free, it takes what is waiting.

    Nothing waits for a batch to fill. If the thread dies, its batch fails and a new thread goes on.

    Args:
        reranker: whose engine computes.
        batch_tokens: most tokens in a batch.
        deliver: is called in the batcher's thread with each batch.
    """

    def __init__(self, reranker: Reranker, batch_tokens: int, deliver: Callable[[Batch], None]) -> None:
        self.lanes = Lanes(batch_tokens)
        self.restarts = 0
        self._engine = reranker.engine
        self._packer = reranker.encoder()
        self._deliver = deliver
        self._stopping = False
        self._thread = self._new_thread()

    def start(self) -> None:
        """Begin to compute."""
        self._thread.start()

    def stop(self) -> list[Item]:
        """Finish the batch in work and return the items that were never begun."""
        self._stopping = True
        left = self.lanes.clear()
        self.lanes.close()
        if self._thread.ident is not None:
            self._thread.join()
        return left

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._main, name="tinyrerank-engine", daemon=True)

    def _main(self) -> None:
        """Run until stopped; whatever kills the thread costs its batch alone."""
        try:
            while self.lanes.take():
                self._deliver(self._computed(*self.lanes.taken))
        except BaseException as error:  # noqa: BLE001 - also what is raised into the thread from outside
            if self._stopping:
                return
            _log.exception("the engine's thread died and is started anew")
            self.restarts += 1
            items, dropped = self.lanes.taken
            self._thread = self._new_thread()
            self._thread.start()
            now = time.perf_counter()
            self._deliver(Batch(items, [Outcome(problem=_FAILED)] * len(items), dropped, now, now, error))

    def _computed(self, items: list[Item], dropped: list[Item]) -> Batch:
        started = time.perf_counter()
        error: Exception | None = None
        try:
            outcomes = self._scored(items)
        except Exception as caught:  # noqa: BLE001 - logged, and answered pair by pair
            _log.exception("the engine failed on a batch; its pairs are computed one by one")
            error = caught
            outcomes = [self._scored_alone(item) for item in items]
        return Batch(items, outcomes, dropped, started, time.perf_counter(), error)

    def _scored_alone(self, item: Item) -> Outcome:
        try:
            return self._scored([item])[0]
        except Exception:  # noqa: BLE001 - logged, and answered
            _log.exception("the engine failed on one pair")
            return Outcome(problem=_FAILED)

    def _scored(self, items: list[Item]) -> list[Outcome]:
        pairs = [item.pair for item in items if item.pair is not None]
        if not pairs:
            return []
        logits, winners = best_pieces(pairs, self._piece_logits(pairs))
        return [
            _outcome(item, pair, logit, winner)
            for item, pair, logit, winner in zip(items, pairs, logits.tolist(), winners, strict=True)
        ]

    def _piece_logits(self, pairs: list[EncodedPair]) -> NDArray[np.float32]:
        packs = self._packer.pack(pairs, max_tokens=_PACK_TOKENS)
        return np.concatenate([self._engine.score(pack.ids, pack.cu_seqlens) for pack in packs])


def _outcome(item: Item, pair: EncodedPair, logit: float, winner: int) -> Outcome:
    if not np.isfinite(logit):
        _log.error("the engine gave a pair the logit %s", logit)
        return Outcome(problem=_FAILED)
    receipt = pair.receipt(winner)
    return Outcome(
        logit, receipt.tokens_read, receipt.tokens_total, receipt.windows, receipt.span, cost=item.tokens
    )
