"""What goes wrong around requests: the engine, the process, the clock, the disk."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from serve_harness import BODY, Answer, Running, head, receive, server_fixture, serving, until

server = server_fixture

# The server with an engine that does what a document asks for: the word ``boom`` in it makes the engine
# raise, ``nan`` makes its logit NaN, ``die`` kills the engine's thread.
_FAULTY = """
import os, sys, threading, time
import numpy as np
from tinyrerank import Reranker
from tinyrerank.serve.models import Models, ServedModel
from tinyrerank.serve.server import listen, run_worker
from tinyrerank.serve.settings import Settings
from tokenizers import Tokenizer
port = int(sys.argv[2]); folder = sys.argv[6].partition("=")[2]
inner = Reranker(folder, threads=1)
tokenizer = Tokenizer.from_file(folder + "/tokenizer.json")
words = {word: tokenizer.encode(word, add_special_tokens=False).ids for word in ("boom", "nan", "die")}
class Faulty:
    name, max_length = inner.engine.name, inner.engine.max_length
    def score(self, ids, cu):
        logits = inner.engine.score(ids, cu)
        for i in range(len(cu) - 1):
            text = ",".join(map(str, ids[cu[i]:cu[i + 1]].tolist()))
            has = {word for word, found in words.items() if ",".join(map(str, found)) in text}
            if "boom" in has:
                raise RuntimeError("boom at /secret/path")
            if "nan" in has:
                logits[i] = np.nan
            if "die" in has:
                raise SystemExit("the thread dies")
        return logits
    def close(self):
        inner.close()
settings = Settings(port=port, models=("tiny=x",), threads=1, cache_entries=0)
models = Models([ServedModel("tiny", Reranker(folder, engine=Faulty()), 0)], [])
with listen(settings) as listener:
    sys.exit(run_worker(settings, models, listener, threads=1))
"""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Any:
    with serving(tmp_path_factory.mktemp("faulty"), tiny_folder, program=_FAULTY) as running:
        yield running


@pytest.mark.parametrize("word", ["boom", "nan", "die"])
def test_an_engine_that_fails_on_a_document_costs_that_document_alone(word: str, faulty: Running) -> None:
    before = faulty.scores()
    answer = faulty.post({**BODY, "documents": [*BODY["documents"], f"the moon {word} sea"]})
    if word == "die":  # the thread's whole batch is lost; it is said, and nothing hangs
        assert answer.status in {200, 500}
    else:
        assert answer.status == 200
        by_index = {hit["index"]: hit for hit in answer.body["results"]}
        assert [by_index[i]["relevance_score"] for i in range(3)] == before
        assert "engine_failed" in by_index[3]["error"]
        assert answer.body["results"][-1]["index"] == 3
    assert "/secret/path" not in json.dumps(answer.body)
    assert faulty.scores() == before


def test_an_engine_that_fails_on_everything_is_a_500_with_words(faulty: Running) -> None:
    answer = faulty.post({"query": "q", "documents": ["boom"]})
    assert answer.status == 500
    assert "engine" in answer.body["detail"]
    assert "boom at" not in json.dumps(answer.body)
    assert faulty.scores(), "the next request is answered"
    assert faulty.request("GET", "/ready").status == 200


def test_neighbours_of_a_failing_request_get_their_scores(faulty: Running) -> None:
    before = faulty.scores()
    answers: list[Answer] = []

    def send(word: str) -> None:
        answers.append(faulty.post({**BODY, "documents": [*BODY["documents"], word]}))

    threads = [threading.Thread(target=send, args=(word,)) for word in ("boom", "fine", "nan", "fine") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 12
    for answer in answers:
        by_index = {hit["index"]: hit["relevance_score"] for hit in answer.body["results"]}
        assert [by_index[i] for i in range(3)] == before


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path, tiny_folder: Path) -> None:
    with serving(tmp_path, tiny_folder, "--workers", "2") as server:
        expected = server.scores()
        workers = _children(server.process.pid)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: set(_children(server.process.pid)) - set(workers), "a new worker")
        until(lambda: len(_children(server.process.pid)) == 2, "two workers again")
        assert all(server.scores() == expected for _ in range(10))


def _children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
    return [int(each) for each in text.split()]


def test_sigterm_lets_a_running_request_finish(tmp_path: Path, tiny_folder: Path) -> None:
    with serving(tmp_path, tiny_folder, "--batch-tokens", "512") as server:
        answer = _answer_across_sigterm(server, n=300, wait_for_pairs=5)
    assert answer.status == 200
    assert len(answer.body["results"]) == 300


def test_what_does_not_finish_in_time_is_answered_with_an_error(tmp_path: Path, tiny_folder: Path) -> None:
    with serving(tmp_path, tiny_folder, "--drain-s", "0.2", "--batch-tokens", "512") as server:
        answer = _answer_across_sigterm(server, n=9000, wait_for_pairs=5)
    assert answer.status == 503
    assert "stopping" in answer.body["detail"]


def test_a_body_that_is_still_coming_at_the_end_is_answered_with_an_error(
    tmp_path: Path, tiny_folder: Path
) -> None:
    body = json.dumps({"query": "tide", "documents": [f"{i} " + "moon " * 200 for i in range(5000)]}).encode()
    with serving(tmp_path, tiny_folder, "--drain-s", "0.2") as server, server.connect() as connection:
        connection.sendall(head(len(body)) + body[:1000])
        assert server.request("GET", "/live").status == 200, "so the connection before was accepted, too"
        server.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in server.log.read_text(), "the server stops")
        connection.sendall(body[1000:])
        answer = receive(connection)
        assert server.process.wait(30) == 0
    assert answer is not None
    assert answer.status == 503
    assert "stopping" in answer.body["detail"]


def _answer_across_sigterm(server: Running, *, n: int, wait_for_pairs: int) -> Answer:
    """Send n documents, SIGTERM when so many were computed, and wait for answer and end."""
    found: list[Answer] = []
    text = "moon sea " * 100
    big = {"query": "tide", "documents": [f"{i} {text}" for i in range(n)]}
    thread = threading.Thread(target=lambda: found.append(server.post(big)))
    thread.start()
    until(lambda: server.metric('tinyrerank_computed_pairs_total{model="tiny"}') > wait_for_pairs, "work")
    server.process.send_signal(signal.SIGTERM)
    thread.join()
    assert server.process.wait(30) == 0
    return found[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_full_disk_under_the_log_costs_lines_not_requests(
    log_format: str, tmp_path: Path, tiny_folder: Path
) -> None:
    with Path("/dev/full").open("wb") as full:
        flags = ("--log-format", log_format, "--log-level", "debug")
        with serving(tmp_path, tiny_folder, *flags, stderr=full) as server:
            assert [server.post().status for _ in range(20)] == [200] * 20
            assert server.post(b"{").status == 400


def test_a_log_that_nobody_reads_holds_up_no_request(tmp_path: Path, tiny_folder: Path) -> None:
    read, write = os.pipe()
    try:
        with os.fdopen(write, "wb") as pipe:
            flags = ("--log-level", "debug")
            with serving(tmp_path, tiny_folder, *flags, stderr=pipe) as server:
                with server.connect() as connection:
                    connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
                    received = b""
                    while received.count(b"HTTP/1.1 404") < 400:
                        received += connection.recv(65536)
                assert server.post().status == 200
                drained = threading.Thread(target=_drain, args=(read,), daemon=True)
                drained.start()
    finally:
        os.close(read)


def _drain(descriptor: int) -> None:
    while True:
        try:
            if not os.read(descriptor, 65536):
                return
        except OSError:
            return


# The server, with a wall clock that jumps a day on every look, back and forth.
_JUMPING = """
import itertools, sys, time
real, jumps = time.time, itertools.cycle((0.0, 86_400.0, -86_400.0))
time.time = lambda: real() + next(jumps)
from tinyrerank.cli import main
sys.exit(main(["serve", *sys.argv[1:]]))
"""


def test_a_clock_that_jumps_changes_no_answer(tmp_path: Path, tiny_folder: Path, server: Running) -> None:
    with serving(tmp_path, tiny_folder, program=_JUMPING) as jumping:
        for _ in range(5):
            assert jumping.scores() == server.scores()
        answer = jumping.post({**BODY, "deadline_ms": 20_000})
        assert answer.status == 200
        assert not any("error" in hit for hit in answer.body["results"])


def test_a_deadline_that_cannot_be_kept_is_said_at_once(server: Running) -> None:
    big = {"query": "tide", "documents": [f"{i} " + "moon " * 40 for i in range(800)], "deadline_ms": 1}
    answer = server.post(big)
    assert answer.status in {200, 504}
    if answer.status == 200:
        late = [hit for hit in answer.body["results"] if "error" in hit]
        assert late
        assert [hit["index"] for hit in late] == sorted(hit["index"] for hit in late)


def test_a_full_queue_refuses_with_a_time_to_come_back(tmp_path: Path, tiny_folder: Path) -> None:
    flags = ("--max-queue-tokens", "2000", "--batch-tokens", "256", "--cache-entries", "0")
    with serving(tmp_path, tiny_folder, *flags) as server:
        expected = server.scores()
        answers: list[Answer] = []

        def send(i: int) -> None:
            documents = [f"{i} {j} " + "moon sea " * 40 for j in range(20)]
            answers.append(server.post({"query": "tide", "documents": documents}))

        threads = [threading.Thread(target=send, args=(i,)) for i in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        refused = [answer for answer in answers if answer.status == 429]
        assert {answer.status for answer in answers} == {200, 429}
        assert all(1 <= int(answer.headers["retry-after"]) <= 600 for answer in refused)
        assert all(len(answer.body["results"]) == 20 for answer in answers if answer.status == 200)
        assert server.scores() == expected
