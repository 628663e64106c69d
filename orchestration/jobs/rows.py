"""Tables of the jobs: the rows are the truth, a message is only a bell."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Boolean, CheckConstraint, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from contracts.jobs import State
from services.kit.db import Table, Utc

STATES = ", ".join(f"'{state}'" for state in State)


class JobRow(Table):
    """What a user asked for. `version` rises with every change that a watcher could see."""

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("workspace", "idempotency_key"),
        CheckConstraint(f"state IN ({STATES})", name="state"),
        Index("ix_job_workspace_id", "workspace", "id"),
    )
    id: Mapped[str] = mapped_column(String(44), primary_key=True)
    workspace: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(40))
    title: Mapped[str] = mapped_column(String(300))
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    body_hash: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(12), index=True)
    cancel_requested: Mapped[bool] = mapped_column(Boolean, default=False)
    result: Mapped[str | None] = mapped_column(String(80))
    created_by: Mapped[str] = mapped_column(String(64))
    correlation: Mapped[str | None] = mapped_column(String(64))
    traceparent: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(Utc)
    started_at: Mapped[datetime | None] = mapped_column(Utc)
    ended_at: Mapped[datetime | None] = mapped_column(Utc)
    version: Mapped[int] = mapped_column(Integer, default=1)


class StageRow(Table):
    """A step of a job. `parts_left` counts down by conditional updates; at 0 the next stage starts."""

    __tablename__ = "stage"
    __table_args__ = (
        UniqueConstraint("job", "position"),
        CheckConstraint(f"state IN ({STATES})", name="state"),
    )
    id: Mapped[str] = mapped_column(String(60), primary_key=True)
    job: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)
    position: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(String(80))
    unit: Mapped[str] = mapped_column(String(40))
    queue: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(12))
    parts: Mapped[int] = mapped_column(Integer)
    parts_left: Mapped[int] = mapped_column(Integer)
    parts_reused: Mapped[int] = mapped_column(Integer, default=0)
    total: Mapped[int] = mapped_column(Integer)
    started: Mapped[float | None] = mapped_column(Float)
    ended: Mapped[float | None] = mapped_column(Float)


class PartRow(Table):
    """The smallest unit that a worker claims. `fence` rises with every claim and outdates earlier holders."""

    __tablename__ = "part"
    __table_args__ = (
        UniqueConstraint("stage", "position"),
        CheckConstraint(f"state IN ({STATES})", name="state"),
        Index("ix_part_state_lease_until", "state", "lease_until"),
        Index("ix_part_state_queued_at", "state", "queued_at"),
        Index("ix_part_stage_state", "stage", "state"),
    )
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    stage: Mapped[str] = mapped_column(ForeignKey("stage.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    spec: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    inputs: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    outputs: Mapped[dict] = mapped_column(JSON)  # type: ignore[type-arg]
    units: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(12))
    reused: Mapped[bool] = mapped_column(Boolean, default=False)
    fence: Mapped[int] = mapped_column(Integer, default=0)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    worker: Mapped[str | None] = mapped_column(String(120))
    lease_until: Mapped[float | None] = mapped_column(Float)
    queued_at: Mapped[float | None] = mapped_column(Float)
    rung_at: Mapped[float | None] = mapped_column(Float)
    progress: Mapped[int] = mapped_column(Integer, default=0)
    progress_at: Mapped[float | None] = mapped_column(Float)
    failure: Mapped[str | None] = mapped_column(Text)


class WorkerRow(Table):
    """A worker's sign of life, written from the loop that takes messages."""

    __tablename__ = "worker"
    id: Mapped[str] = mapped_column(String(120), primary_key=True)
    pid: Mapped[int] = mapped_column(Integer)
    host: Mapped[str] = mapped_column(String(80))
    state: Mapped[str] = mapped_column(String(12))
    heartbeat: Mapped[float] = mapped_column(Float)


class GuardRow(Table):
    """A lease by name, for duties that one process at a time may have, such as the reaper's."""

    __tablename__ = "guard"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str] = mapped_column(String(120))
    until: Mapped[float] = mapped_column(Float)
