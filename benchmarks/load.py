"""The server under load: throughput, refusals and latency at 50, 80, 100 and 200 % of what the engine can do.

    python benchmarks/load.py --threads 2 --seconds 90 --out docs/results      # levels, about 8 minutes
    python benchmarks/load.py --baseline --threads 2 --out docs/results        # side by side, 12 minutes

The generator is our own (``openloop.py``): open loop, Poisson arrivals, seeded. Capacity is what the engine
alone computes of the same requests, tokenized beforehand, in full batches: tokens per second. Requests have 5
to 200 passages of the sample corpus; the score cache is off. All runs on one machine, generator included.

With ``--baseline`` the server and ``baseline_server.py``, on the same weights, climb the same ladder of rates
until their p99 passes a limit; the highest rate below it is what counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openloop import MARK, Shot, fire, summary

HERE = Path(__file__).resolve().parent
CORPUS = HERE.parent / "examples" / "corpus"
LEVELS = (0.5, 0.8, 1.0, 2.0)
SIZES = {5: 0.25, 20: 0.35, 50: 0.25, 100: 0.10, 200: 0.05}
WARMUP_S = 5.0
N_SHOTS = 200
LADDER = 1.25

_ALONE = """
import json, sys, time
from tinyrerank import Reranker
requests, model, threads, batch, seconds = json.loads(sys.stdin.read())
reranker = Reranker(model, threads=threads)
tokens = [reranker.rank(query, documents).timings.tokens for query, documents in requests]
encoder = reranker.encoder()
pairs = [pair for query, documents in requests for pair in encoder.encode([(query, d) for d in documents])]
packs, chunk, size = [], [], 0
for pair in pairs:
    n = sum(len(piece) for piece in pair.pieces) + len(pair.pieces) * (len(pair.head.ids) + 1)
    if size + n > batch and chunk:
        packs += encoder.pack(chunk, max_tokens=65536); chunk, size = [], 0
    chunk.append(pair); size += n
packs += encoder.pack(chunk, max_tokens=65536)
def rate(work):
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        done += work()
    return done / spent
state = {"i": 0}
def engine():
    pack = packs[state["i"] % len(packs)]; state["i"] += 1
    reranker.engine.score(pack.ids, pack.cu_seqlens); return len(pack.ids)
def library():
    i = state["i"] % len(requests); state["i"] += 1
    reranker.rank(*requests[i]); return tokens[i]
print(json.dumps({"tokens": tokens, "engine_tokens_per_s": rate(engine),
                  "library_tokens_per_s": rate(library),
                  "engine": reranker.engine.name}))
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write JSON and a plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="model folder (default: the embedded one)")
    parser.add_argument("--threads", type=int, default=2, help="of the engine (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=90.0, help="of each level (default: %(default)s)")
    parser.add_argument("--queue-s", type=float, default=4.0, help="seconds of work that may wait")
    parser.add_argument("--limit-s", type=float, default=2.0, help="p99 limit of --baseline")
    parser.add_argument("--baseline", action="store_true", help="climb the ladder, beside the plain server")
    parser.add_argument("--requests", type=int, default=N_SHOTS, help="different requests")
    parser.add_argument("--alone-s", type=float, default=15.0, help="seconds to measure the engine alone")
    parser.add_argument("--out", type=Path, help="folder for load.json and load.png")
    args = parser.parse_args(argv)
    requests = make_requests(args.requests)
    alone = engine_alone(requests, args)
    shots = [shot(*request, n) for request, n in zip(requests, alone.pop("tokens"), strict=True)]
    mean_tokens = sum(each.tokens for each in shots) / len(shots)
    capacity = alone["engine_tokens_per_s"] / mean_tokens
    facts = {
        "machine": {"cpu": cpu(), "cores": os.cpu_count(), "python": platform.python_version()},
        "threads": args.threads,
        "alone": alone,
        "mean_tokens_per_request": mean_tokens,
        "mean_documents_per_request": sum(each.documents for each in shots) / len(shots),
        "capacity_requests_per_s": capacity,
        "queue_s": args.queue_s,
    }
    print(json.dumps(facts, indent=1), file=sys.stderr)
    queue = int(args.queue_s * alone["engine_tokens_per_s"])
    if args.baseline:
        result = {**facts, "limit_s": args.limit_s, "ladders": side_by_side(args, shots, capacity, queue)}
    else:
        result = {**facts, "max_queue_tokens": queue, "levels": levels(args, shots, capacity, queue)}
    print(json.dumps(result, indent=1))
    if args.out:
        write(args.out, result)
    return 0


def make_requests(n: int) -> list[tuple[str, list[str]]]:
    """Queries and passages of the sample corpus, from a seed, in the mix of sizes.

    A server may compute equal pairs that wait together once, so every passage ends with a number of its own,
    and every query with a mark that turns into a number when it is sent.
    """
    titles, passages = [], []
    for path in sorted(CORPUS.glob("*.md")):
        for part in path.read_text(encoding="utf-8").split("\n## ")[1:]:
            title, _, text = part.partition("\n")
            titles.append(title.strip())
            passages.append(" ".join(text.split()))
    rng = random.Random(7)
    found = []
    for _ in range(n):
        size = rng.choices(list(SIZES), list(SIZES.values()))[0]
        texts = [f"{text} {rng.randrange(10**9)}" for text in rng.choices(passages, k=size)]
        found.append((f"{rng.choice(titles)}? {MARK.decode()}", texts))
    return found


def shot(query: str, documents: list[str], tokens: int) -> Shot:
    """A request as bytes."""
    body = json.dumps({"query": query, "documents": documents, "return_documents": False}).encode()
    head = "POST /v1/rerank HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return Shot(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body, len(documents), tokens)


def engine_alone(requests: list[tuple[str, list[str]]], args: argparse.Namespace) -> dict[str, Any]:
    """Tokens per second of the engine and of the library, in a process of its own; tokens of each request."""
    sent = json.dumps([requests, args.model, args.threads, 8192, args.alone_s])
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", _ALONE], input=sent, capture_output=True, text=True, check=True
    )
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def levels(args: argparse.Namespace, shots: list[Shot], capacity: float, queue: int) -> list[dict[str, Any]]:
    """Every level against a server of its own."""
    found = []
    for level in LEVELS:
        with ours(args, queue) as port:
            landed = asyncio.run(fire(port, shots, level * capacity, args.seconds, seed=int(level * 100)))
        result = {"level": level, **summary(landed, args.seconds, WARMUP_S)}
        print(f"{level:.0%}: {json.dumps(result)}", file=sys.stderr)
        found.append(result)
    return found


def side_by_side(
    args: argparse.Namespace, shots: list[Shot], capacity: float, queue: int
) -> dict[str, list[dict[str, Any]]]:
    """Both servers up the same ladder."""
    seconds = min(args.seconds, 30.0)
    with tempfile.TemporaryDirectory() as folder:
        box = Path(folder)
        found: dict[str, list[dict[str, Any]]] = {}
        for name in ("tinyrerank", "baseline fp32", "baseline int8"):
            rungs: list[dict[str, Any]] = []
            rate = 0.15 * capacity
            while rate < 1.5 * capacity:
                server = ours(args, queue) if name == "tinyrerank" else plain(box, name, args)
                with server as port:
                    landed = asyncio.run(fire(port, shots, rate, seconds, seed=11))
                rungs.append({"rate": rate, **summary(landed, seconds, WARMUP_S)})
                print(f"{name} at {rate:.2f}/s: {json.dumps(rungs[-1])}", file=sys.stderr)
                p99 = rungs[-1]["latency_s"]["p99"]
                if (p99 is not None and p99 > args.limit_s) or set(rungs[-1]["statuses"]) - {200}:
                    break
                rate *= LADDER
            found[name] = rungs
    return found


def ours(args: argparse.Namespace, queue: int) -> Any:  # noqa: ANN401 - a context manager that gives a port
    """``tinyrerank serve`` with the score cache off."""
    settings = {
        "threads": args.threads,
        "cache-entries": 0,
        "max-queue-tokens": queue,
        "log-level": "warning",
    }
    flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    if args.model:
        flags += ["--models", f"model={args.model}"]
    return serving([sys.executable, "-m", "tinyrerank", "serve", *flags])


def plain(box: Path, name: str, args: argparse.Namespace) -> Any:  # noqa: ANN401 - a context manager that gives a port
    """The baseline on the graph of the same weights."""
    from tinyrerank.bench.peer_graph import prepare_graph, prepare_onnx_int8
    from tinyrerank.model.hub import resolve_model

    folder = resolve_model(args.model)
    graph = box / f"{name.rsplit(maxsplit=1)[-1]}.onnx"
    (prepare_onnx_int8 if name.endswith("int8") else prepare_graph)(folder, graph)
    tokenizer = str(folder / "tokenizer.json")
    command = [sys.executable, str(HERE / "baseline_server.py"), str(graph), tokenizer]
    return serving([*command, "--threads", str(args.threads)])


@contextmanager
def serving(command: list[str]) -> Iterator[int]:
    """A server on a free loopback port, ready and warm."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL)  # noqa: S603 - ours
    try:
        for _ in range(1200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None:
                    raise RuntimeError(f"{command} ended") from None
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def cpu() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def write(folder: Path, result: dict[str, Any]) -> None:
    """The numbers, a plot and a table."""
    import load_plot

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("load.json" if "levels" in result else "load-baseline.json")
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    load_plot.write(result, path)


if __name__ == "__main__":
    sys.exit(main())
