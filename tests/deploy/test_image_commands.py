"""The commands of the Dockerfile's build stage, run as they stand in a folder of their own; no engine.

What this shows: that the files which the stage copies are enough to build and install the package, and that
what the image would start serves. What it cannot show: the base image, and the file system of the result.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
#: Folders of the image that lie under the test's own.
FOLDERS = ("/src", "/wheels", "/opt/tinyrerank")
BODY = {"query": "why are there tides?", "documents": ["yeast makes gas", "the moon pulls the sea"]}


def instructions(stage: str) -> list[tuple[str, str]]:
    """Instructions of one stage, with lines joined."""
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text(encoding="utf-8"))
    found, inside = [], False
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            inside = rest.endswith(f" AS {stage}")
        elif inside and word and not word.startswith("#"):
            found.append((word, rest))
    return found


def moved(command: str, box: Path) -> str:
    """A command of the image whose folders lie in the box."""
    for folder in FOLDERS:
        command = re.sub(rf"(?<![\w.]){folder}(?!\w)", f"{box}{folder}", command)
    return re.sub(r"(?<=&& )python(?= -m venv)", sys.executable, command)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++, as the image installs it")
def test_the_commands_of_the_build_stage_make_a_server_that_answers(tmp_path: Path) -> None:
    source = tmp_path / "src"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    for word, rest in instructions("build"):
        if word == "COPY":
            *names, target = rest.split()
            to = source / target
            for name in names:
                skip = shutil.ignore_patterns("__pycache__", "*.so")  # as Dockerfile.dockerignore
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, to, ignore=skip)
                else:
                    to.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / name, to)
        elif word == "RUN" and "apt-get" not in rest:
            subprocess.run(["/bin/sh", "-ec", moved(rest, tmp_path)], cwd=source, env=environment, check=True)  # noqa: S603
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    entry, arguments = (json.loads(dict(instructions("base"))[word]) for word in ("ENTRYPOINT", "CMD"))
    program = tmp_path / "opt/tinyrerank/bin" / entry[0]
    server = subprocess.Popen([program, *arguments, "--port", str(port)], cwd=tmp_path, env=environment)  # noqa: S603
    try:
        until_ready(server, port)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/rerank",
            json.dumps(BODY).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
            results = json.loads(answer.read())["results"]
        assert results[0]["index"] == 1
        assert answer.headers["x-tinyrerank-engine"] == "native"
    finally:
        server.terminate()
        assert server.wait(60) == 0


def until_ready(server: subprocess.Popen[bytes], port: int) -> None:
    """Wait for ``/health``, as the image's own check asks."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert server.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=4).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    pytest.fail("the server was not ready in a minute")
