"""The entry point: a server, a token, and everything that can be asked there."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Self

import httpx

from contracts.attribution import AttributionRequest
from contracts.audit import Audit
from contracts.base import Page
from contracts.errors import Unauthenticated
from contracts.explanation import ComponentDetail, SearchHits, SearchQuery, TextTerm
from contracts.governance import Identity
from contracts.jobs import Job
from contracts.sessions import AnalysisSession, JoinRequest, SessionRequest, SessionSummary
from contracts.snapshots import Snapshot
from contracts.steering import SteeringRequest
from xsys_client.display import Attribution, ComponentCard, Hits, Steering
from xsys_client.services import bound, protocols
from xsys_client.sessions import Session

SECONDS = 120.0
POLL_SECONDS = 0.5


def connect(server: str | None = None, token: str | None = None) -> Workbench:
    """Connect to a server; by default to `XSYS_SERVER` with the access token in `XSYS_TOKEN`.

    Raises
    ------
    Unauthenticated : there is no token (`xsys token create NAME` makes one), or the server does not know it.
    """
    address = server or os.environ.get("XSYS_SERVER") or "http://127.0.0.1:8000"
    secret = token or os.environ.get("XSYS_TOKEN")
    if not secret:
        raise Unauthenticated("no access token: give `token` or set XSYS_TOKEN", field="token")
    workbench = Workbench(address, secret)
    workbench.me()
    return workbench


class Workbench:
    """What the browser offers. The services of the contracts are attributes: `xsys.explanation.components(...)`.

    `data`, `model`, `explanation`, `comparison`, `alignment`, `atlas`, `audits` (the contract `audit`), `jobs`,
    `governance`, `analysis` (the contract `sessions`), and whatever contracts are added. The methods here are short
    ways to what is asked most, with answers that a notebook can show.
    """

    def __init__(self, server: str, token: str, *, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self.http = httpx.Client(
            base_url=f"{server.rstrip('/')}/v1", headers=headers, timeout=SECONDS, transport=transport
        )
        self.services: dict[str, Any] = {
            name: bound(protocol, self.http, lambda _: headers) for name, protocol in protocols().items()
        }

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "services":
            raise AttributeError(name)
        called = {"audits": "audit", "analysis": "sessions"}.get(name, name)
        try:
            return self.services[called]
        except KeyError:
            raise AttributeError(f"no service `{name}`; there are {', '.join(sorted(self.services))}") from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.services, "audits", "analysis"} - {"audit", "sessions"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def me(self) -> Identity:
        """Tell as whom one is connected."""
        found: Identity = self.services["governance"].me()
        return found

    # --- snapshots ------------------------------------------------------------------------------
    def snapshots(self) -> list[Snapshot]:
        """List the newest 200 snapshots."""
        page: Page[Snapshot] = self.services["explanation"].snapshots(200)
        return page.items

    def snapshot(self, snapshot: str) -> Snapshot:
        """Show one snapshot, by id or name."""
        found: Snapshot = self.services["explanation"].snapshot(snapshot)
        return found

    def search(self, snapshot: str, query: str | Mapping[str, Any] | SearchQuery, **options: Any) -> Hits:
        """Find components by text or by a query; `options` are fields of `SearchQuery` beside a text."""
        asked = SearchQuery(terms=[TextTerm(text=query)], **options) if isinstance(query, str) else query
        body = asked if isinstance(asked, SearchQuery) else SearchQuery.model_validate({**asked, **options})
        answer: SearchHits = self.services["explanation"].search(snapshot, body)
        return Hits(answer, self.snapshot(snapshot).dataset.id, self.services["data"].thumbnail)

    def component(self, snapshot: str, layer: str, index: int, sign: int = 1) -> ComponentCard:
        """Show one component: examples, histogram, prototypes, nearest components."""
        answer: ComponentDetail = self.services["explanation"].component(snapshot, layer, index, sign)
        return ComponentCard(answer, self.snapshot(snapshot).dataset.id, self.services["data"].thumbnail)

    # --- models ---------------------------------------------------------------------------------
    def attribute(self, model: str, request: Mapping[str, Any] | AttributionRequest) -> Attribution:
        """Ask why: heat maps of a prediction by several methods."""
        body = request if isinstance(request, AttributionRequest) else AttributionRequest.model_validate(request)
        return Attribution(self.services["model"].attribute(model, body))

    def steer(self, model: str, request: Mapping[str, Any] | SteeringRequest) -> Steering:
        """Change activations and compare the prediction with the one without."""
        body = request if isinstance(request, SteeringRequest) else SteeringRequest.model_validate(request)
        return Steering(self.services["model"].steering_preview(model, body))

    def audit(self, audit: str) -> Audit:
        """Show one audit with the decisions about it."""
        found: Audit = self.services["audit"].audit(audit)
        return found

    def wait(self, job: Job | str, *, seconds: float = 3600.0) -> Job:
        """Wait until a job has ended; return it as it ended, failed ones too.

        Raises
        ------
        TimeoutError : it has not ended after `seconds`; it goes on.
        """
        name = job if isinstance(job, str) else job.id
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            state: Job = self.services["jobs"].job(name)
            if state.ended_at is not None:
                return state
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"job {name} has not ended after {seconds:g} s")

    # --- analysis sessions ----------------------------------------------------------------------
    def sessions(self) -> list[SessionSummary]:
        """List the analysis sessions that one is a member of, last changed first."""
        page: Page[SessionSummary] = self.services["sessions"].sessions(200)
        return page.items

    def session(self, session: str) -> Session:
        """Take up an analysis session."""
        self.services["sessions"].session(session)
        return Session(self.services["sessions"], self.http, session)

    def begin(self, snapshot: str, name: str) -> Session:
        """Begin an analysis session on a snapshot."""
        made: AnalysisSession = self.services["sessions"].begin(SessionRequest(name=name, snapshot=snapshot))
        return Session(self.services["sessions"], self.http, made.id)

    def join(self, link: str) -> Session:
        """Become a member by a share link, or by its secret alone."""
        made: AnalysisSession = self.services["sessions"].join(JoinRequest(link=link.rpartition("#")[2]))
        return Session(self.services["sessions"], self.http, made.id)
