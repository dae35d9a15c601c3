"""The parts of the queue by themselves: admission, lanes, cache keys, jobs."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyrerank.serve.admission import Admission, DrainRate
from tinyrerank.serve.cache import ScoreCache, pair_keys
from tinyrerank.serve.errors import OverloadedError
from tinyrerank.serve.job import Job
from tinyrerank.serve.lanes import Item, Lanes
from tinyrerank.serve.logs import Logs
from tinyrerank.serve.request import Outcome, Problem, Reading, RerankRequest


class Waiter:
    """As much of a job as lanes look at."""

    def __init__(self) -> None:
        self.closed = False


def items(tokens: list[int], waiter: Waiter) -> list[Item]:
    return [Item(bytes([i % 256]), waiter, [(waiter, i)], costs=(n,)) for i, n in enumerate(tokens)]


def batches(lanes: Lanes) -> list[list[Item]]:
    lanes.close()
    taken = []
    while lanes.take():
        taken.append([part.item for part in lanes.taken.parts])
    return taken


@settings(deadline=None)
@given(
    requests=st.lists(
        st.tuples(st.sampled_from("abc"), st.lists(st.integers(1, 300), min_size=1, max_size=20)), max_size=12
    ),
    budget=st.integers(64, 256),
)
def test_every_item_is_taken_once_in_the_order_of_its_request_and_within_the_budget(
    requests: list[tuple[str, list[int]]], budget: int
) -> None:
    lanes = Lanes(budget)
    wanted = []
    for client, tokens in requests:
        request = items(tokens, Waiter())
        wanted.append(request)
        lanes.put(client, object(), request)
    taken = batches(lanes)
    assert all(sum(item.tokens for item in batch) <= budget or len(batch) == 1 for batch in taken)
    place = {id(item): i for i, item in enumerate(item for batch in taken for item in batch)}
    assert len(place) == sum(map(len, wanted))
    assert all(place[id(a)] < place[id(b)] for request in wanted for a, b in itertools.pairwise(request))


def test_clients_share_the_engine_evenly_however_many_requests_each_has() -> None:
    lanes = Lanes(100)
    busy, calm = Waiter(), Waiter()
    for _ in range(50):
        lanes.put("busy", object(), items([50, 50], busy))
    lanes.put("calm", object(), items([50] * 20, calm))
    first = [item.waiters[0][0] for batch in batches(lanes)[:20] for item in batch]
    assert abs(first.count(busy) - first.count(calm)) <= 2


def test_a_long_request_takes_turns_with_the_short_ones_behind_it() -> None:
    lanes = Lanes(100)
    long, short = Waiter(), Waiter()
    lanes.put("c", object(), items([10] * 100, long))
    for _ in range(5):
        lanes.put("c", object(), items([10], short))
    order = [item.waiters[0][0] for batch in batches(lanes) for item in batch]
    assert order[10:15] == [short] * 5


def test_the_windows_of_a_long_document_come_in_turns_with_other_requests() -> None:
    lanes = Lanes(100)
    long, short = Waiter(), Waiter()
    lanes.put("c", object(), [Item(b"w", long, [(long, 0)], costs=(60, 60, 60, 150, 20, 20))])
    lanes.put("c", object(), items([30], short))
    lanes.close()
    taken = []
    while lanes.take():
        taken.append([(part.item.key, part.first, part.end, part.last) for part in lanes.taken.parts])
    windows = [part for batch in taken for part in batch if part[0] == b"w"]
    assert [(first, end) for _, first, end, _ in windows] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 6)]
    assert [last for *_, last in windows] == [False] * 4 + [True]
    place = next(i for i, batch in enumerate(taken) if any(part[0] == b"\0" for part in batch))
    assert place <= 2


def test_a_long_request_is_overtaken_by_as_many_tokens_as_it_has_and_no_more() -> None:
    lanes = Lanes(100)
    long, short = Waiter(), Waiter()
    lanes.put("c", object(), items([10] * 40, long))
    order = []
    for _ in range(200):
        for _ in range(10):
            lanes.put("c", object(), items([10], short))
        assert lanes.take()
        order += [part.item.waiters[0][0] for part in lanes.taken.parts]
    last = len(order) - 1 - order[::-1].index(long)
    assert order[: last + 1].count(short) <= 40 + 10
    assert order[10:20] == [short] * 10


def test_unwanted_items_are_dropped_and_reported() -> None:
    lanes = Lanes(100)
    gone, here = Waiter(), Waiter()
    gone.closed = True
    lanes.put("c", object(), [*items([10, 10], gone), *items([10], here)])
    assert lanes.take()
    assert [len(lanes.taken.parts), len(lanes.taken.dropped)] == [1, 2]


def test_take_waits_for_work_without_polling() -> None:
    lanes = Lanes(100)
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(lanes.take()))
    thread.start()
    lanes.put("c", object(), items([10], Waiter()))
    thread.join(10)
    assert got == [True]


@settings(deadline=None)
@given(
    requests=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5000), st.booleans()), max_size=60)
)
def test_admission_never_doubles_its_bound_and_gives_everything_back(
    requests: list[tuple[str, int, bool]],
) -> None:
    admission = Admission(4000, DrainRate(1000.0))
    tickets = []
    for client, tokens, leaves in requests:
        try:
            ticket = admission.admit(client, tokens)
        except OverloadedError:
            assert admission.waiting > 0
            continue
        assert ticket.tokens <= 1000
        if leaves:
            ticket.close()
        else:
            tickets.append(ticket)
        assert admission.waiting <= 8000
    for ticket in tickets:
        ticket.close()
        ticket.close()
    assert admission.waiting == 0


def test_a_client_gets_in_though_another_has_filled_the_queue() -> None:
    admission = Admission(4000, DrainRate())
    for _ in range(4):
        admission.admit("greedy", 1000)
    with pytest.raises(OverloadedError):
        admission.admit("greedy", 1)
    assert admission.admit("modest", 500).tokens == 500


def refused(admission: Admission, tokens: int) -> int:
    with pytest.raises(OverloadedError) as caught:
        admission.admit("a", tokens)
    return caught.value.retry_after_s


@pytest.mark.parametrize(("speed", "seconds"), [(105, 10), (1100, 1)])
def test_the_time_to_come_back_follows_the_measured_speed(speed: int, seconds: int) -> None:
    rate = DrainRate()
    admission = Admission(4000, rate)
    for _ in range(4):
        admission.admit("a", 1000)
    rate.measured(speed, 1.0)
    assert refused(admission, 1000) == seconds


def test_those_who_are_sent_away_are_not_all_told_to_come_back_at_the_same_time() -> None:
    now = 0.0
    rate = DrainRate(1000.0)
    admission = Admission(4000, rate, clock=lambda: now)
    for _ in range(4):
        admission.admit("a", 1000)
    assert [refused(admission, 1000) for _ in range(8)] == [1, 2, 3, 4, 5, 5, 5, 5]
    now = 3.5
    assert refused(admission, 1000) == 2


def test_a_large_request_is_let_in_whenever_a_small_one_is() -> None:
    admission = Admission(4000, DrainRate())
    for _ in range(3):
        admission.admit("a", 1000)
    large = admission.admit("a", 100_000)
    assert large.tokens == 1000
    large.close()
    admission.admit("a", 1)
    for tokens in (1, 1000):
        refused(admission, tokens)


def test_the_bound_in_seconds_follows_the_measured_speed() -> None:
    rate = DrainRate(1000.0)
    admission = Admission(4000, rate, max_s=2.0)
    rate.measured(20, 0.01, full=False)
    assert admission.limit == 4000, "nothing is refused on a guess"
    rate.measured(500, 1.0)
    assert admission.limit == 850, "what is left of two seconds is for all that is not the engine's"
    for _ in range(20):
        rate.measured(9000, 1.0)
    assert admission.limit == 4000


def test_small_batches_of_an_engine_with_little_to_do_do_not_make_it_look_slow() -> None:
    rate = DrainRate(1000.0)
    rate.measured(8000, 1.0)
    for _ in range(1000):
        rate.measured(20, 0.01, full=False)
    assert rate.tokens_per_s == 8000
    rate.measured(2000, 0.1, full=False)
    assert rate.tokens_per_s > 8000
    rate.measured(20, 60.0, full=False)
    assert rate.tokens_per_s > 8000
    for _ in range(100):
        rate.measured(600, 1.0, full=False)
    assert rate.tokens_per_s == pytest.approx(600)


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=20))
def test_keys_are_equal_exactly_when_pairs_are(pairs: list[tuple[str, str]]) -> None:
    keys = pair_keys("m", Reading(), pairs)
    for a, one in zip(pairs, keys, strict=True):
        for b, other in zip(pairs, keys, strict=True):
            assert (a == b) == (one == other)
    for other_keys in (pair_keys("n", Reading(), pairs), pair_keys("m", Reading(max_length=9), pairs)):
        assert not set(keys) & set(other_keys)


def test_the_cache_is_bounded_and_forgets_what_was_not_used() -> None:
    cache = ScoreCache(2)
    for key in (b"a", b"b"):
        cache.put(key, Outcome(1.0))
    assert cache.get(b"a") is not None
    cache.put(b"c", Outcome(2.0))
    assert [cache.get(key) is not None for key in (b"a", b"b", b"c")] == [True, False, True]
    cache.put(b"d", Outcome(problem=Problem("engine_failed", "")))
    assert cache.get(b"d") is None
    off = ScoreCache(0)
    off.put(b"a", Outcome(1.0))
    assert len(off) == 0


def test_a_request_reserves_what_it_has_in_the_queue_and_no_more_than_its_part() -> None:
    async def play() -> None:
        admission = Admission(4000, DrainRate())
        ticket = admission.admit("a", 3000)
        job = Job(3, ticket, 3000, 1000)
        assert ticket.tokens == 1000
        job.queued(1200, 1000)
        assert ticket.tokens == 1000
        job.settle(0, Outcome(1.0))
        job.left_queue(1200)
        assert ticket.tokens == 1000
        job.queued(100, 1500)
        assert ticket.tokens == 600
        job.all_queued()
        assert ticket.tokens == 100
        job.close()
        job.settle(1, Outcome(1.0))
        job.left_queue(100)
        assert admission.waiting == 0

    asyncio.run(play())


class Broken:
    """A stream on a disk that is full for a while."""

    def __init__(self) -> None:
        self.full = True
        self.lines: list[str] = []

    def write(self, text: str) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.lines.append(text)


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_log_lines_are_single_and_escaped_and_lost_ones_are_counted(log_format: str) -> None:
    stream = Broken()
    logs = Logs("info", log_format, stream.write)
    log = logging.getLogger("tinyrerank.serve")
    for _ in range(3):
        log.info("lost")
    logs._records.join()
    stream.full = False
    log.info('two\nlines "x"', extra={"path": "/a\n{}\u2028", "request_id": "r"})
    log.debug("too quiet")
    logs.close()
    text = "".join(stream.lines)
    assert "3 log lines were lost" in text
    last = text.strip().split("\n")[-1]
    assert len(text.splitlines()) == 2
    assert "too quiet" not in text
    if log_format == "json":
        assert json.loads(last)["path"] == "/a\n{}\u2028"


def test_a_log_that_nobody_reads_does_not_hold_up_the_end() -> None:
    blocked, release = threading.Event(), threading.Event()

    def write(_: str) -> None:
        blocked.set()
        release.wait(30)

    logs = Logs("info", "json", write)
    log = logging.getLogger("tinyrerank.serve")
    for _ in range(20_000):
        log.info("line")
    assert blocked.wait(30)
    logs.close()
    assert logs.lost > 9_000
    release.set()


def test_a_request_is_a_plain_value() -> None:
    request = RerankRequest(pairs=[("q", "d")], documents=["d"])
    assert (request.reading, request.top_n, request.in_order) == (Reading(), None, False)
