"""Routes of the login: exchange a link, ask who is logged in, log out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from contracts.base import Contract, Right
from contracts.errors import UploadTooLarge
from contracts.governance import Identity
from orchestration.gateway.access import (
    CanLook,
    GateDep,
    clear_login_cookie,
    cookie_name,
    refuse_foreign_origin,
    set_login_cookie,
)
from orchestration.governance.errors import LoginLinkSpent
from services.kit.expose import documented_refusals

router = APIRouter(tags=["login"])

LARGEST_LOGIN = 4096
NOT_STORED = "no-store"
LOOKING = {"x-right": str(Right.LOOK)}


class LoginRequest(Contract):
    """The secret of a one-time link: what stands behind `#` in its address."""

    link: Annotated[str, Field(min_length=1, max_length=200)]


class Login(Contract):
    """Who is logged in. `csrf` has to be sent as `X-CSRF-Token` with every change; it is None for access tokens."""

    identity: Identity
    csrf: str | None
    expires_at: datetime | None


class LoggedOut(Contract):
    """The login session has ended on the server."""

    logged_out: bool


@router.post(
    "/login",
    operation_id="login_log_in",
    summary="Exchange a one-time link for a login cookie",
    responses=documented_refusals(UploadTooLarge),
    max_body_size=LARGEST_LOGIN,
)
def log_in(request: Request, response: Response, body: LoginRequest, gate: GateDep) -> Login:
    """The cookie is out of scripts' reach; the answer has the CSRF token."""
    address = request.client.host if request.client else "unknown"
    gate.limits.refuse_guesser(address)
    refuse_foreign_origin(request)
    cookie_name(request)  # refuses plain http from elsewhere before the link is spent
    try:
        session = gate.governance.log_in(body.link)
    except LoginLinkSpent:
        gate.limits.count_failed_login(address)
        raise
    set_login_cookie(request, response, session)
    response.headers["Cache-Control"] = NOT_STORED
    return Login(identity=gate.governance.me(session.caller), csrf=session.csrf, expires_at=session.expires_at)


@router.get(
    "/session",
    operation_id="login_session",
    summary="Tell who is logged in",
    responses=documented_refusals(),
    openapi_extra=LOOKING,
)
def session(request: Request, response: Response, caller: CanLook, gate: GateDep) -> Login:
    """The answer has the CSRF token that changes need."""
    response.headers["Cache-Control"] = NOT_STORED
    identity = gate.governance.me(caller)
    if "authorization" in request.headers:
        return Login(identity=identity, csrf=None, expires_at=None)
    current = gate.session(request)
    return Login(identity=identity, csrf=current.csrf, expires_at=current.expires_at)


@router.post(
    "/logout",
    operation_id="login_log_out",
    summary="End the login",
    responses=documented_refusals(),
    openapi_extra=LOOKING,
)
def log_out(request: Request, response: Response, caller: CanLook, gate: GateDep) -> LoggedOut:
    """The login session ends on the server, and the cookie is taken back."""
    secret = request.cookies.get(cookie_name(request))
    if secret is not None and "authorization" not in request.headers:
        gate.governance.log_out(secret)
    clear_login_cookie(request, response)
    return LoggedOut(logged_out=True)
