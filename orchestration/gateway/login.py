"""Routes of the login: exchange a link, ask who is logged in, log out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field, SecretStr

from contracts.base import Caller, Contract, Name, Right
from contracts.errors import UploadTooLarge, XsysError
from contracts.governance import Identity
from contracts.members import LinkSpent, LoginRefused, NameTaken, Password, WeakPassword, WrongPassword
from orchestration.gateway.access import (
    CanLook,
    Gate,
    GateDep,
    Require,
    clear_login_cookie,
    cookie_name,
    refuse_foreign_origin,
    set_login_cookie,
)
from orchestration.governance.errors import LoginLinkSpent
from orchestration.governance.logins import LoginSession
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


Secret = Annotated[str, Field(min_length=1, max_length=200)]
GivenPassword = Annotated[SecretStr, Field(min_length=1, max_length=200)]
OwnAccount = Annotated[Caller, Depends(Require(Right.TOKENS))]
GUESSES: tuple[type[XsysError], ...] = (LoginLinkSpent, LinkSpent, LoginRefused, WrongPassword)


class PasswordLogin(Contract):
    name: Name
    password: GivenPassword


class Acceptance(Contract):
    """What an invited person chooses. `link` is what stands behind `#` in the address of the invitation."""

    link: Secret
    name: Name
    password: Password


class PasswordChoice(Contract):
    """`link` is what stands behind `#` in the address of the reset link."""

    link: Secret
    password: Password


class PasswordChange(Contract):
    """`current` is left out by who has no password yet and logged in by a link."""

    current: GivenPassword | None = None
    password: Password


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
    with guarded(request, gate):
        return let_in(request, response, gate, gate.governance.log_in(body.link))


@contextmanager
def guarded(request: Request, gate: Gate, account: str | None = None) -> Iterator[None]:
    """Refuse an address, and whoever tries an account, that failed too often; count this try if it fails.

    Foreign origins are refused too, and plain http from elsewhere, over which no cookie is sent.
    """
    keys = [request.client.host if request.client else "unknown"]
    keys += [] if account is None else [f"account:{account}"]
    for key in keys:
        gate.limits.refuse_guesser(key)
    refuse_foreign_origin(request)
    cookie_name(request)  # refuses plain http from elsewhere before a link is spent
    try:
        yield
    except GUESSES:
        for key in keys:
            gate.limits.count_failed_login(key)
        raise


def let_in(request: Request, response: Response, gate: Gate, session: LoginSession) -> Login:
    """Hand the cookie over and tell who is logged in."""
    set_login_cookie(request, response, session)
    response.headers["Cache-Control"] = NOT_STORED
    return Login(identity=gate.governance.me(session.caller), csrf=session.csrf, expires_at=session.expires_at)


@router.post(
    "/login/password",
    operation_id="login_by_password",
    summary="Exchange name and password for a login cookie",
    responses=documented_refusals(UploadTooLarge, LoginRefused),
    max_body_size=LARGEST_LOGIN,
)
def log_in_by_password(request: Request, response: Response, body: PasswordLogin, gate: GateDep) -> Login:
    """Five failures a minute are let pass for an address, and for a name."""
    with guarded(request, gate, body.name):
        return let_in(request, response, gate, gate.governance.log_in_by_password(body.name, body.password))


@router.post(
    "/invitations/accept",
    operation_id="login_accept_invitation",
    summary="Become a member: choose a name and a password, and be logged in",
    responses=documented_refusals(UploadTooLarge, LinkSpent, NameTaken, WeakPassword),
    max_body_size=LARGEST_LOGIN,
)
def accept_invitation(request: Request, response: Response, body: Acceptance, gate: GateDep) -> Login:
    """The link is spent only if the account could be made."""
    with guarded(request, gate):
        session = gate.governance.accept_invitation(body.link, body.name, body.password)
        return let_in(request, response, gate, session)


@router.post(
    "/password-resets/accept",
    operation_id="login_choose_password",
    summary="Choose a new password by a reset link, and be logged in",
    responses=documented_refusals(UploadTooLarge, LinkSpent, WeakPassword),
    max_body_size=LARGEST_LOGIN,
)
def choose_password(request: Request, response: Response, body: PasswordChoice, gate: GateDep) -> Login:
    """All other logins of the account end."""
    with guarded(request, gate):
        return let_in(request, response, gate, gate.governance.choose_password(body.link, body.password))


@router.put(
    "/password",
    operation_id="login_change_password",
    summary="Change one's own password",
    responses=documented_refusals(UploadTooLarge, WrongPassword, WeakPassword),
    openapi_extra={"x-right": str(Right.TOKENS)},
    max_body_size=LARGEST_LOGIN,
)
def change_password(
    request: Request, response: Response, body: PasswordChange, caller: OwnAccount, gate: GateDep
) -> Login:
    """All logins of the account end but this one, which gets a new cookie and CSRF token."""
    with guarded(request, gate, caller.user):
        session = gate.governance.change_password(caller, body.current, body.password)
        return let_in(request, response, gate, session)


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
