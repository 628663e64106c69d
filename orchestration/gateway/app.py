"""The public application: REST under /v1, the browser UI beside it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from orchestration.gateway import browser, events, generations, login, probes, session_events
from orchestration.gateway.access import Gate, Require, is_loopback
from orchestration.gateway.events import Streams
from orchestration.gateway.limits import RateLimits
from orchestration.gateway.metrics import Installation
from orchestration.gateway.probes import Meters
from orchestration.gateway.protocols import PROTOCOLS
from orchestration.gateway.schema import as_document
from orchestration.gateway.session_events import Looks
from orchestration.gateway.shell import Shell
from orchestration.gateway.wiring import GatewayWiring
from services.kit.deadlines import Deadlines
from services.kit.departures import Departures
from services.kit.expose import expose
from services.kit.logging import configure_logging
from services.kit.problems import install_problems

PREFIX = "/v1"
LARGEST_BODY = 1 << 20
THREADS = 40  # as many as the database pool has connections
PUBLIC = frozenset(
    {
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/login",
        "/v1/login/password",
        "/v1/invitations/accept",
        "/v1/password-resets/accept",
        "/v1/openapi.json",
        "/v1/docs",
    }
)


class Gateway(FastAPI):
    """FastAPI inside our shell, so that even answers of the framework itself have headers and correlation ids."""

    def build_middleware_stack(self) -> ASGIApp:
        """Put the shell around everything."""
        wiring: GatewayWiring = self.state.wiring
        inner = Departures(Deadlines(super().build_middleware_stack()))
        return Shell(inner, loopback_only=is_loopback(wiring.settings.host), meters=self.state.meters)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, the same that is committed."""
        if self.openapi_schema is None:
            self.openapi_schema = as_document(super().openapi())
        return self.openapi_schema


def api_router(wiring: GatewayWiring) -> APIRouter:
    """Make all routes of /v1 from the contracts."""
    router = APIRouter(prefix=PREFIX)
    router.include_router(login.router)
    implementations = (
        wiring.governance,
        wiring.data,
        wiring.model,
        wiring.explanation,
        wiring.alignment,
        wiring.comparison,
        wiring.audit,
        wiring.atlas,
        wiring.jobs,
        wiring.sessions,
    )
    for protocol, implementation in zip(PROTOCOLS, implementations, strict=True):
        router.include_router(expose(protocol, implementation, access=Require, max_body=wiring.settings.upload_limit))
    router.include_router(events.router)
    router.include_router(generations.router)
    router.include_router(session_events.router)
    return router


def create_app(wiring: GatewayWiring, *, limits: RateLimits | None = None, streams: Streams | None = None) -> FastAPI:
    """Make the public application."""
    app = Gateway(
        title="xsys",
        version="1",
        description="Search, audit and steer what is inside a model.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        max_body_size=LARGEST_BODY,
        form_limits={"max_files": 1, "max_fields": 16, "max_part_size": LARGEST_BODY},
        lifespan=_lifespan,
    )
    app.state.wiring = wiring
    app.state.jobs = wiring.jobs
    app.state.peers = getattr(wiring, "peers", {})
    app.state.meters = Meters()
    app.state.meters.registry.register(Installation(wiring))
    app.state.streams = streams or Streams()
    app.state.looks = Looks(shared_seconds=app.state.streams.shared_seconds)
    app.state.gate = Gate(wiring.governance, limits or RateLimits())
    install_problems(app)
    app.include_router(api_router(wiring))
    app.include_router(probes.router)
    app.include_router(browser.router, prefix=PREFIX)
    app.router.default = browser.BrowserUi(wiring.xui)
    return app


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    if not sys.stderr.isatty():  # a terminal shows warnings only; a log collector gets every event
        configure_logging(json=True)
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


def api_routes(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, APIRoute]]:
    """Go through all routes with their full paths, included routers as well."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield prefix + route.path, route
        elif (inner := getattr(route, "original_router", None)) is not None:
            yield from api_routes(inner.routes, prefix + route.include_context.prefix)  # type: ignore[attr-defined]
