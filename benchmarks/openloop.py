"""An open-loop load generator: requests leave at their times, whether or not earlier ones were answered.

Arrivals are a Poisson process from a seed. Latency counts from the scheduled time, so a server that falls
behind cannot hide it. Connections are kept alive and taken from a pool without a limit; request bytes are
made beforehand, and answers are read but not decoded, to leave the machine to the server.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

#: The first of these in a request becomes its number when it is sent.
MARK = b"0000000"


@dataclass(frozen=True, slots=True)
class Shot:
    """A request ready to be sent.

    Attributes:
        data: head and body; a mark in it makes every sending another request.
        documents: in it.
        tokens: that the model reads for it.
    """

    data: bytes
    documents: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Landing:
    """What became of a request.

    Attributes:
        due_s: its scheduled time, from the start.
        latency_s: from then to the last byte of the answer.
        status: 0 where the connection failed or the time was up.
        shot: the request.
        retry_after_s: what a refusal said.
    """

    due_s: float
    latency_s: float
    status: int
    shot: Shot
    retry_after_s: int | None = None


def arrivals(per_s: float, seconds: float, seed: int) -> list[float]:
    """Times of a Poisson process, in seconds from the start."""
    rng = random.Random(seed)
    times, now = [], 0.0
    while (now := now + rng.expovariate(per_s)) < seconds:
        times.append(now)
    return times


async def fire(
    port: int, shots: Sequence[Shot], per_s: float, seconds: float, *, seed: int = 0, patience_s: float = 60.0
) -> list[Landing]:
    """Send shots at their times and wait for every answer.

    Args:
        port: of a server on loopback.
        shots: all of them in random order, then all of them again in another one.
        per_s: mean rate.
        seconds: of arrivals.
        seed: of times and draws.
        patience_s: time that a request may take.
    """
    drawn = _drawn(shots, seed + 1)
    pool: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    start = time.perf_counter() + 0.2
    tasks = []
    for number, due in enumerate(arrivals(per_s, seconds, seed)):
        shot = _marked(next(drawn), number)
        tasks.append(
            asyncio.create_task(_send(port, pool, shot, start=start, due=due, patience_s=patience_s))
        )
    landed = await asyncio.gather(*tasks)
    for _, writer in pool:
        writer.close()
    return landed


async def saturate(
    port: int, shots: Sequence[Shot], clients: int, seconds: float, *, seed: int = 0
) -> tuple[float, float]:
    """What clients get that send again as soon as they are answered: requests and tokens per second."""
    drawn = _drawn(shots, seed)
    pool: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    start = time.perf_counter()
    landed: list[Landing] = []

    async def client(number: int) -> None:
        while (now := time.perf_counter() - start) < seconds:
            shot = _marked(next(drawn), number + clients * len(landed))
            landed.append(await _send(port, pool, shot, start=start, due=now, patience_s=60.0))

    await asyncio.gather(*(client(number) for number in range(clients)))
    spent = time.perf_counter() - start
    for _, writer in pool:
        writer.close()
    good = [each for each in landed if each.status == 200]
    return len(good) / spent, sum(each.shot.tokens for each in good) / spent


def _drawn(shots: Sequence[Shot], seed: int) -> Iterator[Shot]:
    """All shots in random order, again and again."""
    rng = random.Random(seed)
    while True:
        yield from rng.sample(shots, len(shots))


def _marked(shot: Shot, number: int) -> Shot:
    """With a query of its own: a server may compute equal pairs that wait together once."""
    return replace(shot, data=shot.data.replace(MARK, b"%07d" % (number % 10**7), 1))


async def _connection(
    port: int, pool: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that stands idle, unless the server has closed it, or a new one."""
    while pool:
        reader, writer = pool.pop()
        if not reader.at_eof():
            return reader, writer
        writer.close()
    return await asyncio.open_connection("127.0.0.1", port)


async def _send(
    port: int,
    pool: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
    shot: Shot,
    *,
    start: float,
    due: float,
    patience_s: float,
) -> Landing:
    await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
    status, retry = 0, None
    with suppress(OSError, asyncio.IncompleteReadError, TimeoutError, ValueError):
        async with asyncio.timeout(patience_s):
            reader, writer = await _connection(port, pool)
            writer.write(shot.data)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            await reader.readexactly(int(headers["content-length"]))
            status = int(head.split(" ", 2)[1])
            retry = int(headers["retry-after"]) if "retry-after" in headers else None
            if headers.get("connection") == "close":
                writer.close()
            else:
                pool.append((reader, writer))
    return Landing(due, time.perf_counter() - start - due, status, shot, retry)


def summary(landed: Sequence[Landing], seconds: float, warmup_s: float) -> dict[str, Any]:
    """Counts, goodput and latencies of a run; arrivals and answers before ``warmup_s`` are left out.

    Goodput is what was answered with 200 between warm-up and the end of the arrivals, in tokens per second:
    counting requests would reward a server that only takes small ones.
    """
    window = seconds - warmup_s
    counted = [each for each in landed if each.due_s >= warmup_s]
    good = [each for each in counted if each.status == 200]
    done = [
        each for each in landed if each.status == 200 and warmup_s <= each.due_s + each.latency_s < seconds
    ]
    times = sorted(each.latency_s for each in good)
    refused = [each for each in counted if each.status == 429]
    return {
        "offered_per_s": len(counted) / window,
        "offered_tokens_per_s": sum(each.shot.tokens for each in counted) / window,
        "goodput_per_s": len(done) / window,
        "goodput_tokens_per_s": sum(each.shot.tokens for each in done) / window,
        "statuses": dict(sorted(Counter(each.status for each in counted).items())),
        "latency_s": {f"p{p}": percentile(times, p) for p in (50, 90, 95, 99, 100)},
        "requests": len(counted),
        "refused_share": len(refused) / max(1, len(counted)),
        "refused_tokens_share": sum(each.shot.tokens for each in refused)
        / max(1, sum(each.shot.tokens for each in counted)),
        "retry_after_s": dict(sorted(Counter(each.retry_after_s for each in refused).items(), key=str)),
        "refusal_latency_s_p99": percentile(sorted(each.latency_s for each in refused), 99),
    }


def percentile(ordered: Sequence[float], p: float) -> float | None:
    """The nearest rank; None of nothing."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, max(0, round(p / 100 * len(ordered)) - 1))]
