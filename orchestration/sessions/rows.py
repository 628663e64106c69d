"""Tables of analysis sessions. Events are only added; `state` is what they add up to, kept so that reading is cheap."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, Float, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.kit.db import Table, Utc


class AnalysisSessionRow(Table):
    """An analysis session; `seq` is the number of its last event."""

    __tablename__ = "analysis_session"
    __table_args__ = (UniqueConstraint("workspace", "owner", "idempotency_key"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    workspace: Mapped[str] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    owner: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"))
    seq: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[dict[str, Any]] = mapped_column(JSON)
    first_snapshot: Mapped[str] = mapped_column(String(80))
    parent: Mapped[str | None] = mapped_column(String(40))
    parent_seq: Mapped[int | None] = mapped_column(BigInteger)
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    body_hash: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(Utc)
    changed_at: Mapped[datetime] = mapped_column(Utc)


class SessionMemberRow(Table):
    """Who may see an analysis session, and whether they may add to it."""

    __tablename__ = "session_member"
    __table_args__ = (CheckConstraint("access IN ('view', 'edit', 'owner')", name="access"),)

    session: Mapped[str] = mapped_column(ForeignKey("analysis_session.id", ondelete="CASCADE"), primary_key=True)
    user: Mapped[str] = mapped_column(
        "user_id", ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    access: Mapped[str] = mapped_column(String(10))
    joined_at: Mapped[datetime] = mapped_column(Utc)


class SessionEventRow(Table):
    """One event of the record; numbered without gaps by the row of its session."""

    __tablename__ = "session_event"
    __table_args__ = (UniqueConstraint("session", "user_id", "idempotency_key"),)

    session: Mapped[str] = mapped_column(ForeignKey("analysis_session.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    user: Mapped[str] = mapped_column("user_id", String(40))
    at: Mapped[datetime] = mapped_column(Utc)
    kind: Mapped[str] = mapped_column(String(20))
    action: Mapped[dict[str, Any]] = mapped_column(JSON)
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    body_hash: Mapped[str | None] = mapped_column(String(64))
    correlation: Mapped[str | None] = mapped_column(String(80))


class ShareLinkRow(Table):
    """A link by which others of the workspace become members."""

    __tablename__ = "session_link"
    __table_args__ = (UniqueConstraint("digest"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    session: Mapped[str] = mapped_column(ForeignKey("analysis_session.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    access: Mapped[str] = mapped_column(String(10))
    created_by: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(Utc)
    expires_at: Mapped[datetime] = mapped_column(Utc)
    revoked_at: Mapped[datetime | None] = mapped_column(Utc)


class PresenceRow(Table):
    """Who has a session open: told again every few seconds, forgotten soon after."""

    __tablename__ = "session_presence"
    __table_args__ = (Index("ix_session_presence_seen", "session", "seen_at"),)

    session: Mapped[str] = mapped_column(ForeignKey("analysis_session.id", ondelete="CASCADE"), primary_key=True)
    user: Mapped[str] = mapped_column("user_id", ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    path: Mapped[str | None] = mapped_column(String(2000))
    title: Mapped[str] = mapped_column(String(200))
    seen_at: Mapped[float] = mapped_column(Float(53))
