"""The server under load: throughput, refusals and latency at 50, 80, 100 and 200 % of what the engine can do.

    python benchmarks/load.py --threads 2 --seconds 60 --out docs/results      # levels, 6 minutes
    python benchmarks/load.py --baseline --threads 2 --out docs/results        # side by side, 7 minutes

The generator is our own (``openloop.py``): open loop, Poisson arrivals, seeded. Capacity is what the engine
alone computes of the same requests, tokenized beforehand, in full batches: tokens per second, measured before
and after the levels. Requests have 5 to 200 passages of the sample corpus; the score cache is off. All of it
runs on one machine, generator included; what else took its CPUs is measured, and said, too.

With ``--baseline`` the server and ``baseline_server.py``, on the same weights, are driven at rates between
nothing and what they do at their fullest, to find the highest rate at which p99 stays under a limit and every
request is answered. ``--also 'NAME=COMMAND'`` adds another server; ``{port}`` in the command is its port.

With ``--out docs/results`` the results go into docs/robustness.md as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from openloop import MARK, Shot, fire, saturate, summary
from quiet import ALLOWED, Watch, idle_share

HERE = Path(__file__).resolve().parent
CORPUS = HERE.parent / "examples" / "corpus"
LEVELS = (0.5, 0.8, 1.0, 2.0)
SIZES = {5: 0.25, 20: 0.35, 50: 0.25, 100: 0.10, 200: 0.05}
WARMUP_S = 4.0
N_SHOTS = 200
BATCH_TOKENS = 8192
#: The search for the highest rate: shares of what the server does at its fullest, halved so many times.
SHARES, STEPS = (0.1, 1.0), 4
SATURATION_S = 8.0
START_S = 300.0

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
    n = sum(encoder.costs(pair))
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


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    port: int
    pid: int


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write JSON, a table and a plot; 1 if the machine was not quiet."""
    args = arguments(argv)
    before = idle_share()
    requests = make_requests(args.requests)
    alone = engine_alone(requests, args)
    shots = [shot(*request, n) for request, n in zip(requests, alone.pop("tokens"), strict=True)]
    mean_tokens = sum(each.tokens for each in shots) / len(shots)
    facts = {
        "machine": {"cpu": cpu(), "cores": os.cpu_count(), "python": platform.python_version()},
        "threads": args.threads,
        "alone": alone,
        "mean_tokens_per_request": mean_tokens,
        "mean_documents_per_request": sum(each.documents for each in shots) / len(shots),
        "capacity_requests_per_s": alone["engine_tokens_per_s"] / mean_tokens,
        "queue_s": args.queue_s,
        "batch_s": BATCH_TOKENS / alone["engine_tokens_per_s"],
    }
    print(json.dumps(facts, indent=1), file=sys.stderr)
    if args.baseline:
        servers = side_by_side(args, shots)
        result = {**facts, "seconds": args.rung_seconds, "limit_s": args.limit_s, "servers": servers}
        others = [rung["others"] for each in servers.values() for rung in each["rungs"]]
    else:
        runs = levels(args, shots, facts["capacity_requests_per_s"])
        again = engine_alone(requests, args)
        alone["engine_tokens_per_s_after"] = again["engine_tokens_per_s"]
        result = {**facts, "seconds": args.seconds, "levels": runs}
        others = [level["others"] for level in runs]
    result["quiet"] = quiet(before, others, alone)
    print(json.dumps(result, indent=1))
    print("\n".join([result["quiet"]["verdict"], *verdicts(result)]), file=sys.stderr)
    if args.out:
        write(args.out, result)
    return 0 if result["quiet"]["quiet"] else 1


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """What was asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="model folder (default: the embedded one)")
    parser.add_argument("--threads", type=int, default=2, help="of the engine (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each level (default: %(default)s)")
    parser.add_argument(
        "--levels", type=float, nargs="+", default=LEVELS, help="shares of capacity (default: %(default)s)"
    )
    parser.add_argument("--queue-s", type=float, default=4.0, help="seconds of work that may wait")
    parser.add_argument("--baseline", action="store_true", help="side by side with the plain server")
    parser.add_argument("--limit-s", type=float, default=4.0, help="p99 limit of --baseline")
    parser.add_argument("--rung-seconds", type=float, default=25.0, help="of each rate of --baseline")
    parser.add_argument("--also", metavar="NAME=COMMAND", action="append", default=[], help="another server")
    parser.add_argument("--requests", type=int, default=N_SHOTS, help="different requests")
    parser.add_argument("--alone-s", type=float, default=12.0, help="seconds to measure the engine alone")
    parser.add_argument("--out", type=Path, help="folder for load.json, load.md and load.png")
    return parser.parse_args(argv)


def quiet(before: float | None, others: Sequence[float | None], alone: dict[str, Any]) -> dict[str, Any]:
    """Whether the figures count: nothing else took the CPUs, and the engine was as fast at the end."""
    known = [share for share in (before, *others) if share is not None]
    first, last = alone["engine_tokens_per_s"], alone.get("engine_tokens_per_s_after")
    drift = None if last is None else last / first - 1
    found = [f"others took up to {max(known):.1%} of the CPUs" if known else "what others took is not known"]
    if drift is not None:
        found.append(f"the speed of the engine alone changed by {drift:+.1%}")
    good = bool(known) and max(known) <= ALLOWED and (drift is None or abs(drift) <= 0.05)
    words = "The machine was quiet" if good else "THE MACHINE WAS NOT QUIET; do not rely on these figures"
    return {
        "quiet": good,
        "others_before": before,
        "others_most": max(known, default=None),
        "drift": drift,
        "verdict": f"{words}: {', '.join(found)}.",
    }


def verdicts(result: dict[str, Any]) -> list[str]:
    """What was asked of the levels, and whether it holds."""
    alone = result["alone"]["engine_tokens_per_s"]
    levels = result.get("levels", ())
    capacity = max((one["goodput_tokens_per_s"] for one in levels if one["level"] <= 1), default=alone)
    found = []
    for level in levels:
        done = level["goodput_tokens_per_s"] / alone
        if level["level"] == 1.0:
            found.append(f"goodput at 100 % is {done:.2f} of the engine alone: {_held(done >= 0.9)}")
        if level["level"] > 1.0:
            p99, bound = level["latency_s"]["p99"] or 0.0, result["queue_s"] + result["batch_s"]
            at = f"{level['level']:.0%}"
            kept = level["goodput_tokens_per_s"] / capacity
            found.append(
                f"goodput at {at} is {kept:.2f} of the most that the server answered below"
                f" ({done:.2f} of the engine alone): {_held(kept >= 0.9)}"
            )
            found.append(
                f"p99 of accepted requests at {at} is {p99:.2f} s, queue and one batch are {bound:.2f} s:"
                f" {_held(p99 <= bound)}"
            )
    return found


def _held(good: bool) -> str:
    return "holds" if good else "MISSED"


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


def levels(args: argparse.Namespace, shots: list[Shot], capacity: float) -> list[dict[str, Any]]:
    """Every level against a server of its own."""
    found = []
    for level in args.levels:
        with ours(args) as server:
            watch = Watch([server.pid])
            landed = asyncio.run(
                fire(server.port, shots, level * capacity, args.seconds, seed=int(level * 100))
            )
            others = watch.others()
        result = {"level": level, "others": others, **summary(landed, args.seconds, WARMUP_S)}
        print(f"{level:.0%}: {json.dumps(result)}", file=sys.stderr)
        found.append(result)
    return found


def side_by_side(args: argparse.Namespace, shots: list[Shot]) -> dict[str, dict[str, Any]]:
    """The highest rate of each server whose p99 keeps the limit."""
    with tempfile.TemporaryDirectory() as folder:
        box = Path(folder)
        servers: dict[str, Callable[[], AbstractContextManager[Served]]] = {"tinyrerank": partial(ours, args)}
        servers |= {name: partial(plain, box, name, args) for name in ("plain fp32", "plain int8")}
        for text in args.also:
            name, _, command = text.partition("=")
            servers[name] = partial(serving, shlex.split(command), args.threads)
        found = {}
        for name, server in servers.items():
            with server() as running:
                found[name] = highest_rate(running, shots, args)
            print(f"{name}: {json.dumps(found[name])}", file=sys.stderr)
        return found


def highest_rate(server: Served, shots: list[Shot], args: argparse.Namespace) -> dict[str, Any]:
    """Bisect between shares of what the server does at its fullest."""
    most, tokens = asyncio.run(saturate(server.port, shots, 4, SATURATION_S))
    low, high = SHARES
    rungs: list[dict[str, Any]] = []
    for _ in range(STEPS):
        share = (low + high) / 2
        watch = Watch([server.pid])
        landed = asyncio.run(fire(server.port, shots, share * most, args.rung_seconds, seed=11))
        rung: dict[str, Any] = {"rate": share * most, "others": watch.others()}
        rung |= summary(landed, args.rung_seconds, WARMUP_S)
        p99 = rung["latency_s"]["p99"]
        rung["keeps"] = p99 is not None and p99 <= args.limit_s and set(rung["statuses"]) == {200}
        rungs.append(rung)
        low, high = (share, high) if rung["keeps"] else (low, share)
    best = max((rung["rate"] for rung in rungs if rung["keeps"]), default=None)
    return {"fullest_per_s": most, "fullest_tokens_per_s": tokens, "best_per_s": best, "rungs": rungs}


def ours(args: argparse.Namespace) -> AbstractContextManager[Served]:
    """``tinyrerank serve`` with the score cache off."""
    settings = {
        "threads": args.threads,
        "cache-entries": 0,
        "max-queue-s": args.queue_s,
        "batch-tokens": BATCH_TOKENS,
        "log-level": "warning",
    }
    flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    if args.model:
        flags += ["--models", f"model={args.model}"]
    command = [sys.executable, "-m", "tinyrerank", "serve", *flags, "--port", "{port}"]
    return serving(command, args.threads)


def plain(box: Path, name: str, args: argparse.Namespace) -> AbstractContextManager[Served]:
    """The baseline on the graph of the same weights."""
    from tinyrerank.bench.peer_graph import prepare_graph, prepare_onnx_int8
    from tinyrerank.model.hub import resolve_model

    folder = resolve_model(args.model)
    graph = box / f"{name.rsplit(maxsplit=1)[-1]}.onnx"
    (prepare_onnx_int8 if name.endswith("int8") else prepare_graph)(folder, graph)
    tokenizer = str(folder / "tokenizer.json")
    command = [sys.executable, str(HERE / "baseline_server.py"), str(graph), tokenizer]
    return serving([*command, "--threads", str(args.threads), "--port", "{port}"], args.threads)


@contextmanager
def serving(command: Sequence[str], threads: int) -> Iterator[Served]:
    """A server on a free loopback port, ready; ``{port}`` in its command is replaced."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    words = [word.replace("{port}", str(port)) for word in command]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment)  # noqa: S603 - as asked
    patience = time.monotonic() + START_S
    try:
        while not answers(port):
            if process.poll() is not None or time.monotonic() > patience:
                raise RuntimeError(f"{words} is not ready in {START_S:g} s, or ended: {process.returncode}")
            time.sleep(0.1)
        yield Served(port, process.pid)
    finally:
        process.terminate()
        process.wait(60)


def answers(port: int) -> bool:
    """Whether a server is there; one without ``/health`` counts as soon as it speaks."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 404
    except (urllib.error.URLError, OSError):
        return False


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
    """The numbers, a plot and a table; and the page, if the folder is that of the documentation."""
    import load_plot
    import robustness_doc

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("load.json" if "levels" in result else "load-baseline.json")
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    load_plot.write(result, path)
    if folder.resolve() == robustness_doc.RESULTS:
        robustness_doc.main()


if __name__ == "__main__":
    sys.exit(main())
