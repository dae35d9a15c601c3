"""A real server in a process of its own, on a free port of this machine."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def live_server() -> Iterator[str]:
    """Start ``tinyrerank serve``, wait until it is ready, yield its address, and stop it."""
    command = [sys.executable, "-m", "tinyrerank", "serve", "--port", "0", "--threads", "1"]
    with subprocess.Popen(  # noqa: S603 - this very interpreter
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield _address(process)
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr
    seen = ""
    for line in process.stderr:
        seen += line
        ready = re.search(r"ready in .* on (http://127\.0\.0\.1:\d+)", line)
        if ready:
            return ready[1]
    raise AssertionError(f"the server ended before it was ready: {seen}")


def complete_lines(log: Path) -> list[str]:
    """Lines of a server's log so far, without one that is still being written."""
    return log.read_text(encoding="utf-8").split("\n")[:-1]
