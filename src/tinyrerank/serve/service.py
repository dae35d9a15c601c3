"""From the internal request to the internal answer: models with their runners, limits, counters."""

from __future__ import annotations

import asyncio
import time

from tinyrerank.errors import EngineError
from tinyrerank.serve.auth import load_keys
from tinyrerank.serve.bodies import BODIES_AT_ONCE, BodyRoom
from tinyrerank.serve.errors import BodyTooLargeError, InvalidError, UnavailableError
from tinyrerank.serve.metrics import Metrics
from tinyrerank.serve.models import Models, ServedModel, load_model
from tinyrerank.serve.request import RerankAnswer, RerankRequest, joined, ranked
from tinyrerank.serve.runner import Runner, Scored
from tinyrerank.serve.settings import Settings
from tinyrerank.serve.tracing import Tracing

_PROBE_S = 10.0
_START_S = 300.0
_REFRESH_S = 1.0
_OUT_OF_TIME = "the server is stopping and ran out of time; try again"


class Service:
    """Scores requests with the models of a server.

    Args:
        settings: of the server.
        models: loaded; the service closes them.
        threads: of the engines of models that are loaded later.
        tracing: makes spans; None for none.

    Attributes:
        keys: that requests need.
        bodies: memory for the bodies of requests.
        metrics: counters of this process.
        draining: whether the server is about to stop.
    """

    def __init__(
        self,
        settings: Settings,
        models: Models,
        *,
        threads: int | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.settings = settings
        self.tracing = tracing or Tracing()
        self._threads = threads
        self.models = models
        self.keys = load_keys(settings)
        self.bodies = BodyRoom(BODIES_AT_ONCE * settings.max_body_bytes)
        self.metrics = Metrics()
        self.draining = False
        self._given_up = False
        self._refresher: asyncio.Task[None] | None = None
        self.started = False
        self._runners = {model.name: self._runner(model) for model in models}

    def _runner(self, model: ServedModel) -> Runner:
        return Runner(
            model,
            batch_tokens=self.settings.batch_tokens,
            max_queue_tokens=self.settings.max_queue_tokens,
            max_queue_s=self.settings.max_queue_s,
            cache_entries=self.settings.cache_entries,
            on_batch=lambda batch: self.metrics.batch(model.name, batch),
        )

    def runner(self, model: ServedModel) -> Runner:
        """The runner of a model."""
        return self._runners[model.name]

    async def start(self) -> None:
        """Begin, and score a first pair with every model."""
        for runner in self._runners.values():
            runner.start()
        for runner in self._runners.values():
            await runner.probe(timeout_s=_START_S)
        self.started = True
        self.metrics.ready.set(1)
        if self.metrics.shared:
            self._refresher = asyncio.create_task(self._keep_fresh())

    async def stop(self) -> None:
        """Fail what is not done and free the models."""
        self.draining = True
        self.metrics.ready.set(0)
        if self._refresher is not None:
            self._refresher.cancel()
        for runner in self._runners.values():
            runner.fail_all(UnavailableError("the server is stopping; try another one, or again"))
            await asyncio.to_thread(runner.stop)
        self.models.close()
        self.tracing.close()

    def give_up(self) -> None:
        """The time to drain is over: what still runs, or is still arriving, is answered with an error."""
        self._given_up = True
        for runner in self._runners.values():
            runner.fail_all(UnavailableError(_OUT_OF_TIME))

    async def probe(self) -> None:
        """Score a new pair with every model.

        Raises:
            UnavailableError: the server is starting or stopping, or a model does not score.
        """
        if self.draining or not self.started:
            raise UnavailableError("the server is stopping" if self.draining else "the server is starting")
        for runner in self._runners.values():
            await runner.probe(timeout_s=_PROBE_S)

    async def rank(
        self,
        request: RerankRequest,
        *,
        request_id: str,
        client: str = "",
        arrived: float | None = None,
    ) -> RerankAnswer:
        """Answer a request.

        Args:
            request: from a dialect.
            request_id: for the answer.
            client: whose share of the engine it uses.
            arrived: time of the event loop when its first byte came; the deadline counts from there.

        Raises:
            UnknownModelError: no such model.
            BodyTooLargeError: too many documents.
            InvalidError: not one document can be read, or one is too long and may not be cut.
            OverloadedError: too much is waiting.
            DeadlineError: nothing was scored in time.
            EngineError: the engine failed on every document.
            UnavailableError: the server is stopping.
        """
        if self._given_up:
            raise UnavailableError(_OUT_OF_TIME)
        now = asyncio.get_running_loop().time()
        arrived = now if arrived is None else arrived
        model = self.models.find(request.model)
        _check_size(request, self.settings.max_documents)
        limit = model.reranker.max_length
        if request.reading.max_length is not None and request.reading.max_length > limit:
            raise InvalidError(
                f"max_length: {request.reading.max_length} is more than the {limit} of this model"
            )
        allowed_ms = request.deadline_ms if request.deadline_ms is not None else self.settings.deadline_ms
        deadline = None if allowed_ms is None else arrived + allowed_ms / 1000
        scored = await self.runner(model).score(request, client=client, deadline=deadline)
        _check_outcomes(scored)
        weight = request.list_weight if request.list_weight is not None else self.settings.list_weight
        outcomes = joined(scored.outcomes, weight)
        scored.stages.total_ms = (asyncio.get_running_loop().time() - arrived) * 1000
        answer = RerankAnswer(
            id=request_id,
            created=int(time.time()),
            model=request.model or model.name,
            served_model=model.name,
            engine=model.reranker.engine.name,
            device=str(getattr(model.reranker.engine, "device", "cpu")),
            outcomes=outcomes,
            order=ranked(outcomes, request.top_n, in_order=request.in_order),
            tokens=sum(outcome.cost for outcome in outcomes),
            cached=scored.cached,
            stages=scored.stages,
            warnings=(*request.warnings, *scored.warnings),
        )
        self.metrics.answered(answer)
        return answer

    async def load_model(self, name: str, source: str) -> ServedModel:
        """Serve one more model, once it has scored a pair.

        Raises:
            InputError: the name is taken.
            ModelError: the model cannot be used.
        """
        model = await asyncio.to_thread(load_model, name, source, self.settings, threads=self._threads)
        runner = self._runner(model)
        try:
            runner.start()
            await runner.probe(timeout_s=_START_S)
            self.models.add(model)
        except BaseException:
            await asyncio.to_thread(runner.stop)
            model.reranker.close()
            raise
        self._runners[name] = runner
        return model

    async def unload_model(self, name: str) -> None:
        """Stop serving a model; its running requests are finished first.

        Raises:
            UnknownModelError: no such model.
            InputError: it is the default.
        """
        model = self.models.remove(name)
        runner = self._runners.pop(name)
        await runner.idle()
        await asyncio.to_thread(runner.stop)
        model.reranker.close()

    async def _keep_fresh(self) -> None:
        """Refresh the gauges by the clock: another worker may be asked for them."""
        while True:
            self.refresh_gauges()
            await asyncio.sleep(_REFRESH_S)

    def refresh_gauges(self) -> None:
        """Bring the gauges up to date; counters always are."""
        for name, runner in self._runners.items():
            self.metrics.queue_tokens.labels(name).set(runner.admission.waiting)
            self.metrics.queue_limit.labels(name).set(runner.admission.limit)
            self.metrics.drain_rate.labels(name).set(runner.rate.tokens_per_s)
            self.metrics.cache_entries.labels(name).set(len(runner.cache))


def _check_size(request: RerankRequest, max_documents: int) -> None:
    if not request.pairs:
        raise InvalidError("documents: the list is empty; send at least one", "documents")
    if len(request.pairs) > max_documents:
        raise BodyTooLargeError(
            f"documents: {len(request.pairs)} are more than the {max_documents} that this server takes;"
            " send several requests"
        )


def _check_outcomes(scored: Scored) -> None:
    """An answer without a single score is an error."""
    problems = [outcome.problem for outcome in scored.outcomes if outcome.problem is not None]
    if len(problems) < len(scored.outcomes):
        return
    bad = next((problem for problem in problems if problem.code == "bad_document"), None)
    if bad is not None and all(problem.code == "bad_document" for problem in problems):
        raise InvalidError(f"documents: not one of {len(problems)} can be read: {bad.message}", "documents")
    raise EngineError("the engine failed on every document; the server's log says why")
