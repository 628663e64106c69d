"""Who is asking: from a login cookie or an access token to a `Caller`, and whether that one may."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from contracts.base import Caller, Right
from contracts.errors import Forbidden, Unauthenticated
from orchestration.gateway.limits import RateLimits
from orchestration.governance.errors import CrossSiteRequest
from orchestration.governance.logins import ABSOLUTE_LIFE, LoginSession
from orchestration.governance.service import Governance
from services.kit.db import TRANSIENT
from services.kit.logging import logger

log = logger(__name__)

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER = "X-CSRF-Token"
SECURE_COOKIE = "__Host-xsys"
LOOPBACK_COOKIE = "xsys"  # browsers take `__Host-` cookies over https only


class Gate:
    """Decides on requests. One per application."""

    def __init__(self, governance: Governance, limits: RateLimits) -> None:
        self.governance = governance
        self.limits = limits

    def caller(self, request: Request) -> Caller:
        """Return who is asking. A token goes before a cookie; with a cookie, changes must come from our own page."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme:
            if scheme.lower() != "bearer":
                raise Unauthenticated("the Authorization header has to be `Bearer TOKEN`")
            return self.governance.caller_of_token(token.strip())
        return self.session(request).caller

    def session(self, request: Request) -> LoginSession:
        """Return the login session of the cookie; unsafe verbs need its CSRF token as well."""
        cookie = request.cookies.get(cookie_name(request))
        if cookie is None:
            raise Unauthenticated("not logged in")
        session = self.governance.caller_of_session(cookie)
        if request.method not in SAFE:
            refuse_foreign_origin(request)
            if not self.governance.csrf_matches(session, request.headers.get(CSRF_HEADER, "")):
                raise CrossSiteRequest(f"{CSRF_HEADER} is missing or belongs to another login", field=CSRF_HEADER)
        return session

    def allowed(self, request: Request, right: Right) -> Caller:
        """Return who is asking, if that one has the right."""
        caller = self.caller(request)
        if right not in caller.rights:
            raise Forbidden(f"this needs the right `{right}`", right=str(right))
        return caller


def gate_of(request: Request) -> Gate:
    """Return the application's gate."""
    gate: Gate = request.app.state.gate
    return gate


@dataclass(frozen=True)
class Require:
    """A dependency: the caller, who has `right` and has not asked too often."""

    right: Right

    def __call__(self, request: Request) -> Caller:
        """Return the caller, or refuse."""
        gate = gate_of(request)
        caller = gate.allowed(request, self.right)
        gate.limits.charge(caller, self.right)
        return caller


class Lasting:
    """Checks, while a stream is open, that its login or token still holds: it outlives the check of its request.

    Parameters
    ----------
    seconds : between two checks.
    """

    def __init__(self, request: Request, right: Right, seconds: float) -> None:
        self._ask = partial(gate_of(request).allowed, request, right)
        self._seconds = seconds
        self._due = time.monotonic() + seconds

    async def __call__(self) -> None:
        """Check if it is time to. A database that is busy for a moment ends no stream.

        Raises
        ------
        Unauthenticated, Forbidden : logged out, revoked, disabled, or of another role by now.
        """
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._seconds
        try:
            await run_in_threadpool(self._ask)
        except TRANSIENT as error:
            log.warning("access.not_checked", reason=str(error)[:200])


CanLook = Annotated[Caller, Depends(Require(Right.LOOK))]
GateDep = Annotated[Gate, Depends(gate_of)]


def refuse_foreign_origin(request: Request) -> None:
    """Refuse a change that another site's page asks for. A missing Origin is no browser's."""
    origin = request.headers.get("origin")
    if origin is None:
        return
    if origin != f"{request.url.scheme}://{request.headers.get('host', '')}":
        raise CrossSiteRequest("the request comes from a page of another origin", field="Origin")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_of(request: Request) -> str:
    """Return the host that the client named, without the port."""
    return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""


def cookie_name(request: Request) -> str:
    """`__Host-xsys` under https; the plain name is for loopback http only."""
    if request.url.scheme == "https":
        return SECURE_COOKIE
    if not is_loopback(host_of(request)):
        raise Forbidden("logging in over plain http works on this machine only; put https in front")
    return LOOPBACK_COOKIE


def set_login_cookie(request: Request, response: Response, session: LoginSession) -> None:
    """Hand the login session to the browser, out of scripts' reach."""
    response.set_cookie(
        cookie_name(request),
        session.secret,
        max_age=int(ABSOLUTE_LIFE.total_seconds()),
        httponly=True,
        secure=request.url.scheme == "https",
        samesite="lax",
        path="/",
    )


def clear_login_cookie(request: Request, response: Response) -> None:
    """Take the login cookie back."""
    response.delete_cookie(
        cookie_name(request), httponly=True, secure=request.url.scheme == "https", samesite="lax", path="/"
    )
