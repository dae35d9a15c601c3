"""Run every database example whose library is installed, and print one table.

    python examples/databases/all_databases.py data/nfcorpus --queries 40

Takes the arguments of each example (see common.py) and hands them on.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """The number of examples that failed."""
    print("| database | NDCG@10 before | after |\n| --- | --- | --- |")
    failed = 0
    for script in sorted(Path(__file__).parent.glob("with_*.py")):
        command = [sys.executable, str(script), *sys.argv[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
        figures = re.findall(r"^NDCG@10 \w+ +([\d.]+)$", done.stdout, re.MULTILINE)
        if done.returncode == 0:
            name = done.stdout.partition(":")[0]
            print(f"| {name} | {figures[0]} | {figures[1]} |", flush=True)
        else:
            failed += 1
            reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
            print(f"{script.stem.removeprefix('with_')}: {reason}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
