"""Hold the server against its own OpenAPI document with schemathesis: no undeclared status, no 500.

    python conformance/openapi.py --venvs DIR --examples 30

Every operation is tried with boundary values and random bodies, valid and invalid ones; answers must have a
declared status, the declared media type and the declared shape. 503 and 504 are answers like others here: a
random body may well ask for a deadline of one millisecond.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from run import HERE, environment, serving

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)
_CONFIG = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503, 504]
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run schemathesis; its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--venvs", type=Path, default=HERE.parent / "build" / "conformance", help="folder of the environments"
    )
    parser.add_argument("--examples", type=int, default=30, help="random bodies an operation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of the server's engine")
    parser.add_argument("--path", help="one path only")
    args = parser.parse_args(argv)
    tool = environment(args.venvs, "openapi").parent / "schemathesis"
    with tempfile.TemporaryDirectory() as folder:
        box = Path(folder)
        with serving(box, "open", "serve", "--threads", str(args.threads), "--max-length", "512") as port:
            url = f"http://127.0.0.1:{port}"
            with urllib.request.urlopen(f"{url}/openapi.json", timeout=10) as answer:  # noqa: S310 - loopback
                n = sum(len(each) for each in json.load(answer)["paths"].values())
            print(f"{n} operations", file=sys.stderr)
            (box / "schemathesis.toml").write_text(_CONFIG, encoding="utf-8")
            command = [str(tool), "--config-file", "schemathesis.toml", "run", f"{url}/openapi.json"]
            command += ["--checks", ",".join(CHECKS)]
            command += ["--max-examples", str(args.examples), "--seed", str(args.seed)]
            command += ["--phases", "examples,coverage,fuzzing", "--generation-database", "none"]
            command += ["--request-timeout", "60", "--continue-on-failure", "--no-color"]
            command += ["--include-path", args.path] if args.path else []
            done = subprocess.run(command, check=False, cwd=box)  # noqa: S603 - our own environment
            with urllib.request.urlopen(f"{url}/ready", timeout=30) as answer:  # noqa: S310 - loopback
                alive = answer.status == 200
    return done.returncode or not alive


if __name__ == "__main__":
    sys.exit(main())
