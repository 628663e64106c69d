"""Probes for operators: is the process alive, can it serve and why not, and what does it measure."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import version
from ipaddress import ip_address
from typing import Annotated

import httpx
import redis
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Scope

from contracts.base import Contract, Right, operations_of
from contracts.errors import Forbidden
from orchestration.gateway.access import gate_of, is_loopback
from orchestration.gateway.protocols import PROTOCOLS
from orchestration.gateway.wiring import GatewayWiring
from services.kit.keys import sha256_of
from services.kit.settings import Settings

router = APIRouter(include_in_schema=False)

SMALLEST_FREE_BYTES = 256 << 20
PROBE_SECONDS = 2.0


@cache
def release() -> str:
    """Name what must be equal in all processes: our version, and a digest of the contracts that they speak."""
    marks = {
        f"{protocol.__name__}.{name}": [mark.verb, mark.path, str(mark.right)]
        for protocol in PROTOCOLS
        for name, mark in operations_of(protocol).items()
    }
    return f"{version('xsys')}+{sha256_of(marks)[:12]}"


class Alive(Contract):
    """The process answers."""

    alive: bool


class Check(Contract):
    """One thing that serving depends on."""

    name: str
    ok: bool
    reason: str | None = None
    required: bool = True


class Ready(Contract):
    """Whether requests can be served, with a reason for each no. Without what is not required, others are answered."""

    ready: bool
    release: str = release()
    checks: list[Check]


class Meters:
    """What the gateway measures. A registry of its own, so that two applications fit into one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.seconds = Histogram(
            "xsys_request_seconds", "Request seconds by route", ("verb", "route"), registry=self.registry
        )
        self.answers = Counter(
            "xsys_answers", "Answers by route and status", ("verb", "route", "status"), registry=self.registry
        )

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count an answer under its route's template; unknown paths share one name, or anyone could fill memory."""
        route = template_of(scope)
        verb = str(scope["method"]) if route != "none" else "ANY"
        self.seconds.labels(verb, route).observe(seconds)
        self.answers.labels(verb, route, str(status)).inc()


def template_of(scope: Scope) -> str:
    """Return the path template of the route that answered."""
    template = str(getattr(scope.get("route"), "path", "none"))
    versioned = str(scope["path"]).startswith("/v1/") and template != "none"
    return f"/v1{template}" if versioned else template


@router.get("/healthz")
def healthz() -> Alive:
    """Tell that the process answers."""
    return Alive(alive=True)


@router.get("/readyz")
def readyz(request: Request, response: Response) -> Ready:
    """Tell whether requests can be served."""
    wiring: GatewayWiring = request.app.state.wiring
    checks = [check_database(wiring), check_storage(wiring)]
    if wiring.settings.distributed:
        checks.append(check_broker(wiring.settings))
        checks += check_peers(peers_of(request))
    ready = all(check.ok for check in checks if check.required)
    response.status_code = 200 if ready else 503
    return Ready(ready=ready, checks=checks)


def check_database(wiring: GatewayWiring) -> Check:
    """Whether the database answers."""
    try:
        with wiring.database.reading() as db:
            db.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        return Check(name="database", ok=False, reason=f"does not answer ({type(error).__name__})")
    return Check(name="database", ok=True)


def check_broker(settings: Settings) -> Check:
    """Whether Redis answers. Not required: jobs are written all the same, and the reaper rings for them later."""
    if settings.broker_url is None:
        return Check(name="broker", ok=True, required=False)
    client = redis.Redis.from_url(settings.broker_url.get_secret_value(), socket_timeout=PROBE_SECONDS)
    try:
        client.ping()
    except redis.RedisError as error:
        reason = f"does not answer ({type(error).__name__})"
        return Check(name="broker", ok=False, reason=reason, required=False)
    finally:
        client.close()
    return Check(name="broker", ok=True, required=False)


def peers_of(request: Request) -> Mapping[str, str]:
    """Return where the services are that this process asks; none if it has them in itself."""
    peers: Mapping[str, str] = getattr(request.app.state, "peers", {})
    return peers


def check_peers(peers: Mapping[str, str]) -> list[Check]:
    """Ask all services at once: several that hang must not make this probe time out."""
    if not peers:
        return []
    with ThreadPoolExecutor(len(peers)) as pool:
        return list(pool.map(lambda name: check_peer(peers[name], name), peers))


def check_peer(url: str, name: str) -> Check:
    """Whether a service answers and is of the same release."""
    try:
        answer = httpx.get(f"{url}/readyz", timeout=PROBE_SECONDS, trust_env=False)
        theirs = str(answer.json().get("release"))
    except (httpx.HTTPError, ValueError) as error:
        return Check(name=name, ok=False, reason=f"does not answer ({type(error).__name__})", required=False)
    if theirs != release():
        reason = f"is release {theirs}, this is {release()}: start all processes from one release"
        return Check(name=name, ok=False, reason=reason, required=False)
    ready = answer.status_code == 200
    return Check(name=name, ok=ready, reason=None if ready else "is not ready", required=False)


def check_storage(wiring: GatewayWiring) -> Check:
    """Whether the data folder is there and has room for an answer's temporary files."""
    try:
        free = shutil.disk_usage(wiring.settings.home).free
    except OSError as error:
        return Check(name="storage", ok=False, reason=f"the data folder cannot be read ({error.strerror})")
    if free < SMALLEST_FREE_BYTES:
        return Check(name="storage", ok=False, reason=f"{free // (1 << 20)} MiB free")
    return Check(name="storage", ok=True)


def may_scrape(host: str, settings: Settings) -> bool:
    """Whether an address may read the metrics without a token."""
    if is_loopback(host):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in settings.scrape_from)


def allow_scrape(request: Request) -> None:
    """Let this machine read the metrics, and callers who may administer."""
    settings: Settings = request.app.state.wiring.settings
    if request.client is not None and may_scrape(request.client.host, settings):
        return
    if getattr(request.app.state, "gate", None) is None:
        raise Forbidden("metrics of services are for the networks in XSYS_SCRAPE_FROM")
    if Right.ADMINISTER not in gate_of(request).caller(request).rights:
        raise Forbidden(f"this needs the right `{Right.ADMINISTER}`", right=str(Right.ADMINISTER))


@router.get("/metrics")
def metrics(request: Request, _allowed: Annotated[None, Depends(allow_scrape)]) -> Response:
    """Show the metrics of this process for Prometheus."""
    meters: Meters = request.app.state.meters
    return Response(generate_latest(meters.registry) + generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)
