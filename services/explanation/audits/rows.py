"""Tables of audits."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Boolean, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.kit.db import Table, Utc


class AuditRow(Table):
    """A finished audit: its contract as JSON, and role -> key of the artifacts that answer for it. Never changed."""

    __tablename__ = "audit"
    workspace: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    snapshot: Mapped[str] = mapped_column(String(40), index=True)
    passed: Mapped[bool] = mapped_column(Boolean)
    record: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    artifacts: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    created_at: Mapped[datetime] = mapped_column(Utc)


class SignOffRow(Table):
    """A decision about an audit. Rows are added and never changed; the number keeps two at once apart."""

    __tablename__ = "audit_sign_off"
    workspace: Mapped[str] = mapped_column(String(64), primary_key=True)
    audit: Mapped[str] = mapped_column(String(40), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    user: Mapped[str] = mapped_column(String(64))
    verdict: Mapped[str] = mapped_column(String(20))
    note: Mapped[str] = mapped_column(Text)
    signed_at: Mapped[datetime] = mapped_column(Utc)


class CorrectionRow(Table):
    """A model that was made by suppressing what an audit flagged: its contract as JSON. Never changed."""

    __tablename__ = "audit_correction"
    workspace: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    audit: Mapped[str] = mapped_column(String(40), index=True)
    record: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    created_at: Mapped[datetime] = mapped_column(Utc)
