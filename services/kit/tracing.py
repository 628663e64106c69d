"""Traces across processes (OpenTelemetry, optional): a request, the calls and the job's parts that follow from it.

Without `XSYS_OTLP_ENDPOINT` nothing is imported and every function here does nothing. The extra `otel` brings the SDK.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from services.kit.logging import correlation_id
from services.kit.settings import Misconfigured, Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

TRACEPARENT = "traceparent"
_WELL_FORMED = re.compile(r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
_tracer: Tracer | None = None


def configure_tracing(settings: Settings, process: str) -> None:
    """Send this process's spans to the collector that the settings name; without one, do nothing.

    Raises
    ------
    Misconfigured : a collector is named and the extra is not installed.
    """
    global _tracer
    if settings.otlp_endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        detail = f"XSYS_OTLP_ENDPOINT is set, but {error.name} is missing: pip install '.[otel]'"
        raise Misconfigured(detail, field="environment") from error
    provider = TracerProvider(resource=Resource.create({"service.name": f"xsys-{process}"}))
    exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    _tracer = provider.get_tracer("xsys")


@contextmanager
def span(
    name: str,
    *,
    kind: Literal["server", "client", "consumer"],
    parent: str | None = None,
    attributes: Mapping[str, str | int] | None = None,
) -> Iterator[MutableMapping[str, str | int]]:
    """Time a block as a span of the trace that runs here, or that `parent` (a `traceparent`) names.

    Yields
    ------
    Attributes to add to while the block runs. An exception that leaves the block marks the span as failed.
    """
    found: dict[str, str | int] = {"xsys.correlation_id": correlation_id(), **(attributes or {})}
    if _tracer is None:
        yield found
        return
    from opentelemetry.trace import SpanKind

    kinds = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "consumer": SpanKind.CONSUMER}
    with _tracer.start_as_current_span(name, context=_context(parent), kind=kinds[kind]) as opened:
        try:
            yield found
        finally:
            if "name" in found:
                opened.update_name(str(found.pop("name")))
            opened.set_attributes(dict(found))


def traceparent() -> str | None:
    """Return what names the span that runs here to another process (W3C Trace Context)."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(TRACEPARENT)


def _context(parent: str | None) -> Context | None:
    if parent is None or not _WELL_FORMED.match(parent):
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({TRACEPARENT: parent})
