"""The queue at twice the load that the engine can bear, in simulated time: what waits, and for how long."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from dataclasses import dataclass, field

import httpx
import pytest
from serving import Gate, Talk, talk_fixture, until

from tinyrerank.serve.admission import Admission, DrainRate
from tinyrerank.serve.errors import OverloadedError
from tinyrerank.serve.job import Job
from tinyrerank.serve.lanes import Item, Lanes
from tinyrerank.serve.service import Service

talk = talk_fixture

SPEED = 40_000.0
BATCH_TOKENS = 8192
QUEUE_S = 4.0
BATCH_S = BATCH_TOKENS / SPEED
SIZES = {1: 0.25, 4: 0.35, 10: 0.25, 20: 0.10, 40: 0.05}
TOKENS = 540


@dataclass
class Simulation:
    """Admission, lanes and jobs as the runner joins them, with an engine of a known speed.

    Attributes:
        latencies: of accepted requests, by their documents.
        waits: of accepted requests, by their client.
        offered: requests that came, by their documents.
        computed: tokens.
    """

    latencies: dict[int, list[float]] = field(default_factory=lambda: {n: [] for n in SIZES})
    waits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    offered: dict[int, int] = field(default_factory=lambda: dict.fromkeys(SIZES, 0))
    computed: int = 0
    now: float = 0.0

    def __post_init__(self) -> None:
        self.rate = DrainRate()
        self.admission = Admission(10**9, self.rate, max_s=QUEUE_S, clock=lambda: self.now)
        self.lanes = Lanes(BATCH_TOKENS)
        self.left: dict[Job, int] = {}
        self.came: dict[Job, tuple[float, int, str]] = {}

    def arrive(self, documents: int, client: str) -> None:
        self.offered[documents] += 1
        tokens = documents * TOKENS
        try:
            ticket = self.admission.admit(client, int(tokens * 0.9))  # an estimate is never exact
        except OverloadedError:
            return
        job = Job(documents, ticket, ticket.tokens, self.admission.max_request_tokens)
        self.left[job], self.came[job] = documents, (self.now, documents, client)
        items = [Item(b"", job, [(job, i)], costs=(TOKENS,)) for i in range(documents)]
        self.lanes.put(client, (job, 0), items)
        job.queued(tokens, ticket.tokens)
        job.all_queued()

    def compute(self) -> None:
        assert self.lanes.take()
        tokens = sum(part.tokens for part in self.lanes.taken.parts)
        self.now += tokens / SPEED
        self.computed += tokens
        self.rate.measured(tokens, tokens / SPEED)
        for part in self.lanes.taken.parts:
            job = part.item.owner
            job.left_queue(part.tokens)
            self.left[job] -= 1
            if not self.left[job]:
                del self.left[job]
                job.close()
                came, documents, client = self.came[job]
                self.latencies[documents].append(self.now - came)
                self.waits[client].append(self.now - came)

    def run(self, load: float, seconds: float, seed: int, clients: dict[str, float] | None = None) -> None:
        """Let requests arrive for so long; clients have their shares of them."""
        rng = random.Random(seed)
        shares = clients or {"c": 1.0}
        mean = TOKENS * sum(size * share for size, share in SIZES.items())
        due = 0.0
        while self.now < seconds:
            while due <= self.now or not self.left:
                self.now = max(self.now, due)
                size = rng.choices(list(SIZES), list(SIZES.values()))[0]
                self.arrive(size, rng.choices(list(shares), list(shares.values()))[0])
                due += rng.expovariate(load * SPEED / mean)
            self.compute()


@pytest.mark.parametrize("load", [1.2, 2.0, 10.0])
def test_accepted_requests_wait_no_longer_than_the_queue_and_the_engine_never_rests(load: float) -> None:
    simulation = Simulation()
    simulation.run(load, seconds=120, seed=int(10 * load))
    assert simulation.computed / simulation.now > 0.95 * SPEED
    waits = sorted(wait for each in simulation.latencies.values() for wait in each)
    assert waits[int(0.99 * len(waits))] < QUEUE_S + BATCH_S
    assert waits[-1] < 1.25 * QUEUE_S + BATCH_S


def test_large_requests_are_refused_no_more_often_than_small_ones() -> None:
    simulation = Simulation()
    simulation.run(2.0, seconds=300, seed=1)
    accepted = {n: len(waits) / simulation.offered[n] for n, waits in simulation.latencies.items()}
    assert min(accepted.values()) > 0.7 * max(accepted.values())


def test_a_client_within_its_share_does_not_wait_for_one_that_fills_the_queue() -> None:
    simulation = Simulation()
    simulation.run(4.0, seconds=120, seed=2, clients={"greedy": 0.95, "modest": 0.05})
    waits = {client: sorted(each) for client, each in simulation.waits.items()}
    modest, greedy = waits["modest"], waits["greedy"]
    assert modest[len(modest) // 2] < greedy[len(greedy) // 2] / 2
    assert modest[int(0.99 * len(modest))] < QUEUE_S + BATCH_S
    assert greedy[int(0.99 * len(greedy))] < 2 * QUEUE_S


def test_below_capacity_nothing_is_refused_and_small_requests_pass_large_ones() -> None:
    simulation = Simulation()
    simulation.run(0.6, seconds=120, seed=3)
    assert sum(map(len, simulation.latencies.values())) + len(simulation.left) == sum(
        simulation.offered.values()
    )
    small = sorted(simulation.latencies[1])
    assert small[len(small) // 2] < 3 * BATCH_S


def test_work_that_a_leaving_client_shares_counts_for_the_one_who_stays(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, service: Service, gate: Gate) -> None:
        runner = service.runner(service.models.default)
        first = asyncio.create_task(client.post("/v1/rerank", json={"query": "q", "documents": ["held up"]}))
        await gate.entered.wait()
        before = runner.admission.waiting
        shared = {"query": "q", "documents": [f"shared {i} " * 20 for i in range(10)]}
        leaver = asyncio.create_task(client.post("/v1/rerank", json=shared))
        await until(lambda: len(runner._flights) == 11 and not runner._encoding)
        stayer = asyncio.create_task(client.post("/v1/rerank", json=shared))
        await until(lambda: sum(len(item.waiters) for item in runner._flights.values()) == 21)
        both = runner.admission.waiting - before
        assert both > 100
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        assert runner.admission.waiting - before == both
        gate.open.set()
        assert (await stayer).status_code == 200
        assert (await first).status_code == 200
        assert runner.admission.waiting == 0

    talk(scene, gated=True, cache_entries=0)


def test_bodies_of_all_requests_together_are_bounded_and_their_room_comes_back(talk: Talk) -> None:
    async def scene(client: httpx.AsyncClient, service: Service, gate: Gate) -> None:
        def post(n: int) -> asyncio.Task[httpx.Response]:
            body = {"query": "q", "documents": [f"{n} " + "x" * 900]}
            return asyncio.create_task(client.post("/v1/rerank", json=body))

        held = [post(n) for n in range(8)]
        await until(lambda: service.bodies.used > 8 * 930 - 100)
        refused = await post(8)
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert refused.headers["retry-after"] == "1"
        gate.open.set()
        assert {(await answer).status_code for answer in held} == {200}
        assert service.bodies.used == 0
        assert (await post(9)).status_code == 200

    talk(scene, gated=True, max_body_bytes=1024)
