"""The queue in front of an engine: fair between clients, and between the requests of a client.

Each client has a lane; the lane that was served fewest tokens goes first. In a lane, requests go in the order
of arrival, but one that is larger than a batch steps back after each batch of it, so as not to hold up the
others. It steps back behind as many tokens of later requests as it has itself, and no further: nobody waits
longer than for what was there when he came, plus, for a large request, its own size.
"""

from __future__ import annotations

import bisect
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
        owner: the request that counts its tokens as its own.
        waiters: requests that want it, each with the position of its pair.
        pair: its token ids, once they are known.
        costs: tokens of each of its model inputs: one, or one a window.
        taken: model inputs that were taken so far.
        logits: of the model inputs that were computed so far.
        failed: whether one of its model inputs could not be computed.
    """

    key: bytes
    owner: Any
    waiters: list[tuple[Any, int]] = field(default_factory=list)
    pair: EncodedPair | None = None
    costs: tuple[int, ...] = ()
    taken: int = 0
    logits: list[float] = field(default_factory=list)
    failed: bool = False

    @property
    def tokens(self) -> int:
        """Tokens that the engine computes for it."""
        return sum(self.costs)

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for it."""
        return not self.failed and any(not job.closed for job, _ in self.waiters)


@dataclass(frozen=True, slots=True)
class Part:
    """Model inputs ``first`` to ``end`` of an item, in one batch; mostly it is the whole item."""

    item: Item
    first: int
    end: int

    @property
    def tokens(self) -> int:
        """Tokens that the engine computes for it."""
        return sum(self.item.costs[self.first : self.end])

    @property
    def last(self) -> bool:
        """Whether the item is done after it."""
        return self.end == len(self.item.costs)


@dataclass(slots=True, eq=False)
class Taken:
    """What was taken for a batch.

    Attributes:
        parts: to compute.
        dropped: items that nobody wants.
        waited: whether there was nothing to take at first.
        left: whether work was left for the next batch.
    """

    parts: list[Part] = field(default_factory=list)
    dropped: list[Item] = field(default_factory=list)
    waited: bool = False
    left: bool = False


@dataclass(slots=True, eq=False)
class _Lot:
    """Items of one request.

    Attributes:
        place: in its lane, counted in tokens that were ever queued.
        last_place: which it never steps back behind.
    """

    owner: object
    items: deque[Item]
    place: int
    last_place: int
    turn_tokens: int = 0


@dataclass(slots=True, eq=False)
class _Lane:
    """Requests of one client, by their places."""

    served: float
    lots: list[_Lot] = field(default_factory=list)


class Lanes:
    """Items waiting for the engine. One thread takes, others put.

    Args:
        batch_tokens: most tokens in a batch; one larger model input makes a batch of its own. The windows of
            a long document may come in several batches, so that it does not hold the others up.

    Attributes:
        taken: what was taken last; kept here so that it is not lost when the thread that takes dies.
    """

    def __init__(self, batch_tokens: int) -> None:
        self.taken = Taken()
        self._batch_tokens = batch_tokens
        self._lanes: dict[str, _Lane] = {}
        self._served = 0.0
        self._queued = 0
        self._ready = threading.Condition()
        self._closed = False

    def put(self, client: str, owner: object, items: Iterable[Item]) -> None:
        """Queue items of a request; they stay in order.

        Args:
            client: whose lane.
            owner: the request; its items of several calls form one lot, as long as some of it waits.
            items: with their pairs.
        """
        items = deque(items)
        if not items:
            return
        tokens = sum(item.tokens for item in items)
        with self._ready:
            self._queued += tokens
            lane = self._lanes.get(client)
            if lane is None:
                lane = self._lanes[client] = _Lane(self._served)
            lot = next((lot for lot in reversed(lane.lots) if lot.owner == owner), None)
            if lot is None:
                _insert(lane, _Lot(owner, items, self._queued, self._queued + tokens))
            else:
                lot.items.extend(items)
                lot.last_place += 2 * tokens
            self._ready.notify()

    def take(self) -> bool:
        """Take the next batch, and the items that nobody wants; waits for either, False once closed."""
        with self._ready:
            self.taken = Taken()
            while True:
                self._take(self.taken.parts, self.taken.dropped)
                self.taken.left = bool(self._lanes)
                if self.taken.parts or self.taken.dropped:
                    return True
                if self._closed:
                    return False
                self.taken.waited = True
                self._ready.wait()

    def close(self) -> None:
        """Let ``take`` come to an end once everything is taken."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def clear(self) -> None:
        """Forget everything that waits."""
        with self._ready:
            self._lanes.clear()

    def _take(self, batch: list[Part], dropped: list[Item]) -> None:
        room = self._batch_tokens
        while self._lanes:
            client, lane = min(self._lanes.items(), key=lambda named: named[1].served)
            lot = lane.lots[0]
            item = lot.items[0]
            if item.wanted:
                part = _part(item, room, forced=not batch)
                if part is None:
                    break
                batch.append(part)
                item.taken = part.end
                tokens = part.tokens
                room -= tokens
                lane.served += tokens
                lot.turn_tokens += tokens
                self._served = lane.served
                if not part.last:
                    self._tidy(client, lane, lot)
                    continue
            else:
                dropped.append(item)
            lot.items.popleft()
            self._tidy(client, lane, lot)

    def _tidy(self, client: str, lane: _Lane, lot: _Lot) -> None:
        """Remove what is empty; a request that had its turn steps back."""
        if not lot.items:
            lane.lots.pop(0)
        elif lot.turn_tokens >= self._batch_tokens:
            lot.turn_tokens = 0
            lot.place = min(self._queued, lot.last_place)
            lane.lots.pop(0)
            _insert(lane, lot)
        if not lane.lots:
            del self._lanes[client]


def _insert(lane: _Lane, lot: _Lot) -> None:
    """Put a lot into its place, behind its equals."""
    bisect.insort_right(lane.lots, lot, key=lambda each: each.place)


def _part(item: Item, room: int, *, forced: bool) -> Part | None:
    """The next model inputs of an item that fit; none if not even one does, unless it must."""
    end = item.taken
    while end < len(item.costs) and (item.costs[end] <= room or (forced and end == item.taken)):
        room -= item.costs[end]
        end += 1
    return Part(item, item.taken, end) if end > item.taken else None
