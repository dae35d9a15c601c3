"""Traces: a span a request, in the trace of the caller."""

from __future__ import annotations

import builtins
from typing import Any

import httpx
import pytest
from serving import Talk, talk_fixture

from tinyrerank.errors import MissingExtraError
from tinyrerank.serve.service import Service
from tinyrerank.serve.tracing import Tracing, otlp_tracing

talk = talk_fixture
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_request_is_a_span_in_the_trace_of_its_caller(talk: Talk) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def scene(client: httpx.AsyncClient, _: Service) -> None:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        body = {"query": "SECRET", "documents": ["SECRET", "b"]}
        assert (await client.post("/v1/rerank", json=body, headers=headers)).status_code == 200
        (span,) = exporter.get_finished_spans()
        assert span.name == "rerank"
        assert f"{span.context.trace_id:032x}" == TRACE
        assert f"{span.parent.span_id:016x}" == PARENT
        assert span.attributes["tinyrerank.documents"] == 2
        assert "SECRET" not in span.to_json()

    talk(scene, tracing=Tracing(provider))


def test_tracing_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match="otel"):
        otlp_tracing()
