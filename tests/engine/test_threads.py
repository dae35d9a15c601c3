"""The thread count follows what the process may really use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tinyrerank.engine.threads import thread_count, usable_cpus
from tinyrerank.errors import InputError


@pytest.fixture
def sixteen_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def machine(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    for name, content in {"proc/self/cgroup": cgroup, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.usefixtures("sixteen_cpus")
@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/\n", {}, 16),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 16),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "350000 100000\n"}, 3),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        (
            "0::/a/b\n",
            {"sys/fs/cgroup/a/cpu.max": "200000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 100000"},
            2,
        ),
        (
            "3:cpu,cpuacct:/pod\n0::/\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us": "400000",
                "sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_period_us": "100000",
            },
            4,
        ),
        (
            "3:cpu:/\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            16,
        ),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "nonsense"}, 16),
    ],
    ids=[
        "none",
        "v2 max",
        "v2 3.5",
        "v2 half",
        "v2 from the group above",
        "v1",
        "v1 unlimited",
        "unreadable",
    ],
)
def test_quotas_cut_the_affinity(tmp_path: Path, cgroup: str, files: dict[str, str], expected: int) -> None:
    assert usable_cpus(machine(tmp_path, cgroup, files)) == expected


def test_a_machine_without_control_groups_gives_its_affinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert usable_cpus(tmp_path) == 2


def test_the_callers_thread_count_wins() -> None:
    assert thread_count(7) == 7
    assert thread_count(None) == usable_cpus()


def test_no_threads_are_refused() -> None:
    with pytest.raises(InputError, match="threads is 0; give 1 or more"):
        thread_count(0)
