"""The contract of a SageMaker container, against the process itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from serve_harness import BODY, PATIENCE_S, Running, free_port, until


def _ping(running: Running) -> bool:
    try:
        return running.request("GET", "/ping").status == 200
    except OSError:
        return False


def test_serve_answers_as_the_service_expects_and_ends_on_sigterm(tmp_path: Path, tiny_folder: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    environment = {
        **os.environ,
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "TINYRERANK_SAGEMAKER": "true",
        "TINYRERANK_MODELS": f"tiny={tiny_folder}",
        "TINYRERANK_API_KEYS": "a-key-that-no-caller-of-the-service-has",
        "TINYRERANK_THREADS": "1",
    }
    with log.open("wb") as file:
        command = [sys.executable, "-m", "tinyrerank", "serve"]
        process = subprocess.Popen(command, stderr=file, env=environment)  # noqa: S603 - our own interpreter
    running = Running(process, port, log)
    try:
        until(lambda: process.poll() is not None or _ping(running), "ping is 200")
        assert process.poll() is None, log.read_text()
        ping = running.request("GET", "/ping")
        assert (ping.status, ping.body) == (200, "")
        signature = {"Authorization": "AWS4-HMAC-SHA256 Credential=none"}
        answer = running.post(BODY, "/invocations", signature)
        assert answer.status == 200
        assert "documents=3" in answer.headers["x-amzn-sagemaker-custom-attributes"]
        pairs = [[BODY["query"], text] for text in BODY["documents"]]
        scores = running.post({"text_pairs": pairs}, "/invocations").body["scores"]
        ordered = sorted(answer.body["results"], key=lambda hit: hit["index"])
        assert scores == [hit["relevance_score"] for hit in ordered]
        assert running.post(BODY).status == 401, "the other paths keep their lock"
        assert running.request("POST", "/invocations", b"{").status == 400
        wanted = {"query": "q", "documents": ["d"] * 3}
        lines = "\n".join([json.dumps(wanted)] * 5)
        batch = running.request(
            "POST", "/invocations", lines.encode(), {"Content-Type": "application/jsonlines"}
        )
        assert len(str(batch.body).splitlines()) == 5
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
