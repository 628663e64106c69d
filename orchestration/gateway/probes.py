"""Probes for operators: is the process alive, can it serve and why not, and what does it measure."""

from __future__ import annotations

import shutil
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Scope

from contracts.base import Contract, Right
from contracts.errors import Forbidden
from orchestration.gateway.access import gate_of, is_loopback
from orchestration.gateway.wiring import GatewayWiring

router = APIRouter(include_in_schema=False)

SMALLEST_FREE_BYTES = 256 << 20


class Alive(Contract):
    """The process answers."""

    alive: bool


class Check(Contract):
    """One thing that serving depends on."""

    name: str
    ok: bool
    reason: str | None = None


class Ready(Contract):
    """Whether requests can be served, with a reason for each no."""

    ready: bool
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
    ready = all(check.ok for check in checks)
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


def check_storage(wiring: GatewayWiring) -> Check:
    """Whether the data folder is there and has room for an answer's temporary files."""
    try:
        free = shutil.disk_usage(wiring.settings.home).free
    except OSError as error:
        return Check(name="storage", ok=False, reason=f"the data folder cannot be read ({error.strerror})")
    if free < SMALLEST_FREE_BYTES:
        return Check(name="storage", ok=False, reason=f"{free // (1 << 20)} MiB free")
    return Check(name="storage", ok=True)


def allow_scrape(request: Request) -> None:
    """Let this machine read the metrics, and callers who may administer."""
    if request.client is not None and is_loopback(request.client.host):
        return
    if Right.ADMINISTER not in gate_of(request).caller(request).rights:
        raise Forbidden(f"this needs the right `{Right.ADMINISTER}`", right=str(Right.ADMINISTER))


@router.get("/metrics")
def metrics(request: Request, _allowed: Annotated[None, Depends(allow_scrape)]) -> Response:
    """Show the metrics of this process for Prometheus."""
    meters: Meters = request.app.state.meters
    return Response(generate_latest(meters.registry) + generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)
