"""Progress on standard error, with the time left reckoned from what this run has measured itself."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_LINE_SECONDS = 15.0
_TERMINAL_SECONDS = 0.2


class Progress:
    """Counts work done against work planned; work is in characters that a model has to read.

    Kept scores cost nothing and say nothing about speed, so they shrink what is left without raising the
    rate. On a terminal one line is rewritten; elsewhere a new line comes every 15 seconds.

    Args:
        work: characters planned in all.
        stream: where to write, standard error when None.
        quiet: write nothing.
    """

    def __init__(self, work: int, *, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._left = work
        self._fresh = 0
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._terminal = self._stream.isatty()
        self._start = self._shown = time.monotonic()
        self._width = 0

    def advance(self, work: int, *, fresh: bool, label: str) -> None:
        """Some work is done; ``fresh`` when it was computed just now."""
        self._left -= work
        self._fresh += work if fresh else 0
        now = time.monotonic()
        if fresh and now - self._shown >= (_TERMINAL_SECONDS if self._terminal else _LINE_SECONDS):
            self._shown = now
            self._write(f"{label}, {self.left(now - self._start)}")

    def left(self, elapsed: float) -> str:
        """Time left in words, at the rate of the ``elapsed`` seconds of this run.

        Example:
            >>> progress = Progress(100, quiet=True)
            >>> progress.advance(25, fresh=True, label="")
            >>> progress.left(60.0)
            'about 3 min left'
        """
        if self._left <= 0:
            return "done"
        if self._fresh == 0:
            return "time left unknown yet"
        return f"about {in_words(elapsed * self._left / self._fresh)} left"

    def close(self) -> None:
        """Clear the line on a terminal."""
        if self._terminal:
            self._write("")
            self._stream.write("\r")

    def _write(self, text: str) -> None:
        if self._quiet:
            return
        if self._terminal:
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


def in_words(seconds: float) -> str:
    """A duration for people.

    Example:
        >>> in_words(42.4), in_words(600), in_words(5400)
        ('42 s', '10 min', '1.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
