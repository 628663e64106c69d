"""Holding a part: a side thread renews the lease while work moves on, and tells the work when it must stop."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from contracts.errors import Cancelled, LeaseLost, XsysError
from orchestration.jobs.failpoints import Failpoints
from orchestration.jobs.moves import Claim, try_move
from orchestration.jobs.repository import cancel_wanted, lock_job_of, touch
from services.kit.db import TRANSIENT, Database, db_now
from services.kit.logging import logger
from services.kit.settings import Settings

log = logger(__name__)
LONGEST_SILENCE = 1.0


class Draining(XsysError):
    """The worker is asked to end; the part goes back to the queue."""

    status = 503


class Lease:
    """A claimed part, renewed for as long as its progress counter moves.

    Not renewed is also a part whose process lives but whose computation hangs: after `settings.stall` without
    progress its lease runs out and somebody else takes it.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        claim: Claim,
        job: str,
        *,
        draining: threading.Event,
        failpoints: Failpoints,
    ) -> None:
        self._database = database
        self._settings = settings
        self._claim = claim
        self._job = job
        self._draining = draining
        self._failpoints = failpoints
        self._done = 0
        self._lost = False
        self._cancelled = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{claim.part}", daemon=True)

    def tick(self, units: int) -> None:
        """Count progress; raise if the part was lost, cancelled, or has to be handed back."""
        self._done += units
        self._failpoints.hit("part.after_batch")
        if self._lost:
            raise LeaseLost(f"{self._claim.part} was taken over", part=self._claim.part)
        if self._cancelled:
            raise Cancelled("the job was cancelled")
        if self._draining.is_set():
            raise Draining("the worker is ending")

    def _keep(self) -> None:
        written, moved = 0, time.monotonic()
        renewed = moved
        period = min(LONGEST_SILENCE, self._settings.heartbeat.total_seconds())
        while not self._ended.wait(period):
            now, done = time.monotonic(), self._done
            if done != written:
                moved = now
            elif now - moved > self._settings.stall.total_seconds():
                log.warning("part.stalled", part=self._claim.part, seconds=now - moved)
                continue
            elif now - renewed < self._settings.heartbeat.total_seconds():
                continue
            if not self._renew(done, progressed=done != written):
                self._lost = True
                return
            written, renewed = done, now

    def _renew(self, done: int, *, progressed: bool) -> bool:
        values: dict[str, object] = {"lease_until": db_now() + self._settings.lease.total_seconds(), "progress": done}
        if progressed:
            values["progress_at"] = db_now()
        try:
            with self._database.writing() as db:
                lock_job_of(db, self._claim.part)
                held = try_move(db, "renew", self._claim, **values)
                if held and progressed:
                    touch(db, self._job)
                self._cancelled = self._cancelled or cancel_wanted(db, self._claim.part)
        except TRANSIENT as error:  # a busy, full or restarting database: the lease outlives a few failed renewals
            log.warning("lease.not_renewed", part=self._claim.part, reason=str(error)[:200])
            return True
        return held

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
