"""Tables of the data service."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.kit.db import Table, Utc


class DatasetRow(Table):
    """A registered dataset: its contract as JSON, and the columns by which it is found."""

    __tablename__ = "dataset"
    __table_args__ = (UniqueConstraint("workspace", "name"),)
    workspace: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    manifest: Mapped[str] = mapped_column(String(64))
    rejected: Mapped[str] = mapped_column(String(64))
    dataset: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    created_at: Mapped[datetime] = mapped_column(Utc)


class UploadRow(Table):
    """A received archive; knowing its hash gives nothing without this row."""

    __tablename__ = "upload"
    workspace: Mapped[str] = mapped_column(String(64), primary_key=True)
    blob: Mapped[str] = mapped_column(String(64), primary_key=True)
    bytes: Mapped[int] = mapped_column(Integer)
    entries: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(Utc)
