"""Running one part: claim, compute, publish. Whatever happens in between, rows and files stay consistent."""

from __future__ import annotations

import functools
import json
import re
import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from contracts.base import ArtifactKey
from contracts.errors import Cancelled, LeaseLost, StaleArtifact, XsysError
from contracts.jobs import Failure
from orchestration.jobs.bell import Bell, unit_of_work
from orchestration.jobs.failpoints import Failpoints
from orchestration.jobs.lease import Draining, Lease
from orchestration.jobs.moves import Claim, try_move
from orchestration.jobs.progression import part_is_over, start_stage
from orchestration.jobs.repository import RESOURCES, claim_part, job_of_part, lock_job_of, next_queued
from orchestration.jobs.rows import JobRow, PartRow
from services.kit.artifacts import Artifact, find_artifacts, record_artifact
from services.kit.blobs import Blobs
from services.kit.db import Database, WriteSession, db_now, patiently
from services.kit.logging import correlated, logger
from services.kit.settings import Settings
from services.kit.stages import StageRegistry, Work
from services.kit.tracing import span

log = logger(__name__)
OURS = Path(__file__).parents[2]
Answer = TypeVar("Answer")


def origins(spec: Mapping[str, Any]) -> dict[str, str]:
    """What a part's outputs depend on beside its input files: the content of the model that it runs."""
    model = spec.get("model")
    return {"model": model["model_sha256"]} if isinstance(model, dict) and "model_sha256" in model else {}


@dataclass(frozen=True)
class Assignment:
    """A claimed part with what is needed to run it."""

    claim: Claim
    stage: str
    job: str
    workspace: str
    attempt: int
    spec: dict  # type: ignore[type-arg]
    inputs: dict[str, str]
    outputs: dict[str, str]
    correlation: str | None = None
    traceparent: str | None = None


class Runner:
    """Runs parts in this process, one at a time."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        settings: Settings,
        *,
        registry: StageRegistry,
        bell: Bell,
        worker: str,
        resources: Collection[str] = RESOURCES,
    ) -> None:
        self.database = database
        self.failpoints = Failpoints(settings.failpoint)
        self.blobs = blobs.watched(lambda: self.failpoints.hit("publish.before_rename"))
        self.settings = settings
        self.registry = registry
        self.bell = bell
        self.worker = worker
        self.resources = resources
        self.draining = threading.Event()
        self.moved = time.monotonic()

    def work_off(self, part: str) -> None:
        """Run a part, then whatever is queued longest, until nothing is or the worker has to end.

        Bells for parts that were run on the way find nothing to do, so a thousand small parts need few messages.
        """
        following: str | None = part
        while following is not None and not self.draining.is_set():
            self.run(following)
            following = self._patiently(self._next)

    def _next(self) -> str | None:
        with self.database.reading() as db:
            return next_queued(db, self.resources)

    def _patiently(self, transaction: Callable[[], Answer]) -> Answer:
        """Outlast a restart of the database: a lease holds as long, so nothing is lost by waiting."""
        return patiently(transaction, seconds=self.settings.lease.total_seconds())

    def run(self, part: str) -> bool:
        """Run a part if it is free; tell whether it was published by this call."""
        assignment = self._patiently(lambda: self._claim(part))
        if assignment is None:
            return False
        about: dict[str, str | int] = {
            "xsys.job": assignment.job,
            "xsys.part": part,
            "xsys.attempt": assignment.attempt,
        }
        with (
            correlated(assignment.correlation),
            span(assignment.stage, kind="consumer", parent=assignment.traceparent, attributes=about) as attributes,
        ):
            published = self._run(part, assignment)
            attributes["xsys.published"] = int(published)
            return published

    def _run(self, part: str, assignment: Assignment) -> bool:
        lease = Lease(
            self.database,
            self.settings,
            assignment.claim,
            assignment.job,
            draining=self.draining,
            failpoints=self.failpoints,
        )
        try:
            with lease:
                work = self._compute(assignment, lease)
                self.failpoints.hit("part.before_publish")
                self.failpoints.hit("publish.before_commit")
                self._patiently(lambda: self._publish(assignment, work))
            self.failpoints.hit("publish.after_commit")
            log.info("part.published", part=part, fence=assignment.claim.fence)
            return True
        except LeaseLost as lost:
            log.warning("part.lease_lost", part=part, fence=assignment.claim.fence, detail=lost.detail)
        except Draining:
            self._patiently(lambda: self._give_back(assignment))
        except Cancelled:
            self._patiently(lambda: self._end(assignment, "stop", None))
        except XsysError as refusal:
            failure = _failure_of(refusal, part)
            self._patiently(lambda: self._end(assignment, "fail", failure))
        except Exception as error:  # a bug of ours or of a library: retried, then told with its place
            reason = error
            self._patiently(lambda: self._retry_or_fail(assignment, reason))
        return False

    def _claim(self, part: str) -> Assignment | None:
        with unit_of_work(self.database, self.bell) as transaction:
            db = transaction.db
            lock_job_of(db, part)
            claim = claim_part(db, part, self.worker, self.settings.lease.total_seconds())
            if claim is None:
                return None
            row = db.get_one(PartRow, part, populate_existing=True)
            stage, job = job_of_part(db, part)
            if job.cancel_requested:
                try_move(db, "stop", claim)
                transaction.queued += self._over(db, job, part, done=False)
                return None
            if row.attempt > self.settings.attempts:
                failure = _worker_died(part, self.settings.attempts)
                try_move(db, "fail", claim, failure=failure.model_dump_json())
                transaction.queued += self._over(db, job, part, done=False)
                return None
            if job.started_at is None:
                job.started_at = datetime.now(UTC)
            return Assignment(
                claim, stage.name, job.id, job.workspace, row.attempt, row.spec, row.inputs, row.outputs,
                job.correlation, job.traceparent,
            )  # fmt: skip

    def _compute(self, assignment: Assignment, lease: Lease) -> Work:
        with self.database.reading() as db:
            known = find_artifacts(
                db, assignment.workspace, [*assignment.inputs.values(), *assignment.outputs.values()]
            )
        gone = sorted(role for role, key in assignment.inputs.items() if key not in known)
        if gone:
            raise StaleArtifact(f"inputs are gone: {', '.join(gone[:5])}", field="inputs")
        there = {key for key, artifact in known.items() if self.blobs.has(artifact.blob)}
        work = Work(
            workspace=assignment.workspace,
            spec=assignment.spec,
            inputs={role: known[key].blob for role, key in assignment.inputs.items()},
            missing=frozenset(name for name, key in assignment.outputs.items() if key not in there),
            blobs=self.blobs,
            tick=functools.partial(self._tick, lease),
            keys={**assignment.inputs, **assignment.outputs},
        )
        self._tick(lease, 0)
        self.registry[assignment.stage].run(work)
        forgotten = work.missing - work.emitted.keys()
        if forgotten:
            raise RuntimeError(f"{assignment.stage} did not put out {sorted(forgotten)}")
        return work

    def _tick(self, lease: Lease, units: int) -> None:
        self.moved = time.monotonic()
        lease.tick(units)

    def _publish(self, assignment: Assignment, work: Work) -> None:
        with unit_of_work(self.database, self.bell) as transaction:
            db = transaction.db
            lock_job_of(db, assignment.claim.part)
            if not try_move(db, "publish", assignment.claim, progress=PartRow.units, progress_at=db_now()):
                raise LeaseLost(f"{assignment.claim.part} was taken over", part=assignment.claim.part)
            for name, blob in work.emitted.items():
                size = self.blobs.path(blob).stat().st_size
                key = assignment.outputs[name]
                artifact = Artifact(ArtifactKey(key), f"{assignment.stage}/{name}"[:80], blob, size)
                record_artifact(db, assignment.workspace, artifact, {**origins(assignment.spec), **assignment.inputs})
            for move in work.at_publish:
                move(db)
            _, job = job_of_part(db, assignment.claim.part)
            if work.result is not None:
                job.result = work.result
                db.flush()
            transaction.queued += self._over(db, job, assignment.claim.part, done=True)

    def _over(self, db: WriteSession, job: JobRow, part: str, *, done: bool) -> list[str]:
        stage, _ = job_of_part(db, part)
        following = part_is_over(db, job, stage, done=done)
        return start_stage(db, self.blobs, job, following) if following is not None else []

    def _end(self, assignment: Assignment, move: str, failure: Failure | None) -> None:
        values = {} if failure is None else {"failure": failure.model_dump_json()}
        with unit_of_work(self.database, self.bell) as transaction:
            db = transaction.db
            lock_job_of(db, assignment.claim.part)
            if try_move(db, move, assignment.claim, **values):
                _, job = job_of_part(db, assignment.claim.part)
                transaction.queued += self._over(db, job, assignment.claim.part, done=False)
        log.warning("part.ended", part=assignment.claim.part, how=move, reason=failure.reason if failure else None)

    def _give_back(self, assignment: Assignment, *, again: bool = False) -> None:
        with unit_of_work(self.database, self.bell) as transaction:
            values: dict[str, object] = {"queued_at": db_now(), "rung_at": db_now(), "progress": 0}
            if not again:
                values["attempt"] = PartRow.attempt - 1  # a drained worker is not the part's fault
            lock_job_of(transaction.db, assignment.claim.part)
            if try_move(transaction.db, "give_back", assignment.claim, **values):
                transaction.queued.append(assignment.claim.part)

    def _retry_or_fail(self, assignment: Assignment, error: Exception) -> None:
        log.error("part.raised", part=assignment.claim.part, attempt=assignment.attempt, error=repr(error)[:500])
        if assignment.attempt < self.settings.attempts:
            self._give_back(assignment, again=True)
        else:
            self._end(assignment, "fail", _internal(error, assignment.claim.part))


def reason_of(refusal: XsysError) -> str:
    """Name a refusal as a job's reason: `StorageFull` is `storage_full`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(refusal).__name__).lower()


def _failure_of(refusal: XsysError, part: str) -> Failure:
    facts = f" {json.dumps(refusal.facts)}" if refusal.facts else ""
    return Failure(reason=reason_of(refusal), detail=refusal.detail + facts, remedy=refusal.remedy, part=part)


def _internal(error: Exception, part: str) -> Failure:
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(OURS)]
    own = [frame for frame in own if "site-packages" not in frame.filename]
    where = f"{Path(own[-1].filename).relative_to(OURS)}:{own[-1].lineno}" if own else None
    detail = f"{type(error).__name__}: {str(error)[:500]}"
    return Failure(
        reason="internal_error", detail=detail, remedy="Report it; the log has the whole trace.", where=where, part=part
    )


def _worker_died(part: str, attempts: int) -> Failure:
    return Failure(
        reason="worker_died",
        detail=f"the worker ended {attempts} times while it ran this part",
        remedy="Look at the worker's log and memory; then retry the job.",
        part=part,
    )
