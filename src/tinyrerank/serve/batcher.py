"""Computes queued pairs in batches, in a thread of its own, whatever requests they belong to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinyrerank.reranker import Reranker
from tinyrerank.serve.lanes import Item, Lanes, Part, Taken
from tinyrerank.serve.request import Outcome, Problem
from tinyrerank.text.pairs import EncodedPair, mean_of_parts

_PACK_TOKENS = 65_536
_FAILED = Problem("engine_failed", "the engine failed on this document; the server's log says why")
_log = logging.getLogger("tinyrerank.serve")


@dataclass(frozen=True, slots=True)
class Batch:
    """What the engine made of a batch.

    Attributes:
        items: that are done with this batch, or failed.
        outcomes: one an item.
        dropped: items that were not computed since nobody waited for them.
        tokens: computed.
        started: monotonic seconds.
        finished: monotonic seconds.
        free: monotonic seconds when the engine was free for it and there was work.
        full: whether there was at least half as much to compute as a batch may hold.
        error: what went wrong with the batch as a whole, after which its parts were computed one by one.
    """

    items: list[Item]
    outcomes: list[Outcome]
    dropped: list[Item]
    tokens: int
    started: float
    finished: float
    free: float
    full: bool
    error: BaseException | None = None


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
        self._batch_tokens = batch_tokens
        self._finished = 0.0
        self._thread = self._new_thread()

    def start(self) -> None:
        """Begin to compute."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch in work, forget the rest, and end the thread."""
        self._stopping = True
        self.lanes.clear()
        self.lanes.close()
        if self._thread.ident is not None:
            self._thread.join()

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._main, name="tinyrerank-engine", daemon=True)

    def _main(self) -> None:
        """Run until stopped; whatever kills the thread costs its batch alone."""
        try:
            while self.lanes.take():
                self._deliver(self._computed(self.lanes.taken))
        except BaseException as error:  # noqa: BLE001 - also what is raised into the thread from outside
            if self._stopping:
                return
            _log.exception("the engine's thread died and is started anew")
            self.restarts += 1
            taken = self.lanes.taken
            now = time.perf_counter()
            items = [_failed(part.item) for part in taken.parts]
            self._thread = self._new_thread()
            self._thread.start()
            failures = [_FAILURE] * len(items)
            self._deliver(Batch(items, failures, taken.dropped, 0, now, now, now, full=False, error=error))

    def _computed(self, taken: Taken) -> Batch:
        parts = taken.parts
        started = time.perf_counter()
        free = started if taken.waited else self._finished or started
        error: Exception | None = None
        try:
            self._compute(parts)
        except Exception as caught:  # noqa: BLE001 - logged, and answered pair by pair
            _log.exception("the engine failed on a batch; its pairs are computed one by one")
            error = caught
            for part in parts:
                self._compute_alone(part)
        items = [part.item for part in parts if part.last or part.item.failed]
        outcomes = [_outcome(item) for item in items]
        tokens = sum(part.tokens for part in parts)
        self._finished = time.perf_counter()
        full = taken.left or 2 * tokens >= self._batch_tokens
        return Batch(items, outcomes, taken.dropped, tokens, started, self._finished, free, full, error)

    def _compute_alone(self, part: Part) -> None:
        try:
            self._compute([part])
        except Exception:  # noqa: BLE001 - logged, and answered
            _log.exception("the engine failed on one pair")
            _failed(part.item)

    def _compute(self, parts: Sequence[Part]) -> None:
        """Put the logits of all parts into their items; none of them, if the engine fails."""
        pairs = [_pair(part) for part in parts]
        packs = self._packer.pack(pairs, max_tokens=_PACK_TOKENS)
        found = [self._engine.score(pack.ids, pack.cu_seqlens) for pack in packs]
        logits = mean_of_parts(pairs, np.concatenate(found)).tolist() if found else []
        at = 0
        for part in parts:
            n = part.end - part.first
            part.item.logits += logits[at : at + n]
            at += n


_FAILURE = Outcome(problem=_FAILED)


def _pair(part: Part) -> EncodedPair:
    """The model inputs of a part as a pair of their own."""
    pair = part.item.pair
    if pair is None:
        raise RuntimeError("an item was queued before it was encoded")
    if part.first == 0 and part.last:
        return pair
    return replace(pair, pieces=pair.pieces[part.first : part.end], spans=pair.spans[part.first : part.end])


def _failed(item: Item) -> Item:
    item.failed = True
    return item


def _outcome(item: Item) -> Outcome:
    """The best of the item's model inputs; the first one of equals, as in the library."""
    logits = np.array(item.logits, dtype=np.float32)
    if item.failed or item.pair is None:
        return _FAILURE
    if not np.isfinite(logits).all():
        _log.error("the engine gave a pair the logits %s", item.logits)
        return _FAILURE
    winner = int(np.argmax(logits))
    receipt = item.pair.receipt(winner)
    return Outcome(
        logit=item.logits[winner],
        tokens_read=receipt.tokens_read,
        tokens_total=receipt.tokens_total,
        windows=receipt.windows,
        span=receipt.span,
        cost=item.tokens,
    )
