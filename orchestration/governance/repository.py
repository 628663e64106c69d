"""Every SQL statement about identities."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, delete, select, update

from contracts.base import Right
from contracts.governance import Role
from orchestration.governance.rows import (
    AccessTokenRow,
    AccountLinkRow,
    LoginLinkRow,
    LoginSessionRow,
    MembershipRow,
    UserRow,
    WorkspaceRow,
)
from services.kit.db import Database, ReadSession, WriteSession


@dataclass(frozen=True)
class Member:
    """A user in a workspace."""

    user: str
    name: str
    workspace: str
    role: Role


@dataclass(frozen=True)
class Entry:
    """How a request came in: with a login session or an access token that is on record. A token limits the rights."""

    member: Member
    expires_at: datetime
    last_used_at: datetime | None
    rights: frozenset[Right] | None = None


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
    db.execute(delete(AccountLinkRow).where(AccountLinkRow.expires_at <= now))


def entry_by_login(database: Database, digest: str) -> Entry | None:
    """Find a login session by the digest of its secret; None if unknown, or its user is no member or disabled."""
    row = LoginSessionRow
    found = database.glance(
        select(
            row.workspace, row.user.label("user"), row.expires_at, row.last_used_at, UserRow.name, MembershipRow.role
        )
        .join(UserRow, and_(UserRow.id == row.user, UserRow.disabled_at.is_(None)))
        .join(MembershipRow, and_(MembershipRow.user == row.user, MembershipRow.workspace == row.workspace))
        .where(row.digest == digest)
    )
    if found is None:
        return None
    member = Member(found.user, found.name, found.workspace, Role(found.role))
    return Entry(member, expires_at=found.expires_at, last_used_at=found.last_used_at)


def touch_login_session(db: WriteSession, digest: str, now: datetime) -> None:
    """Note that a login session was used."""
    db.execute(update(LoginSessionRow).where(LoginSessionRow.digest == digest).values(last_used_at=now))


def end_login_session(db: WriteSession, digest: str) -> None:
    """End a login session on the server."""
    db.execute(delete(LoginSessionRow).where(LoginSessionRow.digest == digest))


def entry_by_token(database: Database, digest: str) -> Entry | None:
    """Find an access token by its secret's digest; None if unknown or revoked, or its user no member or disabled."""
    row = AccessTokenRow
    found = database.glance(
        select(
            row.workspace,
            row.user.label("user"),
            row.rights,
            row.expires_at,
            row.last_used_at,
            UserRow.name,
            MembershipRow.role,
        )
        .join(UserRow, and_(UserRow.id == row.user, UserRow.disabled_at.is_(None)))
        .join(MembershipRow, and_(MembershipRow.user == row.user, MembershipRow.workspace == row.workspace))
        .where(row.digest == digest, row.revoked_at.is_(None))
    )
    if found is None:
        return None
    member, rights = (
        Member(found.user, found.name, found.workspace, Role(found.role)),
        frozenset(map(Right, found.rights)),
    )
    return Entry(member, expires_at=found.expires_at, last_used_at=found.last_used_at, rights=rights)


def touch_token(db: WriteSession, digest: str, now: datetime) -> None:
    """Note that a token was used."""
    db.execute(update(AccessTokenRow).where(AccessTokenRow.digest == digest).values(last_used_at=now))


def tokens_of(db: ReadSession, workspace: str, user: str) -> list[AccessTokenRow]:
    """Return a member's tokens that were not revoked, newest first."""
    return list(
        db.scalars(
            select(AccessTokenRow)
            .where(
                AccessTokenRow.workspace == workspace,
                AccessTokenRow.user == user,
                AccessTokenRow.revoked_at.is_(None),
            )
            .order_by(AccessTokenRow.created_at.desc(), AccessTokenRow.id)
        )
    )


def revoke(db: WriteSession, workspace: str, user: str, token: str, now: datetime) -> bool:
    """Revoke one of a member's tokens; False if there is no such token."""
    done = db.scalars(
        update(AccessTokenRow)
        .where(
            AccessTokenRow.workspace == workspace,
            AccessTokenRow.user == user,
            AccessTokenRow.id == token,
            AccessTokenRow.revoked_at.is_(None),
        )
        .values(revoked_at=now)
        .returning(AccessTokenRow.id)
    )
    return done.one_or_none() is not None
