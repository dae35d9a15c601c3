"""Counters for Prometheus: our own, and those that dashboards of text-embeddings-inference know.

With several workers each process writes into files of a common folder, and any of them answers for all.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyrerank.serve.batcher import Batch
    from tinyrerank.serve.request import RerankAnswer

#: Of prometheus_client; read when it is imported.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 65_536)
#: The library ends the names of counters in _total; text-embeddings-inference does not.
_TE_COUNTER = re.compile(rb"\b(te_request_[a-z]+)_total\b")
_PAIRS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000)


class Metrics:
    """All counters of a process. They are made late: prometheus_client is not light."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's gap
        self.registry = registry = CollectorRegistry()

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(name, about, labels, registry=registry)

        def gauge(name: str, about: str, *labels: str) -> Gauge:
            return Gauge(name, about, labels, registry=registry, multiprocess_mode="livesum")

        def histogram(name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, about, labels, registry=registry, buckets=buckets)

        self.requests = counter("tinyrerank_requests", "Answers of ranking routes", "dialect", "status")
        self.latency = histogram("tinyrerank_request_seconds", "Time to the answer", _SECONDS, "dialect")
        self.documents = counter("tinyrerank_documents", "Documents of scored requests")
        self.truncated = counter("tinyrerank_truncated_documents", "Documents not read to their end")
        self.tokens_cut = counter("tinyrerank_cut_tokens", "Document tokens that were not read")
        self.problems = counter("tinyrerank_unscored_documents", "Documents without a score", "reason")
        self.cached = counter("tinyrerank_cache_hits", "Pairs whose score was known")
        self.computed = counter("tinyrerank_computed_pairs", "Pairs that an engine computed", "model")
        self.tokens = counter("tinyrerank_computed_tokens", "Tokens that an engine computed", "model")
        self.busy = counter("tinyrerank_engine_seconds", "Time that an engine computed", "model")
        self.engine_errors = counter("tinyrerank_engine_errors", "Batches that failed", "model")
        self.dropped = counter("tinyrerank_dropped_pairs", "Pairs nobody waited for any more", "model")
        self.gone = counter("tinyrerank_disconnects", "Clients that hung up before the answer")
        self.queue_tokens = gauge("tinyrerank_queue_tokens", "Tokens waiting or being computed", "model")
        self.queue_limit = gauge("tinyrerank_queue_limit_tokens", "Tokens that may wait", "model")
        self.drain_rate = gauge("tinyrerank_drain_tokens_per_second", "Measured speed", "model")
        self.cache_entries = gauge("tinyrerank_cache_entries", "Scores in the cache", "model")
        self.ready = gauge("tinyrerank_ready", "Workers that answer")
        self.te_count = counter("te_request_count", "Requests", "method")
        self.te_success = counter("te_request_success", "Requests that were answered", "method")
        self.te_failure = counter("te_request_failure", "Requests that were not", "err")
        self.te_duration = histogram("te_request_duration", "Seconds per request", _SECONDS)
        self.te_tokenization = histogram(
            "te_request_tokenization_duration", "Seconds of tokenizing", _SECONDS
        )
        self.te_queue = histogram("te_request_queue_duration", "Seconds in the queue", _SECONDS)
        self.te_inference = histogram("te_request_inference_duration", "Seconds in the engine", _SECONDS)
        self.te_length = histogram("te_request_input_length", "Tokens per request", _TOKENS)
        self.te_batch_size = histogram("te_batch_next_size", "Pairs per batch", _PAIRS)
        self.te_batch_tokens = histogram("te_batch_next_tokens", "Tokens per batch", _TOKENS)

    def answered(self, answer: RerankAnswer) -> None:
        """Count a scored request."""
        stages = answer.stages
        self.documents.inc(len(answer.outcomes))
        self.cached.inc(answer.cached)
        for outcome in answer.outcomes:
            if outcome.problem is not None:
                self.problems.labels(outcome.problem.code).inc()
            elif outcome.truncated:
                self.truncated.inc()
                self.tokens_cut.inc(outcome.tokens_total - outcome.tokens_read)
        self.te_success.labels("single").inc()
        self.te_tokenization.observe(stages.tokenize_ms / 1000)
        self.te_queue.observe(stages.queue_ms / 1000)
        self.te_inference.observe(stages.inference_ms / 1000)
        self.te_length.observe(answer.tokens)

    def response(self, dialect: str, status: int, seconds: float, code: str | None) -> None:
        """Count any response of a ranking route."""
        self.requests.labels(dialect, str(status)).inc()
        self.latency.labels(dialect).observe(seconds)
        self.te_count.labels("single").inc()
        self.te_duration.observe(seconds)
        if code is not None:
            self.te_failure.labels(code).inc()

    def batch(self, model: str, batch: Batch) -> None:
        """Count a batch of the engine."""
        self.dropped.labels(model).inc(len(batch.dropped))
        if batch.tokens == 0 and batch.error is None:
            return
        self.computed.labels(model).inc(len(batch.items))
        self.tokens.labels(model).inc(batch.tokens)
        self.busy.labels(model).inc(batch.finished - batch.started)
        self.te_batch_size.observe(len(batch.items))
        self.te_batch_tokens.observe(batch.tokens)
        if batch.error is not None:
            self.engine_errors.labels(model).inc()

    @property
    def shared(self) -> bool:
        """Whether other processes answer for this one's counters, too."""
        return bool(os.environ.get(SHARED_FOLDER))

    def exposition(self) -> tuple[bytes, str]:
        """The text of ``GET /metrics`` and its media type; of all workers, where there are several."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, multiprocess

        registry = self.registry
        if self.shared:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library's gap
        return _TE_COUNTER.sub(rb"\1", generate_latest(registry)), CONTENT_TYPE_LATEST


def forget_worker(process_id: int) -> None:
    """Take a dead worker's gauges out of the sum; its counters stay."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(process_id)  # type: ignore[no-untyped-call]  # the library's gap


def shared_folder(path: Path) -> None:
    """Let processes forked from now on write their counters into a folder."""
    os.environ[SHARED_FOLDER] = str(path)
