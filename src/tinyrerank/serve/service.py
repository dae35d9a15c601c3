"""From the internal request to the internal answer."""

from __future__ import annotations

import asyncio
import time

from tinyrerank.serve.errors import InvalidError
from tinyrerank.serve.models import Models
from tinyrerank.serve.request import Outcome, Problem, RerankAnswer, RerankRequest, Stages, ranked
from tinyrerank.serve.settings import Settings


class Service:
    """Scores requests with the models of a server.

    Args:
        settings: of the server.
        models: loaded.
    """

    def __init__(self, settings: Settings, models: Models) -> None:
        self.settings = settings
        self.models = models

    async def start(self) -> None:
        """Score a first pair of every model."""
        for model in self.models:
            await asyncio.to_thread(model.reranker.score, "ready?", ["ready"])

    async def stop(self) -> None:
        """Free the models."""
        self.models.close()

    async def probe(self) -> None:
        """Score a pair of every model; raises what goes wrong."""
        await self.start()

    async def rank(self, request: RerankRequest, *, request_id: str, client: str = "") -> RerankAnswer:
        """Answer a request."""
        model = self.models.find(request.model)
        if len(request.pairs) > self.settings.max_documents:
            raise InvalidError(f"documents: {len(request.pairs)} are too many; at most {self.settings.max_documents}")
        start = time.perf_counter()
        good = [pair for pair in request.pairs if not isinstance(pair, Problem)]
        logits = iter((await asyncio.to_thread(model.reranker.score_pairs, good)).tolist())
        outcomes = [
            Outcome(problem=pair) if isinstance(pair, Problem) else Outcome(next(logits)) for pair in request.pairs
        ]
        total = (time.perf_counter() - start) * 1000
        return RerankAnswer(
            id=request_id,
            created=int(time.time()),
            model=request.model or model.name,
            served_model=model.name,
            engine=model.reranker.engine.name,
            outcomes=outcomes,
            order=ranked(outcomes, request.top_n, in_order=request.in_order),
            tokens=0,
            cached=0,
            stages=Stages(total_ms=total),
            warnings=request.warnings,
        )
