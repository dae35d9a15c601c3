"""Who may come in: capacity is counted in tokens and reserved before a request waits for anything."""

from __future__ import annotations

import math

from tinyrerank.serve.errors import OverloadedError

#: Part of the queue that one request may fill; the rest of a large one is fed as its beginning gets done.
REQUEST_SHARE = 4
_HALF_LIFE_S = 1.0
_MAX_RETRY_S = 600


class DrainRate:
    """Tokens per second that the engine computes while it is busy, smoothed over batches.

    Args:
        initial: tokens per second to assume before the first measurement.
    """

    def __init__(self, initial: float = 10_000.0) -> None:
        self.tokens_per_s = initial
        self._measured = False

    def measured(self, tokens: int, seconds: float) -> None:
        """Learn from a batch; long ones weigh more than short ones."""
        if tokens < 1 or seconds <= 0:
            return
        weight = 1.0 - 0.5 ** (seconds / _HALF_LIFE_S) if self._measured else 1.0
        self.tokens_per_s += weight * (tokens / seconds - self.tokens_per_s)
        self._measured = True


class Admission:
    """A bounded number of tokens that may be waiting; not for several threads.

    One client alone may use all of it. A client that finds it full of other clients' work still gets in up to
    its fair share, so the bound can be passed, but never doubled.

    Args:
        max_tokens: the bound.
        rate: how fast the engine is; it tells when to come back.

    Attributes:
        waiting: tokens reserved now.
    """

    def __init__(self, max_tokens: int, rate: DrainRate) -> None:
        self.max_tokens = max_tokens
        self.rate = rate
        self.waiting = 0
        self._by_client: dict[str, int] = {}

    @property
    def max_request_tokens(self) -> int:
        """Tokens that one request may have in the queue at a time."""
        return max(1, self.max_tokens // REQUEST_SHARE)

    def admit(self, client: str, tokens: int) -> Ticket:
        """Reserve room for a request.

        Args:
            client: whose it is.
            tokens: that it needs; of a large one only what it may have in the queue at a time is reserved.

        Raises:
            OverloadedError: there is no room; says when there should be.
        """
        tokens = min(tokens, self.max_request_tokens)
        mine = self._by_client.get(client, 0)
        clients = len(self._by_client) + (mine == 0)
        room = self.max_tokens - self.waiting
        fair = mine + tokens <= self.max_tokens // clients and self.waiting + tokens <= 2 * self.max_tokens
        if tokens > room and not (clients > 1 and fair):
            seconds = (tokens - room) / self.rate.tokens_per_s
            raise OverloadedError(
                f"{self.waiting} tokens are waiting and this request adds about {tokens}, more than the"
                f" {self.max_tokens} that may wait; try again after the seconds in Retry-After",
                retry_after_s=min(_MAX_RETRY_S, max(1, math.ceil(seconds))),
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
