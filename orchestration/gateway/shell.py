"""What surrounds every request: host check, correlation id, security headers, log event, metrics."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.errors import XsysError
from orchestration.gateway.access import is_loopback
from orchestration.gateway.probes import Meters, template_of
from services.kit.logging import correlated, logger
from services.kit.problems import TooLargeAsProblem, problem_response
from services.kit.tracing import TRACEPARENT, span

log = logger(__name__)

CORRELATION_HEADER = "X-Correlation-ID"
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class UnknownHost(XsysError):
    """A name that points to this machine may be an attacker's (DNS rebinding); only loopback names are answered."""

    status = 421
    remedy = "Use http://127.0.0.1 or http://localhost, or start the server with --host for other machines."


class Shell:
    """The outermost layer. Inside it nothing leaves without headers, a correlation id and a count."""

    def __init__(self, app: ASGIApp, *, loopback_only: bool, meters: Meters) -> None:
        self.app = TooLargeAsProblem(app)
        self.loopback_only = loopback_only
        self.meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        began, status = time.perf_counter(), 500
        with (
            correlated(headers.get(CORRELATION_HEADER)) as correlation,
            span(scope["method"], kind="server", parent=headers.get(TRACEPARENT)) as attributes,
        ):

            async def dressed(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                    sent = MutableHeaders(scope=message)
                    for name, value in SECURITY_HEADERS.items():
                        sent.setdefault(name, value)
                    sent[CORRELATION_HEADER] = correlation
                await send(message)

            try:
                if self.loopback_only and not _names_loopback(headers.get("host", "")):
                    refusal = UnknownHost("this server answers to loopback names only", field="Host")
                    await problem_response(refusal)(scope, receive, dressed)
                else:
                    await self.app(scope, receive, dressed)
            finally:
                seconds = time.perf_counter() - began
                self.meters.observe(scope, status, seconds)
                route = template_of(scope)
                attributes["name"] = f"{scope['method']} {route}"
                attributes.update({"http.request.method": scope["method"], "http.route": route})
                attributes["http.response.status_code"] = status
                log.info(
                    "request.answered", verb=scope["method"], route=route, status=status, seconds=round(seconds, 4)
                )


def _names_loopback(host: str) -> bool:
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:  # brackets that do not close
        return False
