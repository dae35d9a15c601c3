"""How many threads to use: what the process may really run on, not what the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tinyrerank.errors import InputError


def usable_cpus(root: Path = Path("/")) -> int:
    """CPUs this process may use at once: its affinity mask, cut to the quota of its control groups.

    Reads cgroup v2 ``cpu.max`` and v1 ``cpu.cfs_quota_us``, of the process's own group and all groups above
    it. A fraction of a CPU is rounded down (but never to 0), since a thread that is throttled half of the
    time holds up the others.

    Args:
        root: where ``/proc`` and ``/sys`` are; tests give a folder of their own.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cpus, *(int(quota) for quota in _quotas(root))]))


def thread_count(threads: int | None) -> int:
    """The caller's thread count, or :func:`usable_cpus` for None.

    Raises:
        InputError: ``threads`` is below 1.
    """
    if threads is None:
        return usable_cpus()
    if threads < 1:
        raise InputError(f"threads is {threads}; give 1 or more, or None for all usable CPUs")
    return threads


def _quotas(root: Path) -> Iterator[float]:
    """CPU quotas that apply to this process, in CPUs; nothing where there is none or it cannot be read."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        mounts = ["sys/fs/cgroup", "sys/fs/cgroup/unified"] if not controllers else []
        if "cpu" in controllers.split(","):
            mounts = ["sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"]
        path = PurePosixPath(group.lstrip("/"))
        for mount in mounts:
            for level in (path, *path.parents):
                quota = _quota(root / mount / level)
                if quota is not None:
                    yield quota


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            allowed, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            allowed = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        return int(allowed) / int(period) if allowed not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
