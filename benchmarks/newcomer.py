"""A newcomer's path, timed: from a clone to LlamaIndex answering with our postprocessor, by the docs alone.

    python benchmarks/newcomer.py --out docs/results/newcomer.json      # an idle machine with a network

Clones the last commit into an empty folder, with an empty home (no pip cache) and a fresh environment, and
runs what the pages say, as they say it: the README's first block, then every block of
docs/integrations/llama-index.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quiet import idle_share

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORK = Path("docs/integrations/llama-index.md")
OURS = ("PYTHONPATH", "VIRTUAL_ENV", "TINYRERANK_DATA")
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    """Walk the path and print (and write) what each step took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="file of the result")
    args = parser.parse_args(argv)
    result: dict[str, Any] = {"others_before": idle_share(), "steps": walk()}
    result["seconds"] = round(sum(step["seconds"] for step in result["steps"]), 1)
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def walk() -> list[dict[str, Any]]:
    """The steps in order, each with its seconds; stops at the first that fails."""
    steps: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="newcomer-") as box:
        home, clone = Path(box, "home"), Path(box, "clone")
        home.mkdir()
        keep = {name: value for name, value in os.environ.items() if name not in OURS}
        env = keep | {"HOME": str(home), "PATH": f"{box}/venv/bin:{os.environ['PATH']}"}

        def step(name: str, command: list[str], cwd: Path) -> None:
            print(f"newcomer: {name}", file=sys.stderr)
            start = time.monotonic()
            done = subprocess.run(  # noqa: S603 - what the pages say
                command, cwd=cwd, env=env, text=True, capture_output=True, check=False
            )
            steps.append({"step": name, "seconds": round(time.monotonic() - start, 1)})
            if done.returncode:
                raise SystemExit(f"newcomer: {name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
            steps[-1]["last_line"] = (done.stdout.strip().splitlines() or [""])[-1][:200]

        step("clone", ["git", "clone", "--quiet", str(ROOT), str(clone)], Path(box))
        step("environment", ["python3", "-m", "venv", f"{box}/venv"], Path(box))
        (_, first), *_ = BLOCK.findall((clone / "README.md").read_text(encoding="utf-8"))
        step("README, first block", ["bash", "-ec", first], clone)
        blocks = BLOCK.findall((clone / FRAMEWORK).read_text(encoding="utf-8"))
        install, code = ("".join(text for kind, text in blocks if kind == k) for k in ("bash", "python"))
        step(f"{FRAMEWORK}, install", ["bash", "-ec", install], clone)
        step(f"{FRAMEWORK}, code", ["python", "-c", code], clone)
    return steps


if __name__ == "__main__":
    raise SystemExit(main())
