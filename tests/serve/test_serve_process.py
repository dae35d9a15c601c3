"""``tinyrerank serve`` as a process: start, signals, workers, logs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from live_server import complete_lines
from tinyrerank.cli import main
from tinyrerank.errors import DataError, InputError
from tinyrerank.serve.auth import load_keys
from tinyrerank.serve.settings import Settings

GOOD = {"query": "q", "documents": ["a", "b"]}
PATIENCE_S = 60.0


class Process:
    """A server process; its log goes to a file."""

    def __init__(self, folder: Path, log: Path, *flags: str) -> None:
        self.log = log
        command = [
            sys.executable,
            "-m",
            "tinyrerank",
            "serve",
            "--models",
            f"m={folder}",
            "--port",
            "0",
            *flags,
        ]
        with log.open("w") as stderr:
            self.process = subprocess.Popen([*command, "--threads", "1"], stderr=stderr)  # noqa: S603

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in complete_lines(self.log) if line.startswith("{")]

    def url(self, workers: int = 1) -> str:
        def ready() -> list[str]:
            assert self.process.poll() is None, self.log.read_text()
            return re.findall(r"http://127\.0\.0\.1:\d+", self.log.read_text())

        until(lambda: len(ready()) >= workers)
        return ready()[0]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@contextlib.contextmanager
def running(folder: Path, log: Path, *flags: str) -> Iterator[Process]:
    server = Process(folder, log, *flags)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_good_order(tiny_folder: Path, tmp_path: Path, number: int) -> None:
    with running(tiny_folder, tmp_path / "log") as server:
        assert httpx.post(f"{server.url()}/v1/rerank", json=GOOD).status_code == 200
        assert server.stop(number) == 0
        messages = [record["message"] for record in server.records()]
        assert any(message.startswith("ready in") for message in messages)
        assert messages.count("request") == 1
        assert "stopped" in messages
        assert "Traceback" not in server.log.read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk at hand")
def test_a_full_disk_costs_log_lines_and_nothing_else(tiny_folder: Path, tmp_path: Path) -> None:
    with running(tiny_folder, tmp_path / "log") as server:
        port = server.url().rsplit(":", 1)[1]
        assert server.stop() == 0
    flags = ["--models", f"m={tiny_folder}", "--port", port, "--threads", "1"]
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "tinyrerank", "serve", *flags]
        process = subprocess.Popen(command, stderr=full)  # noqa: S603
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:

            def answers() -> bool:
                with contextlib.suppress(httpx.ConnectError):
                    return client.post("/v1/rerank", json=GOOD).status_code == 200
                return False

            until(answers)
            assert answers()
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_killed_worker_is_replaced_and_all_workers_are_counted(tiny_folder: Path, tmp_path: Path) -> None:
    with running(tiny_folder, tmp_path / "log", "--workers", "2") as server:
        url = server.url(workers=2)

        def children() -> list[int]:
            path = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
            return [int(pid) for pid in path.read_text().split()]

        before = children()
        assert len(before) == 2
        for _ in range(6):
            assert httpx.post(f"{url}/v1/rerank", json=GOOD).status_code == 200
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(re.findall("ready in", server.log.read_text())) == 3)
        assert before[0] not in children()
        assert len(children()) == 2
        for _ in range(4):
            assert httpx.post(f"{url}/v1/rerank", json=GOOD).status_code == 200
        text = httpx.get(f"{url}/metrics").text
        assert 'tinyrerank_requests_total{dialect="jina",status="200"} 10.0' in text
        assert "tinyrerank_ready 2.0" in text
        assert "started anew" in server.log.read_text()
        assert server.stop() == 0


def test_a_new_key_lets_its_owner_in_and_stands_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--new-key", "team-a"]) == 0
    key, line = (text.rsplit(" ", 1)[1] for text in capsys.readouterr().out.splitlines())
    assert key not in line
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n{line}\n")
    keys = load_keys(Settings(api_keys_file=file))
    assert keys.owner([f"Bearer {key}"]) == "team-a"
    assert main(["serve", "--new-key", "a b"]) == InputError.exit_code


@pytest.mark.parametrize("text", ["plain-key", "a:123", "", "# nothing", f"a:{'0' * 64}\na:{'1' * 64}"])
def test_a_file_with_anything_but_hashed_keys_is_refused_without_showing_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_folder: Path, text: str
) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    code = main(["serve", "--models", f"m={tiny_folder}", "--port", "0", "--api-keys-file", str(file)])
    assert code in {DataError.exit_code, InputError.exit_code}
    error = capsys.readouterr().err
    assert str(file) in error or "two API keys" in error
    assert "plain-key" not in error


@pytest.mark.parametrize(
    "flags",
    [
        ["--models", "nothing"],
        ["--models", "a=/does/not/exist"],
        ["--models", "tinyrerank-tiny-en", "--aliases", "x=y"],
        ["--models", "tinyrerank-tiny-en", "--host", "256.1.1.1"],
        ["--tls-cert", "cert.pem"],
        ["--port", "many"],
        ["--config", "/does/not/exist"],
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *flags]) in range(2, 8)
    error = capsys.readouterr().err
    assert error.startswith("tinyrerank: error:")
    assert error.count("\n") == 1
