"""Tables of the explanation service."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.kit.db import Table, Utc


class SnapshotRow(Table):
    """A published snapshot: its contract as JSON, and role -> key of the artifacts that answer for it."""

    __tablename__ = "snapshot"
    __table_args__ = (UniqueConstraint("workspace", "name"),)
    workspace: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    snapshot: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    artifacts: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    created_at: Mapped[datetime] = mapped_column(Utc)


class LabelSetRow(Table):
    """Published labels of a snapshot: their contract as JSON, and role -> key of the artifacts that answer for them."""

    __tablename__ = "label_set"
    workspace: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    snapshot: Mapped[str] = mapped_column(String(40), index=True)
    record: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    artifacts: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    created_at: Mapped[datetime] = mapped_column(Utc)
