"""One request on its way through a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tinyrerank.serve.admission import Ticket
from tinyrerank.serve.request import Outcome, Problem


class Job:
    """Collects the outcomes of a request; lives on the event loop.

    Args:
        n_pairs: how many outcomes there will be.
        ticket: its reservation; shrinks as outcomes arrive.
        estimate: tokens that all pairs are thought to have.
        max_queued: tokens that it may have in the queue at a time.
        keep: whether its scores are worth remembering.

    Attributes:
        outcomes: what has arrived, None for what has not.
        closed: whether nobody waits any more; the engine's thread reads it, too.
        cached: pairs whose score was known.
        first_queued: monotonic seconds of the first item put into the queue.
        first_started: when the first of its batches began.
        ended: set when the job is closed.
        feeds: how often it had to wait for room in the queue.
        last_finished: when the last of its batches so far ended.
    """

    def __init__(
        self, n_pairs: int, ticket: Ticket, estimate: int, max_queued: int, *, keep: bool = True
    ) -> None:
        self.keep = keep
        self.outcomes: list[Outcome | None] = [None] * n_pairs
        self.closed = False
        self.cached = 0
        self.feeds = 0
        self.tokenize_s = 0.0
        self.first_queued: float | None = None
        self.first_started: float | None = None
        self.last_finished: float | None = None
        self._ticket = ticket
        self._max_queued = max_queued
        self._to_come = estimate
        self._queued = 0
        self._left = n_pairs
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self.ended = asyncio.Event()

    @property
    def complete(self) -> bool:
        """Whether every outcome has arrived."""
        return self._left == 0

    def settle(self, position: int, outcome: Outcome) -> None:
        """Take the outcome of the pair at a position."""
        if self.outcomes[position] is None:
            self.outcomes[position] = outcome
            self._left -= 1
        if self._left == 0:
            self._changed.set()

    def left_queue(self, tokens: int) -> None:
        """Count tokens that went into the queue for this request as done."""
        self._queued -= tokens
        self._reserve()
        self._changed.set()

    def fail(self, error: Exception) -> None:
        """End the whole request with an error."""
        self._error = self._error or error
        self._changed.set()

    def queued(self, tokens: int, estimate: int = 0) -> None:
        """Count a chunk that goes into the queue, instead of what was estimated for it."""
        self._queued += tokens
        self._to_come -= estimate
        self._reserve()

    def all_queued(self) -> None:
        """Nothing more is to come, whatever was estimated."""
        self._to_come = 0
        self._reserve()

    async def room(self) -> None:
        """Wait until less is in the queue than the request may have there.

        Raises:
            Exception: what ended the request.
        """
        if self._queued >= self._max_queued:
            self.feeds += 1
        await self._until(lambda: self._queued < self._max_queued)

    async def done(self) -> None:
        """Wait for all outcomes.

        Raises:
            Exception: what ended the request.
        """
        await self._until(lambda: self._left == 0)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while True:
            if self._error is not None:
                raise self._error
            if condition():
                return
            self._changed.clear()
            await self._changed.wait()

    def _reserve(self) -> None:
        """Reserve what is in the queue and to come, as far as it may be there.

        A document may be larger than that; it takes turns with what comes later, so it holds nobody up.
        """
        if not self.closed:
            self._ticket.resize(min(self._max_queued, self._queued + max(0, self._to_come)))

    def close(self) -> None:
        """Nobody waits any more: what has not begun will not be computed."""
        self.closed = True
        self.ended.set()
        self._ticket.close()

    def results(self, missing: Problem) -> Sequence[Outcome]:
        """All outcomes, with ``missing`` where none has arrived."""
        late = Outcome(problem=missing)
        return [late if outcome is None else outcome for outcome in self.outcomes]
