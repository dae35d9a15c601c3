"""One line of progress on standard error: how far, how fast, how long yet."""

from __future__ import annotations

import sys
import time


class Progress:
    """Prints at most every few seconds, and once at the end.

    Args:
        what: name of the work.
        total: amount of it.
        unit: of the amount.
        every_s: seconds between lines.
    """

    def __init__(self, what: str, total: float, *, unit: str = "steps", every_s: float = 10.0) -> None:
        self.what, self.total, self.unit, self.every_s = what, total, unit, every_s
        self.done = 0.0
        self._start = self._last = time.monotonic()
        self._offset = 0.0

    def start_at(self, done: float) -> None:
        """Say that some of the work was done before, so that the rate is that of this run."""
        self.done = self._offset = done

    def advance(self, amount: float, note: str = "") -> None:
        """Count work; print when it is time."""
        self.done += amount
        now = time.monotonic()
        if now - self._last >= self.every_s:
            self._last = now
            self._print(now, note)

    def close(self, note: str = "") -> None:
        """Print the last line."""
        self._print(time.monotonic(), note)

    def _print(self, now: float, note: str) -> None:
        seconds = max(now - self._start, 1e-9)
        rate = (self.done - self._offset) / seconds
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        line = (
            f"{self.what}: {self.done:,.0f} of {self.total:,.0f} {self.unit}, {rate:,.1f}/s, {seconds:.0f} s"
        )
        line += f", {_duration(left)} left" if self.done < self.total else ""
        print(line + (f"; {note}" if note else ""), file=sys.stderr, flush=True)  # noqa: T201 - progress


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "unknown time"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {s} s" if minutes else f"{s} s"
