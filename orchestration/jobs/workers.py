"""Workers' signs of life, and what is done for the parts of one that died."""

from __future__ import annotations

import os
import socket
import time

import psutil
from sqlalchemy import delete, select, update

from contracts.jobs import State
from orchestration.jobs.moves import Claim, try_move
from orchestration.jobs.rows import PartRow, WorkerRow
from services.kit.db import Database, ReadSession, WriteSession, db_now

FORGET_SECONDS = 3600.0
DEFAULT_WIRING = "orchestration.bootstrap:build"


def worker_name() -> str:
    """Name this process so that a later process with the same id is another worker."""
    return f"{socket.gethostname()}:{os.getpid()}:{int(time.time())}"


def beat(database: Database, worker: str, state: str = "ready") -> None:
    """Write this worker's sign of life."""
    with database.writing() as db:
        changed = db.execute(update(WorkerRow).where(WorkerRow.id == worker).values(heartbeat=db_now(), state=state))
        if changed.rowcount == 0:  # type: ignore[attr-defined]
            db.execute(delete(WorkerRow).where(WorkerRow.heartbeat < db_now() - FORGET_SECONDS))
            db.add(WorkerRow(id=worker, pid=os.getpid(), host=socket.gethostname(), state=state, heartbeat=0.0))
            db.flush()
            db.execute(update(WorkerRow).where(WorkerRow.id == worker).values(heartbeat=db_now()))


def sign_off(database: Database, worker: str) -> None:
    """Remove a worker that ends in order."""
    with database.writing() as db:
        db.execute(delete(WorkerRow).where(WorkerRow.id == worker))


def ages(db: ReadSession) -> list[tuple[WorkerRow, float]]:
    """Return the workers whose processes may still live, with the age of their last sign in seconds."""
    rows = db.execute(select(WorkerRow, db_now() - WorkerRow.heartbeat))
    return [(row, float(age)) for row, age in rows if not _surely_dead(row)]


def own_age(database: Database) -> float | None:
    """Seconds since the freshest sign of a worker on this machine; None if there is none."""
    with database.reading() as db:
        return min((age for row, age in ages(db) if row.host == socket.gethostname()), default=None)


def _surely_dead(row: WorkerRow) -> bool:
    return row.host == socket.gethostname() and not psutil.pid_exists(row.pid)


def holds_parts(db: ReadSession, pid: int) -> bool:
    """Whether a process of this host is running a part."""
    names = select(WorkerRow.id).where(WorkerRow.pid == pid, WorkerRow.host == socket.gethostname())
    return db.scalar(select(PartRow.id).where(PartRow.worker.in_(names), PartRow.state == State.RUNNING)) is not None


def release_parts_of(db: WriteSession, pid: int) -> list[str]:
    """Requeue what a dead process of this host held, without waiting for its leases; return the parts."""
    names = list(db.scalars(select(WorkerRow.id).where(WorkerRow.pid == pid, WorkerRow.host == socket.gethostname())))
    query = select(PartRow.id, PartRow.worker).where(PartRow.worker.in_(names), PartRow.state == State.RUNNING)
    held = [(part, str(worker)) for part, worker in db.execute(query)]
    db.execute(delete(WorkerRow).where(WorkerRow.id.in_(names)))
    queued = {"queued_at": db_now(), "rung_at": db_now(), "progress": 0}
    return [part for part, worker in held if try_move(db, "inherit", Claim(part, worker), **queued)]
