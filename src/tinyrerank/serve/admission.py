"""Who may come in: capacity is counted in tokens and reserved before a request waits for anything.

What is waiting and what the engine computes right now count together, so that the bound, divided by the speed
of the engine, is the time that a request let in last has to wait.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from tinyrerank.serve.errors import OverloadedError

#: Part of the queue that one request may fill; the rest of a large one is fed as its beginning gets done.
REQUEST_SHARE = 4
#: Part of ``max_s`` that may be spent in the queue; reading, tokenizing and answering take the rest.
_QUEUE_PART = 0.85
_HALF_LIFE_S = 1.0
_TELLING_S, _TELLING_TOKENS = 0.25, 512
_MAX_RETRY_S = 600


class DrainRate:
    """Tokens per second that leave the queue while there is work, smoothed over batches.

    Args:
        initial: tokens per second to assume before the first measurement.

    Attributes:
        tokens_per_s: as far as it is known.
        known: whether there was work enough yet to tell.
    """

    def __init__(self, initial: float = 10_000.0) -> None:
        self.tokens_per_s = initial
        self.known = False

    def measured(self, tokens: int, seconds: float, *, full: bool = True) -> None:
        """Learn from a batch; long ones weigh more than short ones.

        Args:
            tokens: computed.
            seconds: since the batch before, or since there was work, so that all that lies between two
                batches counts.
            full: whether there was work enough. A small batch that was over soon, or whose few tokens paid
                for a start, shows how fast the engine is at least, not at most.
        """
        if tokens < 1 or seconds <= 0:
            return
        speed = tokens / seconds
        telling = full or (seconds >= _TELLING_S and tokens >= _TELLING_TOKENS)
        if not telling and speed <= self.tokens_per_s:
            return
        weight = 1.0 if telling and not self.known else 1.0 - 0.5 ** (seconds / _HALF_LIFE_S)
        self.tokens_per_s += weight * (speed - self.tokens_per_s)
        self.known = self.known or telling


class Admission:
    """A bounded number of tokens that may be waiting or in work; not for several threads.

    A request is let in while three quarters of the bound are not taken, whatever its size, and fills at most
    the last quarter: so large requests have the chance of small ones. One client alone may use all of it. A
    client that finds it full of other clients' work still gets in up to its fair share, so the bound can be
    passed, but never doubled.

    Args:
        max_tokens: the bound.
        rate: how fast the engine is; it tells when to come back.
        max_s: seconds that an accepted request may take, at that speed, once it is known; the smaller bound
            counts.
        clock: monotonic seconds.

    Attributes:
        waiting: tokens reserved now.
    """

    def __init__(
        self,
        max_tokens: int,
        rate: DrainRate,
        *,
        max_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate = rate
        self.waiting = 0
        self._max_tokens = max_tokens
        self._max_s = max_s
        self._clock = clock
        self._by_client: dict[str, int] = {}
        self._sent_away = 0.0
        self._sent_away_at = clock()

    @property
    def limit(self) -> int:
        """Tokens that may be reserved now."""
        seconds = _QUEUE_PART * self._max_s if self.rate.known else math.inf
        return max(1, int(min(self._max_tokens, seconds * self.rate.tokens_per_s)))

    @property
    def max_request_tokens(self) -> int:
        """Tokens that one request may have in the queue at a time."""
        return max(1, self.limit // REQUEST_SHARE)

    def admit(self, client: str, tokens: int) -> Ticket:
        """Reserve room for a request.

        Args:
            client: whose it is.
            tokens: that it needs; of a large one only what it may have in the queue at a time is reserved.

        Raises:
            OverloadedError: there is no room; says when there should be.
        """
        limit, part = self.limit, self.max_request_tokens
        tokens = min(tokens, part)
        mine = self._by_client.get(client, 0)
        clients = len(self._by_client) + (mine == 0)
        excess = self.waiting - (limit - part)
        fair = mine + tokens <= limit // clients and self.waiting + tokens <= 2 * limit
        if excess > 0 and not (clients > 1 and fair):
            raise OverloadedError(
                f"{self.waiting} of the {limit} tokens that may wait are waiting already; try again after the"
                " seconds in Retry-After",
                retry_after_s=self._retry_after_s(excess, tokens),
            )
        return Ticket(self, client, tokens)

    def change(self, client: str, tokens: int) -> None:
        """Count more tokens of a client, or fewer."""
        self.waiting += tokens
        mine = self._by_client.get(client, 0) + tokens
        if mine > 0:
            self._by_client[client] = mine
        else:
            self._by_client.pop(client, None)

    def _retry_after_s(self, excess: int, tokens: int) -> int:
        """When the excess is computed, and what those will bring who were sent away before, up to a queue."""
        now, rate = self._clock(), self.rate.tokens_per_s
        came_back = rate * (now - self._sent_away_at)
        before = max(0.0, self._sent_away - came_back)
        self._sent_away, self._sent_away_at = min(self.limit, before + tokens), now
        return min(_MAX_RETRY_S, max(1, math.ceil((excess + before) / rate)))


class Ticket:
    """The reservation of one request.

    Attributes:
        tokens: reserved now.
    """

    __slots__ = ("_admission", "_client", "tokens")

    def __init__(self, admission: Admission, client: str, tokens: int) -> None:
        self._admission = admission
        self._client = client
        self.tokens = 0
        self.resize(tokens)

    def resize(self, tokens: int) -> None:
        """Reserve so many instead."""
        self._admission.change(self._client, max(0, tokens) - self.tokens)
        self.tokens = max(0, tokens)

    def close(self) -> None:
        """Give everything back; closing twice is fine."""
        self.resize(0)
