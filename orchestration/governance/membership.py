"""Every SQL statement about members and the links that make or mend their accounts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, and_, delete, select, update

from contracts.members import Role
from orchestration.governance.rows import (
    AccessTokenRow,
    AccountLinkRow,
    LoginLinkRow,
    LoginSessionRow,
    MembershipRow,
    UserRow,
)
from services.kit.db import ReadSession, WriteSession


@dataclass(frozen=True)
class MemberRow:
    """A user with the role in a workspace, disabled or not."""

    user: str
    name: str
    workspace: str
    role: str
    password: str | None
    created_at: datetime
    disabled_at: datetime | None


def _members() -> Select[str, str, str, str, str | None, datetime, datetime | None]:
    user = UserRow
    return select(
        user.id,
        user.name,
        MembershipRow.workspace,
        MembershipRow.role,
        user.password,
        user.created_at,
        user.disabled_at,
    ).join(MembershipRow, MembershipRow.user == user.id)


def members(db: ReadSession, workspace: str, *, after: str, limit: int) -> list[MemberRow]:
    """Return members by name."""
    query = _members().where(MembershipRow.workspace == workspace, UserRow.name > after)
    return [MemberRow(*row.tuple()) for row in db.execute(query.order_by(UserRow.name).limit(limit)).all()]


def member(db: ReadSession, workspace: str, user: str) -> MemberRow | None:
    """Return a member; None if the user belongs to other workspaces only."""
    found = db.execute(_members().where(MembershipRow.workspace == workspace, UserRow.id == user)).one_or_none()
    return None if found is None else MemberRow(*found)


def member_named(db: ReadSession, name: str) -> MemberRow | None:
    """Return the user of this name in their first workspace, unless disabled."""
    query = _members().where(UserRow.name == name, UserRow.disabled_at.is_(None)).order_by(MembershipRow.workspace)
    found = db.execute(query.limit(1)).one_or_none()
    return None if found is None else MemberRow(*found)


def name_taken(db: ReadSession, name: str) -> bool:
    """Whether an account has this name, in whatever workspace."""
    return db.scalar(select(UserRow.id).where(UserRow.name == name)) is not None


def other_admins(db: ReadSession, workspace: str, user: str) -> bool:
    """Whether the workspace has an admin beside this user who is not disabled."""
    row = MembershipRow
    query = select(row.user).join(UserRow, UserRow.id == row.user)
    query = query.where(row.workspace == workspace, row.role == Role.ADMIN, row.user != user)
    return db.scalar(query.where(UserRow.disabled_at.is_(None)).limit(1)) is not None


def set_role(db: WriteSession, workspace: str, user: str, role: Role) -> None:
    """Give a member another role."""
    row = MembershipRow
    db.execute(update(row).where(row.workspace == workspace, row.user == user).values(role=role))


def end_logins(db: WriteSession, user: str) -> None:
    """End all login sessions of a user, and the links that would open others."""
    db.execute(delete(LoginSessionRow).where(LoginSessionRow.user == user))
    db.execute(delete(LoginLinkRow).where(LoginLinkRow.user == user))
    end_resets(db, user)


def end_resets(db: WriteSession, user: str) -> None:
    """Take all password resets of a user back."""
    db.execute(delete(AccountLinkRow).where(AccountLinkRow.user == user))


def disable(db: WriteSession, user: str, now: datetime) -> None:
    """Lock a user out."""
    db.execute(update(UserRow).where(UserRow.id == user, UserRow.disabled_at.is_(None)).values(disabled_at=now))
    token = AccessTokenRow
    db.execute(update(token).where(token.user == user, token.revoked_at.is_(None)).values(revoked_at=now))
    db.execute(delete(AccountLinkRow).where(AccountLinkRow.created_by == user))  # no way back in through an invitation
    end_logins(db, user)


def enable(db: WriteSession, user: str) -> None:
    """Let a user in again."""
    db.execute(update(UserRow).where(UserRow.id == user).values(disabled_at=None))


def set_password(db: WriteSession, user: str, hashed: str) -> None:
    """Keep a new password's hash."""
    db.execute(update(UserRow).where(UserRow.id == user).values(password=hashed))


def open_invitations(db: ReadSession, workspace: str, now: datetime) -> list[AccountLinkRow]:
    """Return invitations that can be accepted, newest first."""
    row = AccountLinkRow
    query = select(row).where(row.workspace == workspace, row.role.is_not(None), row.expires_at > now)
    return list(db.scalars(query.order_by(row.created_at.desc(), row.id).limit(1000)))


def revoke_invitation(db: WriteSession, workspace: str, invitation: str) -> bool:
    """Take an invitation back; False if there is none."""
    row = AccountLinkRow
    gone = delete(row).where(row.workspace == workspace, row.id == invitation, row.role.is_not(None))
    return db.scalars(gone.returning(row.id)).one_or_none() is not None


def has_link(db: ReadSession, digest: str, now: datetime) -> bool:
    """Whether the link can be used: asked before a password is hashed for it."""
    return db.scalar(_usable(digest, now)) is not None


def reset_for(db: ReadSession, digest: str) -> str:
    """Return the name of whom a reset link is for; empty if there is no such link."""
    query = select(UserRow.name).join(AccountLinkRow, AccountLinkRow.user == UserRow.id)
    return db.scalar(query.where(AccountLinkRow.digest == digest)) or ""


def spend(db: WriteSession, digest: str, now: datetime) -> AccountLinkRow | None:
    """Take a link out of use in one statement, so that two browsers cannot both have it.

    A link counts only while whoever made it is still an admin: one who is demoted leaves no door open.
    """
    usable = db.scalar(_usable(digest, now))
    if usable is None:
        return None
    row = AccountLinkRow
    return db.scalars(delete(row).where(row.id == usable).returning(row)).one_or_none()


def _usable(digest: str, now: datetime) -> Select[str]:
    row, maker = AccountLinkRow, MembershipRow
    made_by = and_(maker.user == row.created_by, maker.workspace == row.workspace, maker.role == Role.ADMIN)
    query = select(row.id).join(maker, made_by).join(UserRow, UserRow.id == maker.user)
    return query.where(row.digest == digest, row.expires_at > now, UserRow.disabled_at.is_(None))
