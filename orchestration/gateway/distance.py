"""The distributed mode: how the gateway reaches the services, and what a service's process answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp

from orchestration.gateway import probes
from orchestration.gateway.app import create_app
from orchestration.gateway.internal import InternalService, service_access, service_credentials
from orchestration.gateway.limits import RateLimits
from orchestration.gateway.metrics import Caches
from orchestration.gateway.probes import Meters
from orchestration.gateway.relay import Relay
from orchestration.gateway.shared import SharedStreams
from orchestration.gateway.shell import Shell
from orchestration.gateway.wiring import GatewayWiring
from orchestration.migrate import current_revision, newest_revision
from orchestration.processes import HOMES, Process, url_of
from services.kit.breaker import Breaker
from services.kit.deadlines import Deadlines
from services.kit.departures import Departures
from services.kit.expose import expose, service_name
from services.kit.problems import install_problems
from services.kit.remote import remote
from services.kit.settings import Misconfigured, Settings
from services.kit.tokens import load_token_key

CONNECTIONS = httpx.Limits(max_connections=64, max_keepalive_connections=64)  # more than the gateway has threads


class GatewaySide:
    """A wiring in which some services are clients of other processes; everything else is as it was."""

    def __init__(self, inner: GatewayWiring, replaced: Mapping[str, object]) -> None:
        self._inner = inner
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced[name] if name in self._replaced else getattr(self._inner, name)


def require_schema(settings: Settings) -> None:
    """Refuse a database of another release: processes of one installation must agree on what its rows mean.

    Raises
    ------
    Misconfigured : no schema, an older or a newer one.
    """
    found, expected = current_revision(settings.resolved_database_url), newest_revision()
    if found != expected:
        seen = "has no schema" if found is None else f"has schema {found}"
        raise Misconfigured(f"the database {seen}, this release expects {expected}: run `xsys db upgrade` once")


def at_a_distance(wiring: GatewayWiring) -> GatewayWiring:
    """Replace the services of a wiring by clients of their processes. Jobs and governance stay: they are rows."""
    settings, clock = wiring.settings, wiring.database.time
    key = load_token_key(settings.token_key, settings.home)
    seconds = settings.deadline.total_seconds()
    replaced: dict[str, object] = {"xui": Relay(settings.xui_url)}
    peers: dict[Process, str] = {
        process: url_of(settings, process) for process in Process if process is not Process.GATEWAY
    }
    clients: dict[Process, httpx.Client] = {
        process: httpx.Client(base_url=url, timeout=seconds, limits=CONNECTIONS, trust_env=False)
        for process, url in peers.items()
    }
    breakers: dict[Process, Breaker] = {process: Breaker() for process in peers}
    for protocol, process in HOMES.items():
        name = service_name(protocol)
        replaced[name] = remote(
            protocol,
            clients[process],
            credentials=service_credentials(key, name, clock),
            seconds=seconds,
            name=process,
            breaker=breakers[process],
        )
    return cast(GatewayWiring, GatewaySide(wiring, {**replaced, "peers": peers}))


def open_gateway(wiring: GatewayWiring) -> FastAPI:
    """Make one of any number of gateways: services at a distance, counts and wake-ups shared through Redis."""
    broker = wiring.settings.broker_url
    if broker is None:
        raise Misconfigured("XSYS_BROKER_URL is not set", field="XSYS_BROKER_URL")
    url = broker.get_secret_value()
    return create_app(at_a_distance(wiring), limits=RateLimits(url=url), streams=SharedStreams(url))


class ServiceProcess(InternalService):
    """A service with everything around it that the gateway has: correlation, deadlines, probes, metrics."""

    def build_middleware_stack(self) -> ASGIApp:
        """Put the shell around everything."""
        return Shell(
            Departures(Deadlines(super().build_middleware_stack())), loopback_only=False, meters=self.state.meters
        )


def service_app(process: Process, wiring: GatewayWiring) -> FastAPI:
    """Make the application of one service process. Without a service token nothing but the probes answers."""
    app = ServiceProcess(
        title=f"xsys {process}",
        version="1",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        max_body_size=1 << 20,
    )
    app.state.wiring = wiring
    app.state.meters = Meters()
    app.state.meters.registry.register(Caches(wiring))
    install_problems(app)
    app.include_router(probes.router)
    settings = wiring.settings
    key = load_token_key(settings.token_key, settings.home)
    for protocol, home in HOMES.items():
        if home is process:
            name = service_name(protocol)
            access = service_access(key, name, wiring.database.time)
            implementation: Any = getattr(wiring, name)
            app.include_router(expose(protocol, implementation, access=access, max_body=settings.upload_limit))
    if process is Process.XUI and wiring.xui is not None:
        app.mount("/", wiring.xui)
    return app
