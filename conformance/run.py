"""Run unmodified clients against the server on loopback, and write down what happened.

    python conformance/run.py --venvs DIR            # DIR/a … DIR/d, made where they are missing
    python conformance/run.py --venvs DIR --only c   # one environment

Four environments hold the clients, since their pins collide. Three servers run: one with an API key, one that
is open, for clients that cannot send a key, and one whose queue is full. The results go to
``docs/results/conformance.json`` and ``docs/conformance.md``.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expected import write_expected
from report import write_report
from shim import Shim

HERE = Path(__file__).resolve().parent
MODEL = "jina-reranker-v1-tiny-en"
ENVIRONMENTS = {
    "a": (
        *("test_llamaindex", "test_haystack", "test_litellm", "test_cohere", "test_langchain"),
        *("test_rerankers", "test_lancedb", "test_redisvl", "test_pymilvus", "test_xinference"),
    ),
    "b": ("test_cohere", "test_voyageai", "test_redisvl"),
    "c": ("test_infinity",),
    "d": ("test_sagemaker",),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 0 if every test passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--venvs", type=Path, default=HERE.parent / "build" / "conformance", help="folder of the environments"
    )
    parser.add_argument("--only", choices=list(ENVIRONMENTS), action="append", help="environments to run")
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "docs", help="where the results are written"
    )
    parser.add_argument("--threads", type=int, help="threads of each server's engine")
    parser.add_argument("-k", dest="chosen", help="run only these tests, and write no results")
    args = parser.parse_args(argv)
    names = args.only or list(ENVIRONMENTS)
    pythons = {name: environment(args.venvs, name) for name in names}
    started = time.monotonic()
    outcomes: dict[str, list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        box = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_expected(box / "expected.json", threads=args.threads)
        settings = start(stack, box, args.threads)
        for name, python in pythons.items():
            outcomes[name] = run_tests(python, name, settings, box, args.chosen)
    lines = [{"environment": name, **line} for name, these in outcomes.items() for line in these]
    failed = [line for line in lines if line["outcome"] == "failed"]
    counts = f"{len(lines) - len(failed)} passed or skipped, {len(failed)} failed"
    print(f"{counts}, {time.monotonic() - started:.0f} s", file=sys.stderr)
    if args.chosen is None and args.only is None:
        facts = {
            "date": datetime.now(UTC).date().isoformat(),
            "python": platform.python_version(),
            "model": MODEL,
        }
        write_report(args.out, facts, lines)
    return 1 if failed or not lines else 0


def environment(folder: Path, name: str) -> Path:
    """The interpreter of an environment, which is made from its pinned requirements if it is not there."""
    python, unfinished = folder / name / "bin" / "python", folder / f"{name}.unfinished"
    if unfinished.exists() or not python.exists():
        print(f"making environment {name} in {folder / name}", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
        run = [sys.executable, "-m", "venv", str(folder / name)]
        subprocess.run(run, check=True)  # noqa: S603 - our own interpreter
        requirements = str(HERE / "requirements" / f"{name}.txt")
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", requirements], check=True)  # noqa: S603
        unfinished.unlink()
    return python


def start(stack: ExitStack, box: Path, threads: int | None) -> dict[str, str]:
    """Start the three servers and the shim; returns the environment variables of the tests."""
    key = secrets.token_urlsafe(16)
    more = ["--threads", str(threads)] if threads else []
    keyed = stack.enter_context(serving(box, "keyed", "serve", "--api-keys", key, *more))
    free = stack.enter_context(serving(box, "open", "serve", "--sagemaker", *more))
    full = stack.enter_context(serving(box, "full", *more))
    shim = stack.enter_context(Shim({"ready": free, "busy": full}))
    return {
        "CONFORMANCE_URL": f"http://127.0.0.1:{keyed}",
        "CONFORMANCE_OPEN_URL": f"http://127.0.0.1:{free}",
        "CONFORMANCE_BUSY_URL": f"http://127.0.0.1:{full}",
        "CONFORMANCE_SHIM_URL": shim.url,
        "CONFORMANCE_READY_PORT": str(free),
        "CONFORMANCE_BUSY_PORT": str(full),
        "CONFORMANCE_KEY": key,
        "CONFORMANCE_MODEL": MODEL,
        "CO_API_URL": f"http://127.0.0.1:{keyed}",
    }


@contextmanager
def serving(box: Path, name: str, *arguments: str) -> Iterator[int]:
    """A server on a free port, ready to answer; without arguments for ``serve``, the one that is full."""
    port = free_port()
    command = [sys.executable, "-m", "tinyrerank", *arguments, "--port", str(port)]
    if arguments[:1] != ("serve",):
        command = [sys.executable, str(HERE / "full_server.py"), str(port), *arguments]
    with (box / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - our own interpreter
    try:
        wait_until_ready(port, process, box / f"{name}.log")
        yield port
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path, limit_s: float = 120.0) -> None:
    """Return when the server listens; raise with its log when it ends or takes too long.

    A rerank request is enough of a sign, whatever its status; that of the full server must be refused.
    """
    end = time.monotonic() + limit_s
    wanted = 429 if log.stem == "full" else None
    while time.monotonic() < end and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
        try:
            body = json.dumps({"query": "ready?", "documents": [str(time.monotonic())]})
            connection.request("POST", "/v1/rerank", body, {"Content-Type": "application/json"})
            if wanted in {None, connection.getresponse().status}:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise RuntimeError(f"{log.stem}: not ready:\n{log.read_text(errors='replace')[-2000:]}")


def run_tests(
    python: Path, name: str, settings: dict[str, str], box: Path, chosen: str | None
) -> list[dict[str, Any]]:
    """Run the tests of one environment there; returns a line for each outcome."""
    out = box / f"{name}.jsonl"
    variables = {
        key: value
        for key, value in os.environ.items()
        if "proxy" not in key.lower() and key != "PYTHONPATH"  # the clients see no code of ours
    }
    variables |= settings | {
        "CONFORMANCE_OUT": str(out),
        "CONFORMANCE_EXPECTED": str(box / "expected.json"),
        "NO_PROXY": "127.0.0.1,localhost",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    files = [str(HERE / f"{file}.py") for file in ENVIRONMENTS[name]]
    more = ["-k", chosen] if chosen else []
    command = [str(python), "-m", "pytest", "-c", str(HERE / "pytest.ini"), *files, *more]
    subprocess.run(command, env=variables, cwd=HERE, check=False)  # noqa: S603 - our own tests
    if not out.exists():
        return []
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    sys.exit(main())
