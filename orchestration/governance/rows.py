"""Tables of identities. Secrets are kept as digests under the server's key."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.kit.db import Table, Utc


class WorkspaceRow(Table):
    """A tenant."""

    __tablename__ = "workspace"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    created_at: Mapped[datetime] = mapped_column(Utc)


class UserRow(Table):
    """A person. One who is disabled is refused from the next request on."""

    __tablename__ = "user_account"  # `user` is a reserved word on PostgreSQL

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    password: Mapped[str | None] = mapped_column(String(200))  # argon2id; None logs in by links only
    disabled_at: Mapped[datetime | None] = mapped_column(Utc)
    created_at: Mapped[datetime] = mapped_column(Utc)


class MembershipRow(Table):
    """Which role a user has in a workspace."""

    __tablename__ = "membership"
    __table_args__ = (CheckConstraint("role IN ('viewer', 'analyst', 'auditor', 'admin')", name="role"),)

    workspace: Mapped[str] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"), primary_key=True)
    user: Mapped[str] = mapped_column(
        "user_id", ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(String(20))


class LoginLinkRow(Table):
    """A one-time link: whoever has its secret becomes the user, once, until it ends."""

    __tablename__ = "login_link"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    workspace: Mapped[str] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"))
    user: Mapped[str] = mapped_column("user_id", ForeignKey("user_account.id", ondelete="CASCADE"))
    expires_at: Mapped[datetime] = mapped_column(Utc)
    used_at: Mapped[datetime | None] = mapped_column(Utc)


class LoginSessionRow(Table):
    """A browser's authenticated state. Logging out deletes the row."""

    __tablename__ = "login_session"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    workspace: Mapped[str] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"))
    user: Mapped[str] = mapped_column("user_id", ForeignKey("user_account.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(Utc)
    last_used_at: Mapped[datetime] = mapped_column(Utc)
    expires_at: Mapped[datetime] = mapped_column(Utc)


class AccessTokenRow(Table):
    """A personal access token."""

    __tablename__ = "access_token"
    __table_args__ = (UniqueConstraint("digest"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    workspace: Mapped[str] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"))
    user: Mapped[str] = mapped_column("user_id", ForeignKey("user_account.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    rights: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(Utc)
    expires_at: Mapped[datetime] = mapped_column(Utc)
    last_used_at: Mapped[datetime | None] = mapped_column(Utc)
    revoked_at: Mapped[datetime | None] = mapped_column(Utc)


class AccountLinkRow(Table):
    """A one-time link that an admin made: an invitation (with a role), or a password reset (with a user)."""

    __tablename__ = "account_link"
    __table_args__ = (
        UniqueConstraint("digest"),
        CheckConstraint("role IN ('viewer', 'analyst', 'auditor', 'admin')", name="role"),
        CheckConstraint("(role IS NULL) <> (user_id IS NULL)", name="purpose"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    workspace: Mapped[str] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"), index=True)
    role: Mapped[str | None] = mapped_column(String(20))
    user: Mapped[str | None] = mapped_column("user_id", ForeignKey("user_account.id", ondelete="CASCADE"), index=True)
    created_by: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(Utc)
    expires_at: Mapped[datetime] = mapped_column(Utc)


class AuditChainRow(Table):
    """The end of a workspace's log. Whoever appends holds this row until the commit: entries never fork."""

    __tablename__ = "audit_chain"

    workspace: Mapped[str] = mapped_column(String(40), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))


class AuditEntryRow(Table):
    """One act. There is no foreign key: the log outlives users and workspaces.

    Time and facts are kept as the text that was hashed: a tampered one must still be readable by whoever checks.
    """

    __tablename__ = "audit_entry"
    __table_args__ = (
        Index("ix_audit_entry_actor", "workspace", "actor", "seq"),
        Index("ix_audit_entry_action", "workspace", "action", "seq"),
    )

    workspace: Mapped[str] = mapped_column(String(40), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(40))
    action: Mapped[str] = mapped_column(String(80))
    subject: Mapped[str] = mapped_column(String(80))
    facts: Mapped[str] = mapped_column(Text)
    correlation: Mapped[str] = mapped_column(String(80))
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
