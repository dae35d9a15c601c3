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
        rate = self.done / seconds
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        line = (
            f"{self.what}: {self.done:,.0f} of {self.total:,.0f} {self.unit}, {rate:,.1f}/s, {seconds:.0f} s"
        )
        line += f", {_duration(left)} left" if self.done < self.total else ""
        print(line + (f"; {note}" if note else ""), file=sys.stderr, flush=True)  # noqa: T201 - progress


class StageProgress:
    """Progress of a stage that ends by steps or by minutes, whichever comes first.

    Args:
        what: name of the work.
        fraction: how much of it earlier runs did, 0..1.
        every_s: seconds between lines.
    """

    def __init__(self, what: str, fraction: float, *, every_s: float = 10.0) -> None:
        self.what, self.every_s = what, every_s
        self._first = fraction
        self._start = self._last = time.monotonic()

    def show(self, fraction: float, step: int, note: str, *, now: bool = False) -> None:
        """Print when it is time, or ``now``."""
        moment = time.monotonic()
        if not now and moment - self._last < self.every_s:
            return
        self._last = moment
        done = fraction - self._first
        left = (moment - self._start) * (1 - fraction) / done if done > 0 else float("inf")
        line = f"{self.what}: {100 * fraction:.1f} %, step {step:,}"
        line += f", {_duration(left)} left" if fraction < 1 else f", {_duration(moment - self._start)}"
        print(f"{line}; {note}", file=sys.stderr, flush=True)  # noqa: T201 - progress


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "unknown time"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {s} s" if minutes else f"{s} s"
