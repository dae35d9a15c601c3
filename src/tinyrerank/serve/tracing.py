"""OpenTelemetry traces, where the operator asked for them (extra: ``otel``)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tinyrerank.errors import MissingExtraError

#: Adds attributes to a span.
Annotate = Callable[[Mapping[str, str | int | float]], None]


class Tracing:
    """Makes a span a request.

    Args:
        provider: OpenTelemetry's; None for no spans at all.
    """

    def __init__(self, provider: Any = None) -> None:  # noqa: ANN401 - the library may not be installed
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer("tinyrerank.serve")

    @contextlib.contextmanager
    def span(self, name: str, headers: Mapping[str, str]) -> Iterator[Annotate]:
        """A span around a block, child of the trace that the request's headers name."""
        if self._tracer is None:
            yield lambda _: None
            return
        from opentelemetry.propagate import extract

        with self._tracer.start_as_current_span(name, context=extract(headers)) as span:
            yield span.set_attributes

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def otlp_tracing() -> Tracing:
    """Spans over OTLP; endpoint, headers and service name come from the ``OTEL_*`` variables.

    Raises:
        MissingExtraError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise MissingExtraError("tracing", "otel") from None
    provider = TracerProvider(resource=Resource.create({"service.name": "tinyrerank"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
