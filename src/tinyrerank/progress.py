"""How far, and how long yet: one line on standard error."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Counts finished work: one line rewritten on a terminal, else a line now and then.

    The time left is reckoned from what this run has done itself: work of earlier runs and work that cost
    nothing (``fresh=False``) shrink what is left without raising the speed.

    Args:
        total: work of this run.
        what: its unit in the plural; empty where the counts mean nothing to a reader: notes say where we are.
        name: of the work, shown in front.
        done: work that an earlier run finished.
        stream: where to write; None means standard error.
        every_s: least seconds between two reports; None means 0.2 on a terminal and 10 elsewhere.
        quiet: write nothing.
    """

    def __init__(
        self,
        total: float,
        what: str = "",
        *,
        name: str = "",
        done: float = 0,
        stream: TextIO | None = None,
        every_s: float | None = None,
        quiet: bool = False,
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._every_s = every_s if every_s is not None else (0.2 if self._terminal else 10.0)
        self._total, self._what, self._name, self._earlier = total, what, name, done
        self._done = self._fresh = 0.0
        self._quiet = quiet
        self._start = self._last = time.monotonic()

    def advance(self, amount: float = 1, note: str = "", *, fresh: bool = True) -> None:
        """Count work; ``fresh`` when it was done just now."""
        self._done += amount
        self._fresh += amount if fresh else 0
        now = time.monotonic()
        if fresh and now - self._last >= self._every_s:
            self._last = now
            self._write(self.line(now - self._start, note))

    def line(self, elapsed_s: float, note: str = "") -> str:
        """What is shown after ``elapsed_s`` seconds."""
        if not self._what:
            return f"{note}, {self.left(elapsed_s)}"
        line = f"{self._count()}, {duration(elapsed_s)} gone, {self.left(elapsed_s)}"
        return f"{line}; {note}" if note else line

    def left(self, elapsed_s: float) -> str:
        """Time left in words, at the rate of the ``elapsed_s`` seconds of this run.

        Example:
            >>> progress = Progress(100, quiet=True)
            >>> progress.advance(25)
            >>> progress.left(60.0)
            'about 3 min 0 s left'
        """
        left = self._total - self._done
        if left <= 0:
            return "done"
        if self._fresh == 0:
            return "time left unknown yet"
        return f"about {duration(elapsed_s * left / self._fresh)} left"

    def close(self, note: str = "") -> None:
        """Say the total; where counts mean nothing, clear the terminal's line. Nothing more is counted."""
        elapsed_s = time.monotonic() - self._start
        if self._what:
            line = f"{self._count()}, {duration(elapsed_s)}"
            self._write(f"{line}; {note}" if note else line)
            if self._terminal and not self._quiet:
                self._stream.write("\n")
        elif self._terminal:
            self._write("")
        self._stream.flush()

    def _count(self) -> str:
        head = f"{self._name}: " if self._name else ""
        done, total = self._earlier + self._done, self._earlier + self._total
        return f"{head}{done:,.0f} of {total:,.0f} {self._what}"

    def _write(self, line: str) -> None:
        if self._quiet:
            return
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
