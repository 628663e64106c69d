"""Table of registered models."""

from __future__ import annotations

from datetime import datetime

from pydantic import JsonValue
from sqlalchemy import JSON, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.kit.db import Table, Utc


class ModelRow(Table):
    """A registered model; `record` is the contract's `Model`."""

    __tablename__ = "model"
    __table_args__ = (UniqueConstraint("workspace", "name"),)

    workspace: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    lineage: Mapped[str] = mapped_column(String(64))
    record: Mapped[dict[str, JsonValue]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(Utc)
