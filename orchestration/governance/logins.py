"""Logging in: one-time links of the command line, login sessions, and whom a cookie or token stands for."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from contracts.base import Caller, Right, UserId, WorkspaceId
from contracts.errors import Unauthenticated
from contracts.governance import LOGIN_ONLY, OPERATOR, ROLES, Role
from orchestration.governance import repository
from orchestration.governance.audit_log import append
from orchestration.governance.errors import LoginLinkSpent
from orchestration.governance.lineage import Registry, nothing_registered
from orchestration.governance.repository import Member
from orchestration.governance.rows import LoginLinkRow, LoginSessionRow, MembershipRow, UserRow, WorkspaceRow
from services.kit.db import Database, WriteSession, insert_if_absent
from services.kit.logging import logger
from services.kit.settings import Settings
from services.kit.tokens import is_token, load_token_key, make_token

log = logger(__name__)

DEFAULT_WORKSPACE = "default"
OPERATOR_USER = "operator"
LINK, SESSION, TOKEN = "xslink", "xsses", "xspat"
LINK_LIFE = timedelta(minutes=10)
IDLE_LIFE = timedelta(hours=12)
ABSOLUTE_LIFE = timedelta(days=7)
TOUCH_EVERY = timedelta(minutes=1)  # last use is kept to the minute: a write per picture would be too many


@dataclass(frozen=True)
class LoginSession:
    """A browser's login: the secret for the cookie, the CSRF token that belongs to it, and its end."""

    secret: str
    csrf: str
    caller: Caller
    expires_at: datetime


class Logins:
    """Who is asking, and how they came in."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        registry: Registry = nothing_registered,
    ) -> None:
        self._database = database
        self._registry = registry
        self._key = load_token_key(settings.token_key, settings.home)
        self._clock = clock

    def operator(self) -> Caller:
        """Return the caller for this machine's command line: all rights, in the default workspace."""
        self._ensure_default()
        return Caller(user=UserId(OPERATOR_USER), workspace=WorkspaceId(DEFAULT_WORKSPACE), rights=OPERATOR)

    def login_link(self, user: str = OPERATOR_USER, workspace: str = DEFAULT_WORKSPACE) -> str:
        """Make a one-time link, as a path. The secret is in the fragment, which browsers do not send: no log has it."""
        self._ensure_default()
        secret, now = make_token(LINK), self._clock()
        with self._database.writing() as db:
            repository.forget_ended(db, now)
            db.add(
                LoginLinkRow(
                    digest=self._key.digest(secret, LINK), workspace=workspace, user=user, expires_at=now + LINK_LIFE
                )
            )
        return f"/login#{secret}"

    def log_in(self, link: str) -> LoginSession:
        """Exchange a link's secret for a login session.

        Raises
        ------
        LoginLinkSpent : used before, ended, or never made.
        """
        now = self._clock()
        spent = LoginLinkSpent("the login link was used before, has ended, or is not one of ours", field="link")
        if not is_token(link, LINK):
            raise spent
        with self._database.writing() as db:
            row = repository.spend_link(db, self._key.digest(link, LINK), now)
            found = None if row is None else repository.member(db, row.workspace, row.user)
            session = None if found is None else self._open(db, found, now, by="link")
        if session is None:
            log.warning("login.refused")
            raise spent
        return session

    def _open(self, db: WriteSession, member: Member, now: datetime, *, by: str) -> LoginSession:
        """Begin a login session, always with a new secret: one that was planted in the browser is worth nothing."""
        secret = make_token(SESSION)
        db.add(
            LoginSessionRow(
                digest=self._key.digest(secret, SESSION),
                workspace=member.workspace,
                user=member.user,
                created_at=now,
                last_used_at=now,
                expires_at=now + ABSOLUTE_LIFE,
            )
        )
        append(db, member.workspace, member.user, "login.accepted", at=now, by=by)
        log.info("login.accepted", user=member.user, workspace=member.workspace)
        return self._login(secret, _caller(member, ROLES[member.role]), now + ABSOLUTE_LIFE)

    def log_out(self, secret: str) -> None:
        """End a login session on the server; the cookie is worthless from now on."""
        with self._database.writing() as db:
            repository.end_login_session(db, self._key.digest(secret, SESSION))

    def caller_of_session(self, secret: str) -> LoginSession:
        """Return whom a session cookie stands for. The rights are those of the role at this moment."""
        ended = Unauthenticated("the login has ended")
        if not is_token(secret, SESSION):
            raise ended
        now, digest = self._clock(), self._key.digest(secret, SESSION)
        found = repository.entry_by_login(self._database, digest)
        if found is None or found.last_used_at is None or found.expires_at <= now:
            raise ended
        if found.last_used_at + IDLE_LIFE <= now:
            raise ended
        if found.last_used_at + TOUCH_EVERY <= now:
            with self._database.writing() as db:
                repository.touch_login_session(db, digest, now)
        return self._login(secret, _caller(found.member, ROLES[found.member.role]), found.expires_at)

    def caller_of_token(self, secret: str) -> Caller:
        """Return whom an access token stands for, with the token's rights as far as the role still has them."""
        refused = Unauthenticated("the access token is unknown, revoked or has ended")
        if not is_token(secret, TOKEN):
            raise refused
        now, digest = self._clock(), self._key.digest(secret, TOKEN)
        found = repository.entry_by_token(self._database, digest)
        if found is None or found.rights is None or found.expires_at <= now:
            raise refused
        if found.last_used_at is None or found.last_used_at + TOUCH_EVERY <= now:
            with self._database.writing() as db:
                repository.touch_token(db, digest, now)
        return _caller(found.member, (ROLES[found.member.role] & found.rights) - LOGIN_ONLY)

    def csrf_matches(self, session: LoginSession, given: str) -> bool:
        """Whether the CSRF token belongs to this login session."""
        return self._key.matches(session.secret, "csrf", given)

    def _login(self, secret: str, caller: Caller, expires_at: datetime) -> LoginSession:
        return LoginSession(secret, self._key.digest(secret, "csrf"), caller, expires_at)

    def add_member(self, name: str, role: Role, workspace: str = DEFAULT_WORKSPACE) -> str:
        """Make a user with a role in a workspace, and the workspace if it is new; return the user's id."""
        user, now = f"u_{secrets.token_hex(8)}", self._clock()
        with self._database.writing() as db:
            insert_if_absent(db, WorkspaceRow, id=workspace, name=workspace, created_at=now)
            db.add(UserRow(id=user, name=name, created_at=now))
            db.flush()
            db.add(MembershipRow(workspace=workspace, user=user, role=role))
        return user

    def _ensure_default(self) -> None:
        with self._database.reading() as db:
            if repository.member(db, DEFAULT_WORKSPACE, OPERATOR_USER) is not None:
                return
        now = self._clock()
        with self._database.writing() as db:
            insert_if_absent(db, WorkspaceRow, id=DEFAULT_WORKSPACE, name=DEFAULT_WORKSPACE, created_at=now)
            insert_if_absent(db, UserRow, id=OPERATOR_USER, name=OPERATOR_USER, created_at=now)
            insert_if_absent(db, MembershipRow, workspace=DEFAULT_WORKSPACE, user=OPERATOR_USER, role=Role.ADMIN)


def _caller(found: Member, rights: frozenset[Right]) -> Caller:
    return Caller(user=UserId(found.user), workspace=WorkspaceId(found.workspace), rights=rights)
