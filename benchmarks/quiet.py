"""Was the machine quiet? What else took its CPUs while something was measured; known on Linux only."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

#: Share of all CPUs that may go to others in a run that counts.
ALLOWED = 0.03
_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


class Watch:
    """CPU time that went to others than some processes since it was made.

    Args:
        pids: processes whose time does not count, their threads included.
    """

    def __init__(self, pids: Sequence[int] = ()) -> None:
        self._pids = [os.getpid(), *pids]
        self._start = self._now()

    def others(self) -> float | None:
        """Share of all CPUs that others took, stolen time included; None where it cannot be known."""
        now = self._now()
        if now is None or self._start is None:
            return None
        busy, own, wall = (after - before for before, after in zip(self._start, now, strict=True))
        return max(0.0, (busy - own) / (wall * (os.cpu_count() or 1)))

    def _now(self) -> tuple[float, float, float] | None:
        """Seconds of CPU used by all, and by ours; seconds of the clock."""
        try:
            first = (_PROC / "stat").read_text(encoding="ascii").split("\n", 1)[0]
            user, nice, system, _, _, irq, softirq, steal = (int(ticks) for ticks in first.split()[1:9])
            own = sum(_process_ticks(pid) for pid in self._pids)
        except (OSError, ValueError):
            return None
        return (user + nice + system + irq + softirq + steal) / _TICKS, own / _TICKS, time.monotonic()


def _process_ticks(pid: int) -> int:
    """CPU time of a process and its threads; its name may hold anything, so fields are counted from there."""
    fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    user, system = fields.split()[11:13]
    return int(user) + int(system)


def idle_share(seconds: float = 2.0) -> float | None:
    """Share of all CPUs that others take while we do nothing."""
    watch = Watch()
    time.sleep(seconds)
    return watch.others()
