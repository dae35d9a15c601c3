"""Twenty minutes of mixed traffic: does memory stay flat, and does any score change?

    python benchmarks/soak.py --minutes 20 --threads 2 --out docs/results

Clients send requests of 5 to 200 passages in several wire formats, one in five with documents that no
cache knows; now and then a malformed body, an unknown model, a short deadline, or they hang up. Every score
of a known pair is compared with the library's. Resident memory of the whole server is read every five
seconds; growth is the median of the last tenth over that of the first tenth after the warm-up, in which the
score cache fills. It need not be quiet: nothing is timed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import robustness_doc
from load import make_requests, serving

from tinyrerank import Reranker

TOLERANCE = 2e-6
#: Scores that the server remembers: fewer than it is asked for, so that some are forgotten all the time.
CACHE = 2000
PATHS = {"jina": "/v1/rerank", "cohere": "/v2/rerank", "tei": "/tei/rerank", "infinity": "/infinity/rerank"}


@dataclass(slots=True)
class Tally:
    """What all clients saw."""

    statuses: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    changed: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long a client waits between requests on average, and when all of them end."""

    mean_s: float
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Known:
    """A request and the library's scores, in the order of its documents."""

    query: str
    documents: list[str]
    scores: list[float]


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print a JSON object, and write it with a plot; 0 if memory is flat and no score changed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--warmup-minutes", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=2, help="of the engine")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument(
        "--per-s", type=float, default=10.0, help="requests per second at most, of all clients"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for soak.json and soak.png")
    args = parser.parse_args(argv)
    known = expected(args.threads)
    command = [sys.executable, "-m", "tinyrerank", "serve", "--threads", str(args.threads)]
    command += ["--workers", str(args.workers), "--log-level", "warning", "--cache-entries", str(CACHE)]
    command += ["--port", "{port}"]
    tally, memory = Tally(), []
    with serving(command, args.threads) as server:
        words = [word.replace("{port}", str(server.port)) for word in command]
        pauses = Pauses(args.clients / args.per_s)
        clients = [
            threading.Thread(target=client, args=(server.port, known, random.Random(seed), tally, pauses))
            for seed in range(args.clients)
        ]
        for each in clients:
            each.start()
        start = time.monotonic()
        while (now := time.monotonic() - start) < 60 * args.minutes:
            memory.append((round(now, 1), resident_mb(words)))
            pauses.stop.wait(min(5.0, 60 * args.minutes - now))
        pauses.stop.set()
        for each in clients:
            each.join()
    result = summarize(args, tally, memory)
    print(json.dumps({name: value for name, value in result.items() if name != "memory_mb"}, indent=1))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "soak.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
        plot(result, args.out / "soak.png")
        if args.out.resolve() == robustness_doc.RESULTS:
            robustness_doc.main()
    return 0 if result["flat"] and not tally.changed and not tally.unexpected else 1


def summarize(args: argparse.Namespace, tally: Tally, memory: list[tuple[float, float]]) -> dict[str, Any]:
    """The numbers of a run."""
    warm = [mb for at, mb in memory if at >= 60 * args.warmup_minutes] or [mb for _, mb in memory]
    tenth = max(1, len(warm) // 10)
    first, last = statistics.median(warm[:tenth]), statistics.median(warm[-tenth:])
    return {
        "minutes": args.minutes,
        "warmup_minutes": args.warmup_minutes,
        "workers": args.workers,
        "threads": args.threads,
        "clients": args.clients,
        "per_s": args.per_s,
        "cache_entries": CACHE,
        "requests": sum(tally.statuses.values()),
        "statuses": dict(sorted(tally.statuses.items())),
        "scores_compared": tally.compared,
        "scores_changed": len(tally.changed),
        "examples": tally.changed[:5],
        "unexpected": tally.unexpected[:5],
        "memory_first_mb": first,
        "memory_last_mb": last,
        "growth": last / first - 1,
        "flat": last / first - 1 < 0.05,
        "memory_mb": memory,
    }


def expected(threads: int) -> list[Known]:
    """Requests with the library's scores."""
    found = []
    with Reranker(threads=threads) as reranker:
        for query, documents in make_requests(60):
            hits = sorted(reranker.rank(query, documents), key=lambda hit: hit.index)
            found.append(Known(query, documents, [hit.score for hit in hits]))
    return found


def client(port: int, known: list[Known], rng: random.Random, tally: Tally, pauses: Pauses) -> None:
    """One client: a request after the other, with pauses of random length before, until told to stop."""
    while not pauses.stop.wait(rng.expovariate(1 / pauses.mean_s)):
        try:
            kind = rng.choices(["ask", "fresh", "bad", "model", "deadline", "leave"], [66, 20, 4, 3, 4, 3])[0]
            status = act(port, rng.choice(known), kind, rng, tally)
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            with tally.lock:
                tally.unexpected.append(f"{type(error).__name__}: {error}"[:300])
            status = "failed"
        with tally.lock:
            tally.statuses[status] += 1


def act(port: int, request: Known, kind: str, rng: random.Random, tally: Tally) -> str:
    """Send one request of a kind; returns its kind and status."""
    name = rng.choice(list(PATHS))
    documents = request.documents
    if kind == "fresh":
        documents = [f"{rng.getrandbits(48)} {text}" for text in documents[:20]]
    body: dict[str, Any] = {"query": request.query, "texts" if name == "tei" else "documents": documents}
    if name != "tei":
        body["model"] = "no-such-model" if kind == "model" else "jina-reranker-v1-tiny-en"
    if kind == "deadline":
        body["deadline_ms"] = 5
    data = b'{"query": "cut o' if kind == "bad" else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", PATHS[name], data, {"Content-Type": "application/json"})
        if kind == "leave":
            return "left"
        answer = connection.getresponse()
        read = json.loads(answer.read())
    finally:
        connection.close()
    allowed = {"bad": {400}, "model": {404, 200}, "deadline": {200, 504}}.get(kind, {200})
    with tally.lock:
        if answer.status not in allowed | {429}:
            tally.unexpected.append(f"{kind} {name}: {answer.status} {str(read)[:200]}")
    if kind == "ask" and answer.status == 200:
        compare(read if name == "tei" else read["results"], request, tally)
    return f"{kind} {answer.status}"


def compare(hits: list[dict[str, Any]], request: Known, tally: Tally) -> None:
    """Hold scores against the library's."""
    for hit in hits:
        got, wanted = hit.get("relevance_score", hit.get("score")), request.scores[hit["index"]]
        if got is None or abs(got - wanted) > TOLERANCE:
            with tally.lock:
                tally.changed.append(f"{request.query} [{hit['index']}]: {got} instead of {wanted}")
    with tally.lock:
        tally.compared += len(hits)


def resident_mb(command: Sequence[str]) -> float:
    """Resident memory of the server, its workers included."""
    wanted = "\0".join(command).encode()
    total = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(wanted):
                status = (folder / "status").read_text(encoding="ascii", errors="replace")
                total += int(status.split("VmRSS:")[1].split()[0]) / 1024
        except (OSError, IndexError):
            continue  # it ended meanwhile
    return round(total, 1)


def plot(result: dict[str, Any], path: Path) -> None:
    """Memory over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    axes.plot([at / 60 for at, _ in result["memory_mb"]], [mb for _, mb in result["memory_mb"]])
    axes.axvline(result["warmup_minutes"], color="0.6", linestyle=":", label="end of the warm-up")
    axes.set(xlabel="minutes", ylabel="resident memory, MB", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
