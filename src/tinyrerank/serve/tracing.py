"""OpenTelemetry traces, where the operator asked for them (extra: ``otel``)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from tinyrerank.errors import MissingExtraError

_tracer: Any = None


def start_tracing() -> None:
    """Send spans over OTLP; endpoint, headers and service name come from the ``OTEL_*`` variables.

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
    use_provider(
        TracerProvider(resource=Resource.create({"service.name": "tinyrerank"})),
        BatchSpanProcessor(OTLPSpanExporter()),
    )


def use_provider(provider: Any, processor: Any) -> None:  # noqa: ANN401 - OpenTelemetry's, when it is installed
    """Make spans with a provider."""
    global _tracer  # noqa: PLW0603 - as above
    provider.add_span_processor(processor)
    _tracer = provider.get_tracer("tinyrerank.serve")


@contextlib.contextmanager
def span(name: str, attributes: Mapping[str, str | int], headers: Mapping[str, str]) -> Iterator[None]:
    """A span around a block, child of the trace that the request's headers name; nothing without tracing."""
    if _tracer is None:
        yield
        return
    from opentelemetry.propagate import extract

    with _tracer.start_as_current_span(name, context=extract(headers), attributes=dict(attributes)):
        yield
