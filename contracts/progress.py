"""What a job is, how far it has come, and what a workspace takes of the machines."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated

from pydantic import Field

from contracts.base import Contract, FiniteFloat
from contracts.snapshots import SnapshotId

JobId = Annotated[str, Field(pattern=r"^j_[0-9a-z]{8,40}$")]


class State(enum.StrEnum):
    """Of a job, a stage or a part. Stages and parts of later stages are `waiting` until their turn."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Failure(Contract):
    """Why a part failed: `reason` is the snake-case refusal name (`storage_full`) or `internal_error`."""

    reason: str
    detail: str
    remedy: str | None = None
    where: str | None = None
    part: str | None = None


class Stage(Contract):
    """A step of a job. `rate` is in `unit` per second; both it and `seconds_left` are None until they are known."""

    name: str
    state: State
    parts: int
    parts_done: int
    parts_reused: int
    unit: str
    done: int
    total: int
    rate: FiniteFloat | None = None
    seconds_left: FiniteFloat | None = None


class Job(Contract):
    """Something a user asked for that takes a while. `result` names what it made: a dataset, model or snapshot."""

    id: str
    kind: str
    title: str
    state: State
    stages: list[Stage]
    result: str | None = None
    failures: list[Failure] = []
    cancel_requested: bool = False
    created_by: str
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    version: int


class Repair(Contract):
    """Recompute the damaged artifacts of a snapshot."""

    snapshot: SnapshotId


class Share(Contract):
    """What one kind of result takes. A file that two results share counts for both here, once in the whole."""

    kind: str
    artifacts: int
    bytes: int


class Usage(Contract):
    """What a workspace uses of what it may have; a limit is None where the operator set none."""

    unfinished_jobs: int
    job_limit: int | None
    bytes: int
    byte_limit: int | None
    largest: list[Share] = Field(description="kinds of results by their size, the ten largest")
