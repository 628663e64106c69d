"""The reaper: whatever got stuck is set going again. One process at a time has this duty, by a leased row."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from sqlalchemy import select, update

from contracts.jobs import State
from orchestration.jobs.bell import MOST_RINGS, Bell, unit_of_work
from orchestration.jobs.celery_app import forget_processed
from orchestration.jobs.moves import Claim, try_move
from orchestration.jobs.progression import finish_stage, start_stage
from orchestration.jobs.rows import GuardRow, JobRow, PartRow, StageRow
from services.kit.blobs import Blobs
from services.kit.db import TRANSIENT, Database, WriteSession, db_now, insert_if_absent
from services.kit.logging import logger
from services.kit.settings import Settings

log = logger(__name__)
DUTY = "reaper"
MOST_PARTS = 500


@dataclass(frozen=True)
class Reaped:
    """What one round did."""

    requeued: int = 0
    rung: int = 0
    moved_on: int = 0


class Reaper:
    """Requeues expired leases, rings again for parts that nobody claimed, and starts stages that were left behind."""

    def __init__(self, database: Database, blobs: Blobs, settings: Settings, *, bell: Bell, name: str) -> None:
        self._database = database
        self._blobs = blobs
        self._settings = settings
        self._bell = bell
        self._name = name
        self._period = settings.reaper_period.total_seconds()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        """Begin in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present round."""
        self._ended.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._ended.wait(self._period):
            try:
                self.round()
            except TRANSIENT as error:  # a busy or restarting database: the next round does it
                log.warning("reaper.round_failed", reason=str(error)[:200])

    def round(self) -> Reaped:
        """Do one round, if this process has the duty."""
        with unit_of_work(self._database, self._bell) as transaction:
            db = transaction.db
            if not self._on_duty(db):
                return Reaped()
            expired = self._expired(db)
            unheard = self._unheard(db)
            started, moved_on = self._left_behind(db)
            transaction.queued += [*expired, *unheard, *started]
        self._blobs.sweep()
        forget_processed(self._settings)
        reaped = Reaped(len(expired), len(unheard), moved_on)
        if reaped != Reaped():
            log.info("reaper.round", requeued=reaped.requeued, rung=reaped.rung, moved_on=reaped.moved_on)
        return reaped

    def _on_duty(self, db: WriteSession) -> bool:
        until = db_now() + 3 * self._period
        taken = db.execute(
            update(GuardRow)
            .where(GuardRow.name == DUTY, (GuardRow.holder == self._name) | (GuardRow.until < db_now()))
            .values(holder=self._name, until=until)
        )
        if taken.rowcount == 1:  # type: ignore[attr-defined]
            return True
        if db.get(GuardRow, DUTY) is None:
            insert_if_absent(db, GuardRow, name=DUTY, holder=self._name, until=until)
            return db.scalar(select(GuardRow.holder).where(GuardRow.name == DUTY)) == self._name
        return False

    def _expired(self, db: WriteSession) -> list[str]:
        query = select(PartRow.id).where(PartRow.state == State.RUNNING, PartRow.lease_until < db_now())
        query = query.order_by(PartRow.id).limit(MOST_PARTS).with_for_update(skip_locked=True)
        parts = db.scalars(query).all()  # a part that is locked is being renewed or published at this moment
        queued = {"queued_at": db_now(), "rung_at": db_now(), "progress": 0}
        return [part for part in parts if try_move(db, "requeue", Claim(part, ""), **queued)]

    def _unheard(self, db: WriteSession) -> list[str]:
        query = select(PartRow.id).where(PartRow.state == State.QUEUED, PartRow.rung_at < db_now() - 3 * self._period)
        query = query.order_by(PartRow.queued_at, PartRow.id).limit(MOST_RINGS)
        parts = list(db.scalars(query.with_for_update(skip_locked=True)))
        db.execute(update(PartRow).where(PartRow.id.in_(parts)).values(rung_at=db_now()))
        return parts

    def _left_behind(self, db: WriteSession) -> tuple[list[str], int]:
        """Stages whose parts are all over but which never moved: a crash between two transactions of other versions."""
        open_parts = select(PartRow.id).where(
            PartRow.stage == StageRow.id, PartRow.state.in_([State.QUEUED, State.RUNNING])
        )
        query = (
            select(StageRow, JobRow)
            .join(JobRow, JobRow.id == StageRow.job)
            .where(StageRow.state == State.RUNNING, ~open_parts.exists())
        )
        queued: list[str] = []
        stuck = db.execute(query.order_by(StageRow.id).limit(50).with_for_update(skip_locked=True)).all()
        for stage, job in stuck:
            following = finish_stage(db, job, stage)
            if following is not None:
                queued += start_stage(db, self._blobs, job, following)
        return queued, len(stuck)
