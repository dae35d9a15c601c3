"""The queue in front of an engine: fair between clients, and between the requests of a client.

Each client has a lane; the lane that was served fewest tokens goes first. In a lane, requests take turns of a
batch's size: short ones go in the order of arrival, and a long one does not hold them up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tinyrerank.text.pairs import EncodedPair


@dataclass(slots=True, eq=False)
class Item:
    """One pair on its way through the engine, shared by all requests that want it.

    Attributes:
        key: of the cache; identifies the pair.
        waiters: requests that want it, each with the position of its pair.
        pair: its token ids, once they are known.
        tokens: that the engine computes for it.
    """

    key: bytes
    waiters: list[tuple[Any, int]] = field(default_factory=list)
    pair: EncodedPair | None = None
    tokens: int = 0

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for it."""
        return any(not job.closed for job, _ in self.waiters)


@dataclass(slots=True, eq=False)
class _Lot:
    """Items of one request."""

    owner: object
    items: deque[Item]
    turn_tokens: int = 0


@dataclass(slots=True, eq=False)
class _Lane:
    """Requests of one client."""

    served: float
    lots: deque[_Lot] = field(default_factory=deque)


class Lanes:
    """Items waiting for the engine. One thread takes, others put.

    Args:
        batch_tokens: most tokens in a batch; one larger item makes a batch of its own.

    Attributes:
        taken: what was taken last; kept here so that it is not lost when the thread that takes dies.
    """

    def __init__(self, batch_tokens: int) -> None:
        self.taken: tuple[list[Item], list[Item]] = ([], [])
        self._batch_tokens = batch_tokens
        self._lanes: dict[str, _Lane] = {}
        self._served = 0.0
        self._ready = threading.Condition()
        self._closed = False

    def put(self, client: str, owner: object, items: Iterable[Item]) -> None:
        """Queue items of a request; they stay in order.

        Args:
            client: whose lane.
            owner: the request; its items of several calls form one lot.
            items: with their pairs.
        """
        items = deque(items)
        if not items:
            return
        with self._ready:
            lane = self._lanes.get(client)
            if lane is None:
                lane = self._lanes[client] = _Lane(self._served)
            lot = next((lot for lot in reversed(lane.lots) if lot.owner is owner), None)
            if lot is None:
                lane.lots.append(_Lot(owner, items))
            else:
                lot.items.extend(items)
            self._ready.notify()

    def take(self) -> bool:
        """Take the next batch, and the items that nobody wants; waits for either, False once closed."""
        with self._ready:
            while True:
                self.taken = ([], [])
                self._take(*self.taken)
                if any(self.taken):
                    return True
                if self._closed:
                    return False
                self._ready.wait()

    def close(self) -> None:
        """Let ``take`` come to an end once everything is taken."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def clear(self) -> list[Item]:
        """Take everything at once."""
        with self._ready:
            items = [item for lane in self._lanes.values() for lot in lane.lots for item in lot.items]
            self._lanes.clear()
            return items

    def _take(self, batch: list[Item], dropped: list[Item]) -> None:
        room = self._batch_tokens
        while self._lanes:
            client, lane = min(self._lanes.items(), key=lambda named: named[1].served)
            lot = lane.lots[0]
            item = lot.items[0]
            if item.wanted:
                if batch and item.tokens > room:
                    break
                batch.append(item)
                room -= item.tokens
                lane.served += item.tokens
                lot.turn_tokens += item.tokens
                self._served = lane.served
            else:
                dropped.append(item)
            lot.items.popleft()
            self._tidy(client, lane, lot)

    def _tidy(self, client: str, lane: _Lane, lot: _Lot) -> None:
        """Remove what is empty; send a request that had its turn to the back."""
        if not lot.items:
            lane.lots.popleft()
        elif lot.turn_tokens >= self._batch_tokens:
            lot.turn_tokens = 0
            lane.lots.rotate(-1)
        if not lane.lots:
            del self._lanes[client]
