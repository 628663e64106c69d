"""Every SQL statement about identities."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update

from contracts.base import Caller
from contracts.governance import Role
from orchestration.governance.rows import (
    AccessTokenRow,
    LoginLinkRow,
    LoginSessionRow,
    MembershipRow,
    UserRow,
    WorkspaceRow,
)
from services.kit.db import ReadSession, WriteSession


@dataclass(frozen=True)
class Member:
    """A user in a workspace."""

    user: str
    name: str
    workspace: str
    role: Role


def member(db: ReadSession, workspace: str, user: str) -> Member | None:
    """Return the user with the role in this workspace; None if not a member or disabled."""
    found = db.execute(
        select(UserRow.name, MembershipRow.role)
        .join(MembershipRow, MembershipRow.user == UserRow.id)
        .where(MembershipRow.workspace == workspace, UserRow.id == user, UserRow.disabled_at.is_(None))
    ).one_or_none()
    return None if found is None else Member(user, found.name, workspace, Role(found.role))


def has_workspace(db: ReadSession, workspace: str) -> bool:
    """Whether the workspace is there."""
    return db.scalar(select(WorkspaceRow.id).where(WorkspaceRow.id == workspace)) is not None


def spend_link(db: WriteSession, digest: str, now: datetime) -> LoginLinkRow | None:
    """Take a link out of use in one statement, so that two browsers cannot both have it."""
    spent = db.scalars(
        update(LoginLinkRow)
        .where(LoginLinkRow.digest == digest, LoginLinkRow.used_at.is_(None), LoginLinkRow.expires_at > now)
        .values(used_at=now)
        .returning(LoginLinkRow)
    )
    return spent.one_or_none()


def forget_ended(db: WriteSession, now: datetime) -> None:
    """Delete links and login sessions that nobody can use any more."""
    db.execute(delete(LoginLinkRow).where(LoginLinkRow.expires_at <= now))
    db.execute(delete(LoginSessionRow).where(LoginSessionRow.expires_at <= now))


def login_session(db: ReadSession, digest: str) -> LoginSessionRow | None:
    """Find a login session by the digest of its secret."""
    return db.get(LoginSessionRow, digest)


def touch_login_session(db: WriteSession, digest: str, now: datetime) -> None:
    """Note that a login session was used."""
    db.execute(update(LoginSessionRow).where(LoginSessionRow.digest == digest).values(last_used_at=now))


def end_login_session(db: WriteSession, digest: str) -> None:
    """End a login session on the server."""
    db.execute(delete(LoginSessionRow).where(LoginSessionRow.digest == digest))


def disable_user(db: WriteSession, user: str, now: datetime) -> None:
    """Lock a user out and end all of their login sessions."""
    db.execute(update(UserRow).where(UserRow.id == user).values(disabled_at=now))
    db.execute(delete(LoginSessionRow).where(LoginSessionRow.user == user))


def token_by_digest(db: ReadSession, digest: str) -> AccessTokenRow | None:
    """Find an access token by the digest of its secret."""
    return db.scalars(select(AccessTokenRow).where(AccessTokenRow.digest == digest)).one_or_none()


def touch_token(db: WriteSession, digest: str, now: datetime) -> None:
    """Note that a token was used."""
    db.execute(update(AccessTokenRow).where(AccessTokenRow.digest == digest).values(last_used_at=now))


def tokens_of(db: ReadSession, caller: Caller) -> list[AccessTokenRow]:
    """Return the caller's tokens that were not revoked, newest first."""
    return list(
        db.scalars(
            select(AccessTokenRow)
            .where(
                AccessTokenRow.workspace == caller.workspace,
                AccessTokenRow.user == caller.user,
                AccessTokenRow.revoked_at.is_(None),
            )
            .order_by(AccessTokenRow.created_at.desc(), AccessTokenRow.id)
        )
    )


def revoke(db: WriteSession, caller: Caller, token: str, now: datetime) -> bool:
    """Revoke one of the caller's own tokens; False if there is no such token."""
    done = db.scalars(
        update(AccessTokenRow)
        .where(
            AccessTokenRow.workspace == caller.workspace,
            AccessTokenRow.user == caller.user,
            AccessTokenRow.id == token,
            AccessTokenRow.revoked_at.is_(None),
        )
        .values(revoked_at=now)
        .returning(AccessTokenRow.id)
    )
    return done.one_or_none() is not None
