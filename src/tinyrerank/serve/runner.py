"""One model at work: admission, cache, tokenization, batches, deadline."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tinyrerank.errors import TooLongError
from tinyrerank.serve.admission import Admission, DrainRate, Ticket
from tinyrerank.serve.batcher import Batch, Batcher
from tinyrerank.serve.cache import ScoreCache, pair_keys
from tinyrerank.serve.errors import DeadlineError, TooLongPairError, UnavailableError
from tinyrerank.serve.job import Job
from tinyrerank.serve.lanes import Item
from tinyrerank.serve.models import ServedModel
from tinyrerank.serve.request import Outcome, Problem, Reading, RerankRequest, Stages
from tinyrerank.text.pairs import EncodedPair, PairEncoder

_CHUNK_PAIRS = 64
_CHUNK_CHARS = 200_000
_LONG_CHARS = 1_000_000
_TOKENIZING_COST = 1 / 32
_PROOF_S, _BUSY_PROOF_S = 1.0, 60.0
_LATE = Problem("deadline", "not scored: the deadline came first")


@dataclass(frozen=True, slots=True)
class Scored:
    """What a runner found: outcomes in the caller's order, and what the way to them was like."""

    outcomes: Sequence[Outcome]
    cached: int
    stages: Stages
    warnings: tuple[str, ...] = ()


class Runner:
    """Scores requests with one model; lives on the event loop.

    Args:
        model: loaded.
        batch_tokens: most tokens in a batch.
        max_queue_tokens: most tokens that may be waiting.
        max_queue_s: most seconds of work that may be waiting, at the measured speed.
        cache_entries: scores to remember; 0 for none.
        on_batch: is called on the event loop with every batch that was computed.
    """

    def __init__(
        self,
        model: ServedModel,
        *,
        batch_tokens: int,
        max_queue_tokens: int,
        max_queue_s: float = math.inf,
        cache_entries: int,
        on_batch: Callable[[Batch], None] = lambda _: None,
    ) -> None:
        self.model = model
        self.rate = DrainRate()
        self.admission = Admission(max_queue_tokens, self.rate, max_s=max_queue_s)
        self.cache = ScoreCache(cache_entries)
        self.batcher = Batcher(model.reranker, batch_tokens, self._deliver_soon)
        self.last_success = -math.inf
        self._on_batch = on_batch
        self._chars_per_token = 4.0
        self._flights: dict[bytes, Item] = {}
        self._jobs: set[Job] = set()
        self._encoding: set[asyncio.Task[None]] = set()
        self._tokenizer = ThreadPoolExecutor(1, thread_name_prefix="tinyrerank-tokenize")
        self._long_tokenizer = ThreadPoolExecutor(1, thread_name_prefix="tinyrerank-tokenize-long")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._probes = 0

    def start(self) -> None:
        """Begin; on the event loop that will run it."""
        self._loop = asyncio.get_running_loop()
        self.batcher.start()

    async def idle(self) -> None:
        """Wait until no request is left."""
        while self._jobs:
            await asyncio.gather(*(job.ended.wait() for job in self._jobs))

    def stop(self) -> None:
        """End the threads, in any thread; what is waiting is left undone."""
        self.batcher.stop()
        self._tokenizer.shutdown(wait=True, cancel_futures=True)
        self._long_tokenizer.shutdown(wait=True, cancel_futures=True)

    def fail_all(self, error: Exception) -> None:
        """End every request with an error."""
        for job in self._jobs:
            job.fail(error)

    async def probe(self, timeout_s: float) -> None:
        """Score a pair that no cache knows, past the admission, unless one was scored a moment ago.

        While the engine has work, a success up to a minute ago counts, too: a probe would have to wait.

        Raises:
            UnavailableError: it did not work, or not in time.
        """
        age_s = time.perf_counter() - self.last_success
        if age_s < (_BUSY_PROOF_S if self.admission.waiting else _PROOF_S):
            return
        self._probes += 1
        request = RerankRequest(pairs=[("is it ready?", f"probe {self._probes}")], documents=[""])
        try:
            async with asyncio.timeout(timeout_s):
                scored = await self.score(request, client="\0probe", privileged=True)
        except TimeoutError:
            raise UnavailableError(
                f"model {self.model.name} did not score a pair in {timeout_s:g} s"
            ) from None
        if scored.outcomes[0].problem is not None:
            raise UnavailableError(f"model {self.model.name} cannot score a pair; the log says why")

    async def score(
        self, request: RerankRequest, *, client: str, deadline: float | None = None, privileged: bool = False
    ) -> Scored:
        """Score all pairs of a request.

        Args:
            request: to score.
            client: whose share of the engine it uses.
            deadline: time of the event loop at which it ends with what is there.
            privileged: let in whatever is waiting, and not remembered.

        Raises:
            OverloadedError: too much is waiting.
            TooLongPairError: a pair is too long, and the request forbids to cut it.
            DeadlineError: nothing at all was scored in time.
            UnavailableError: the server is stopping.
        """
        encoder = self._encoder(request.reading)
        wanted = [(i, pair) for i, pair in enumerate(request.pairs) if not isinstance(pair, Problem)]
        estimate = self._estimate((pair for _, pair in wanted), encoder)
        ticket = Ticket(self.admission, client, 0) if privileged else self.admission.admit(client, estimate)
        most = self.admission.max_request_tokens
        job = Job(len(request.pairs), ticket, estimate, most, keep=not privileged)
        for i, pair in enumerate(request.pairs):
            if isinstance(pair, Problem):
                job.settle(i, Outcome(problem=pair))
        self._jobs.add(job)
        try:
            async with asyncio.timeout_at(deadline):
                await self._feed(job, encoder, client, request.reading, wanted)
                await job.done()
        except TimeoutError:
            if wanted and all(job.outcomes[i] is None for i, _ in wanted):
                raise DeadlineError(
                    "no document was scored before the deadline; allow more time or send fewer documents"
                ) from None
        finally:
            job.close()
            self._jobs.discard(job)
            if not job.complete:
                self._hand_over(job)
        warnings = (
            _query_warnings(encoder, wanted) if request.reading.max_query_tokens and job.complete else ()
        )
        return Scored(job.results(_LATE), job.cached, _stages(job, wanted), warnings)

    def _encoder(self, reading: Reading) -> PairEncoder:
        return self.model.reranker.encoder(
            reading.max_length,
            reading.policy,
            overlap_tokens=reading.overlap_tokens,
            max_document_tokens=reading.max_document_tokens,
            max_query_tokens=reading.max_query_tokens,
            max_windows=reading.max_windows,
            side=reading.side,
        )

    def _estimate(self, pairs: Iterable[tuple[str, str]], encoder: PairEncoder) -> int:
        """Tokens that pairs should have, by their characters; the truth replaces it after tokenization.

        What is tokenized without being computed has its price, too: a text may be long and be cut.
        """
        total = 0.0
        for query, text in pairs:
            n_query, n_text = self._tokens(query), self._tokens(text)
            computed = encoder.reads(n_query, n_text)
            total += computed + max(0, n_query + n_text - computed) * _TOKENIZING_COST
        return int(total)

    def _tokens(self, text: str) -> int:
        """Tokens that a text should have."""
        return math.ceil(len(text) / self._chars_per_token)

    async def _feed(
        self,
        job: Job,
        encoder: PairEncoder,
        client: str,
        reading: Reading,
        wanted: Sequence[tuple[int, tuple[str, str]]],
    ) -> None:
        """Look pairs up, encode and queue what nobody has computed, a chunk at a time."""
        for chunk in _chunks(wanted):
            await job.room()
            estimate = self._estimate((pair for _, pair in chunk), encoder)
            keys = pair_keys(self.model.name, reading, (pair for _, pair in chunk))
            new: list[tuple[Item, int, tuple[str, str]]] = []
            for key, (position, pair) in zip(keys, chunk, strict=True):
                known = self.cache.get(key)
                if known is not None:
                    job.cached += 1
                    job.settle(position, known)
                    continue
                item = self._flights.get(key)
                if item is None:
                    item = self._flights[key] = Item(key, job)
                    new.append((item, position, pair))
                elif item.owner.closed:
                    self._own(item, job)
                item.waiters.append((job, position))
            if not new:
                job.queued(0, estimate)
                await asyncio.sleep(0)  # a long request that is all known must not hold the event loop
                continue
            task = asyncio.create_task(self._encode(job, encoder, client, new, estimate))
            self._encoding.add(task)
            task.add_done_callback(self._encoding.discard)
            await asyncio.shield(task)  # others may wait for the same pairs by now
        job.all_queued()

    async def _encode(
        self,
        job: Job,
        encoder: PairEncoder,
        client: str,
        new: Sequence[tuple[Item, int, tuple[str, str]]],
        estimate: int,
    ) -> None:
        """Tokenize pairs in the tokenizer's thread and queue them; an error ends who wants that pair."""
        pairs = [pair for _, _, pair in new]
        start = time.perf_counter()
        loop = asyncio.get_running_loop()
        long = sum(len(text) for _, text in pairs) > _LONG_CHARS
        thread = self._long_tokenizer if long else self._tokenizer
        encoded = await loop.run_in_executor(thread, _encoded, encoder, pairs)
        now = time.perf_counter()
        job.tokenize_s += now - start
        ready: list[Item] = []
        read: list[tuple[str, str]] = []
        for (item, _, texts), pair in zip(new, encoded, strict=True):
            if isinstance(pair, Exception):
                self._flights.pop(item.key, None)
                for waiter, position in item.waiters:
                    waiter.fail(_told(pair, position))
                continue
            item.pair = pair
            item.costs = encoder.costs(pair)
            ready.append(item)
            read.append(texts)
        self._learn(read, encoder, sum(item.tokens for item in ready))
        for item in ready:
            if item.owner is not job:
                item.owner.queued(item.tokens)
        job.queued(sum(item.tokens for item in ready if item.owner is job), estimate)
        job.first_queued = job.first_queued or now
        self.batcher.lanes.put(client, (job, job.feeds), ready)

    def _hand_over(self, job: Job) -> None:
        """What a request leaves behind counts for the next one that waits for it."""
        for item in self._flights.values():
            if item.owner is job:
                heir = next((waiter for waiter, _ in item.waiters if not waiter.closed), None)
                if heir is not None:
                    self._own(item, heir)

    def _own(self, item: Item, job: Job) -> None:
        """Count an item as a request's own; one without a pair yet is counted when it has got it."""
        item.owner = job
        job.queued(item.tokens)

    def _learn(self, pairs: Sequence[tuple[str, str]], encoder: PairEncoder, tokens: int) -> None:
        """Keep track of how many characters a token has here: as many as would have foretold the truth."""
        if tokens > 200:
            foretold = sum(encoder.reads(self._tokens(query), self._tokens(text)) for query, text in pairs)
            measured = min(8.0, max(0.5, self._chars_per_token * foretold / tokens))
            self._chars_per_token += 0.05 * (measured - self._chars_per_token)

    def _deliver_soon(self, batch: Batch) -> None:
        """From the batcher's thread to the event loop."""
        if self._loop is None or self._loop.is_closed():
            return
        with contextlib.suppress(RuntimeError):  # the loop was closed in this moment: nobody waits
            self._loop.call_soon_threadsafe(self._deliver, batch)

    def _deliver(self, batch: Batch) -> None:
        """Hand outcomes to all who wait for them."""
        for item, outcome in zip(batch.items, batch.outcomes, strict=True):
            self._flights.pop(item.key, None)
            if item.owner.keep:
                self.cache.put(item.key, outcome)
            for job, position in item.waiters:
                job.first_started = job.first_started or batch.started
                job.last_finished = batch.finished
                job.settle(position, outcome)
            item.owner.left_queue(item.tokens)
        for item in batch.dropped:
            self._drop(item)
        if batch.error is None and batch.tokens:
            self.rate.measured(batch.tokens, batch.finished - batch.free, full=batch.full)
        if batch.items:
            scored = any(outcome.problem is None for outcome in batch.outcomes)
            self.last_success = batch.finished if scored else -math.inf
        self._on_batch(batch)

    def _drop(self, item: Item) -> None:
        """Forget a pair that nobody wants, unless somebody came for it in the meantime."""
        live = [(job, position) for job, position in item.waiters if not job.closed]
        if not live or item.failed:
            if self._flights.get(item.key) is item:
                del self._flights[item.key]
            return
        item.waiters = live
        self.batcher.lanes.put("", (live[0][0], 0), [item])


def _chunks(
    wanted: Sequence[tuple[int, tuple[str, str]]],
) -> Iterator[list[tuple[int, tuple[str, str]]]]:
    """Pieces of a request, small enough to take turns in the tokenizer."""
    chunk: list[tuple[int, tuple[str, str]]] = []
    chars = 0
    for position, pair in wanted:
        chunk.append((position, pair))
        chars += len(pair[1])
        if len(chunk) == _CHUNK_PAIRS or chars >= _CHUNK_CHARS:
            yield chunk
            chunk, chars = [], 0
    if chunk:
        yield chunk


def _encoded(encoder: PairEncoder, pairs: Sequence[tuple[str, str]]) -> list[EncodedPair | Exception]:
    """All pairs encoded; where one fails, its error stands in its place and the others are not concerned."""
    try:
        return [*encoder.encode(pairs)]
    except Exception:  # noqa: BLE001 - found again below, with the pair that it belongs to
        return [_encoded_alone(encoder, pair) for pair in pairs]


def _encoded_alone(encoder: PairEncoder, pair: tuple[str, str]) -> EncodedPair | Exception:
    try:
        return encoder.encode([pair])[0]
    except Exception as error:  # noqa: BLE001 - handed to whoever waits
        return error


def _told(error: Exception, position: int) -> Exception:
    """An error of the text side in the words of a request."""
    if not isinstance(error, TooLongError):
        return error
    if error.index is None:
        return TooLongPairError(str(error))
    return TooLongPairError(
        f"document {position} makes a pair of {error.tokens} tokens, but at most {error.limit} are read, and"
        " the request forbids to cut it: shorten it, or allow it with 'truncate' or 'truncation': true, or"
        " choose the policy 'window'"
    )


def _stages(job: Job, wanted: Sequence[tuple[int, tuple[str, str]]]) -> Stages:
    queued, started, finished = job.first_queued, job.first_started, job.last_finished
    return Stages(
        tokenize_ms=job.tokenize_s * 1000,
        queue_ms=max(0.0, started - queued) * 1000 if started is not None and queued is not None else 0.0,
        inference_ms=(finished - started) * 1000 if started is not None and finished is not None else 0.0,
        characters=sum(len(text) for _, (_, text) in wanted),
    )


def _query_warnings(encoder: PairEncoder, wanted: Sequence[tuple[int, tuple[str, str]]]) -> tuple[str, ...]:
    """What was cut of queries."""
    queries = dict.fromkeys(query for _, (query, _) in wanted)
    if len(queries) > 1:
        return ()
    cut = [(query, encoder.head(query).cut) for query in queries]
    return tuple(f"the query was cut: its last {n} tokens were not read" for _, n in cut if n)
