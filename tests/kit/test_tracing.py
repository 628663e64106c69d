"""Traces reach a real collector over HTTP; without one nothing is imported and nothing is sent."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.kit.settings import Settings
from services.kit.tracing import configure_tracing, span, traceparent

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CHAIN = f"""
import sys
from fastapi import FastAPI
from services.kit.logging import correlated
from services.kit.settings import Settings
from services.kit.tracing import configure_tracing, span, traceparent
configure_tracing(Settings(otlp_endpoint=sys.argv[1]), "test")
with correlated("abcdef0123456789"), span("outer", kind="server", parent={PARENT!r}) as attributes:
    attributes["name"] = "GET /v1/things"
    handed_on = traceparent()
with span("stage", kind="consumer", parent=handed_on):
    pass
try:
    with span("broken", kind="client", parent="00-not-a-trace"):
        raise ValueError("no")
except ValueError:
    pass
"""


@pytest.fixture
def collector():
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", bodies
    server.shutdown()


def spans_in(bodies: list[bytes]) -> dict[str, object]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = {}
    for body in bodies:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                found |= {one.name: one for one in scope.spans}
    return found


def test_a_request_and_the_part_that_follows_from_it_are_one_trace(collector):
    url, bodies = collector
    subprocess.run([sys.executable, "-c", CHAIN, url], check=True, timeout=60, env=os.environ)
    spans = spans_in(bodies)
    request, stage, broken = spans["GET /v1/things"], spans["stage"], spans["broken"]
    assert request.trace_id.hex() == stage.trace_id.hex() == PARENT.split("-")[1]
    assert request.parent_span_id.hex() == PARENT.split("-")[2]
    assert stage.parent_span_id == request.span_id
    told = {attribute.key: attribute.value.string_value for attribute in request.attributes}
    assert told["xsys.correlation_id"] == "abcdef0123456789"
    assert broken.trace_id != request.trace_id  # a malformed parent begins a trace of its own
    assert broken.status.code == 2


def test_without_a_collector_nothing_is_imported_and_spans_do_nothing():
    configure_tracing(Settings(), "test")
    with span("nothing", kind="server", parent=PARENT) as attributes:
        attributes["name"] = "still nothing"
        assert traceparent() is None
    code = "import services.kit.tracing, orchestration.gateway.app, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
    assert not [
        name for name in json.loads(done.stdout) if name.startswith("opentelemetry.exporter")
    ]  # redis asks for the rest
