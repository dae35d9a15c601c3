"""Progress with the time left, on standard error."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Counts finished items: one line rewritten on a terminal, else a line now and then.

    Args:
        total: items to do in this run.
        what: their name in the plural.
        done: items that an earlier run finished; shown, but not counted into the speed.
        stream: where to write; None means standard error.
        every_s: least seconds between two reports; None means 0.2 on a terminal and 10 elsewhere.
    """

    def __init__(
        self,
        total: int,
        what: str,
        *,
        done: int = 0,
        stream: TextIO | None = None,
        every_s: float | None = None,
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._every_s = every_s if every_s is not None else (0.2 if self._terminal else 10.0)
        self._total, self._what, self._earlier, self._done = total, what, done, 0
        self._start = self._last = time.monotonic()

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more items."""
        self._done += n
        now = time.monotonic()
        if now - self._last >= self._every_s:
            self._last = now
            self._write(self.line(now - self._start))

    def line(self, elapsed_s: float) -> str:
        """What is shown after ``elapsed_s`` seconds."""
        left_s = elapsed_s / self._done * (self._total - self._done) if self._done else 0.0
        return f"{self._count()}, {duration(elapsed_s)} gone, about {duration(left_s)} left"

    def close(self) -> None:
        """Say the total; nothing more is counted."""
        elapsed_s = time.monotonic() - self._start
        self._write(f"{self._count()}, {duration(elapsed_s)}")
        if self._terminal:
            self._stream.write("\n")
        self._stream.flush()

    def _count(self) -> str:
        return f"{self._earlier + self._done} of {self._earlier + self._total} {self._what}"

    def _write(self, line: str) -> None:
        # A terminal's line is rewritten in place: return to its start, write, erase the rest of the old one.
        self._stream.write(f"\r{line}\x1b[K" if self._terminal else line + "\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """Seconds in the two largest units.

    Example:
        >>> [duration(s) for s in (0.4, 62, 3700)]
        ['0 s', '1 min 2 s', '1 h 1 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
