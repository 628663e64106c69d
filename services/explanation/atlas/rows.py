"""Tables of captures, sparse autoencoders, atlases and alignments."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from services.kit.db import Table, Utc


class CaptureRow(Table):
    """A published capture: its contract as JSON, and role -> key of the artifacts that hold it."""

    __tablename__ = "capture"
    workspace: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    record: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    artifacts: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    created_at: Mapped[datetime] = mapped_column(Utc)


class SaeRow(Table):
    """A published autoencoder: its contract as JSON, and role -> key of the artifacts that answer for it."""

    __tablename__ = "sae"
    workspace: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    record: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    artifacts: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    created_at: Mapped[datetime] = mapped_column(Utc)


class AtlasRow(Table):
    """A published atlas: its contract as JSON, and role -> key of the artifacts that answer for it."""

    __tablename__ = "atlas"
    workspace: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    record: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    artifacts: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    created_at: Mapped[datetime] = mapped_column(Utc)


class AtlasAlignmentRow(Table):
    """A published alignment of an atlas with a subject, stored alike."""

    __tablename__ = "atlas_alignment"
    workspace: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    record: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    artifacts: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    created_at: Mapped[datetime] = mapped_column(Utc)
