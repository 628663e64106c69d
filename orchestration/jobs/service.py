"""What can be asked of jobs: submit a plan, look, cancel, retry, watch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

from sqlalchemy.exc import IntegrityError

from contracts.attribution_evaluation import AttributionEvaluation
from contracts.base import Caller, Page
from contracts.errors import IdempotencyConflict, JobNotRetryable
from contracts.jobs import Job, State, Usage
from contracts.steering_evaluation import MeasuredSteering, SteeringEvaluation
from contracts.training import Curve, Pruning
from orchestration.governance.audit_log import hold, record
from orchestration.jobs.bell import Bell, unit_of_work
from orchestration.jobs.progression import cancel_job, end_job, reopen_job, start_stage
from orchestration.jobs.quotas import require_room, usage_of
from orchestration.jobs.repository import (
    ENDED,
    insert_job,
    job_of,
    job_with_key,
    latest_output,
    page_of_jobs,
    stages_of,
    steering_evaluations_of,
    visible_job,
)
from services.kit.arrays import facts_of
from services.kit.artifacts import find_artifacts
from services.kit.blobs import Blobs
from services.kit.cursors import decode_cursor, encode_cursor
from services.kit.db import Database
from services.kit.settings import Settings
from services.kit.stages import JobPlan, StageRegistry

WATCH_SECONDS = 0.25
TITLE = 120  # letters of a title in the audit log


class Jobs:
    """Jobs as rows. Planning is the pipelines' business, running the workers'."""

    def __init__(
        self, database: Database, blobs: Blobs, settings: Settings, bell: Bell, registry: StageRegistry
    ) -> None:
        self.database = database
        self.blobs = blobs
        self.settings = settings
        self.bell = bell
        self.registry = registry

    def submit(self, caller: Caller, plan: JobPlan, *, idempotency_key: str | None = None, body_hash: str) -> Job:
        """Write a job and start its first stage. The same key with the same body returns the job that is there.

        Raises
        ------
        IdempotencyConflict : the key was used with another body.
        QuotaExceeded : the workspace has all that it may have.
        """
        try:
            return self._submit(caller, plan, idempotency_key, body_hash)
        except IntegrityError:
            if idempotency_key is None:
                raise
            return self._submit(caller, plan, idempotency_key, body_hash)  # somebody was faster: theirs is found now

    def _submit(self, caller: Caller, plan: JobPlan, idempotency_key: str | None, body_hash: str) -> Job:
        with unit_of_work(self.database, self.bell) as transaction:
            db = transaction.db
            if idempotency_key is not None:
                known = job_with_key(db, caller.workspace, idempotency_key)
                if known is not None:
                    if known.body_hash != body_hash:
                        raise IdempotencyConflict("another request used this key", field="Idempotency-Key")
                    return job_of(db, known)
            hold(db, caller.workspace)  # of two that come at once, the second sees the first
            require_room(db, caller.workspace, self.settings)
            job_id = insert_job(db, caller, plan, idempotency_key=idempotency_key, body_hash=body_hash)
            record(db, caller, "job.submitted", job_id, kind=plan.kind, title=plan.title[:TITLE])
            job = visible_job(db, caller, job_id)
            stages = stages_of(db, job_id)
            if stages:
                transaction.queued += start_stage(db, self.blobs, job, stages[0])
            else:
                end_job(db, job_id, State.DONE)
            db.expire_all()
            return job_of(db, visible_job(db, caller, job_id))

    def job(self, caller: Caller, job: str) -> Job:
        """Show one job."""
        with self.database.reading() as db:
            return job_of(db, visible_job(db, caller, job))

    def usage(self, caller: Caller) -> Usage:
        """Show what the workspace uses of its quotas."""
        with self.database.reading() as db:
            return usage_of(db, caller.workspace, self.settings)

    def jobs(self, caller: Caller, limit: int = 50, cursor: str | None = None) -> Page[Job]:
        """List the jobs of the workspace, newest first."""
        before = None if cursor is None else str(decode_cursor(cursor, length=1)[0])
        with self.database.reading() as db:
            rows = page_of_jobs(db, caller.workspace, limit + 1, before)
            more = encode_cursor([rows[limit - 1].id]) if len(rows) > limit else None
            return Page[Job](items=[job_of(db, row) for row in rows[:limit]], next=more)

    def cancel(self, caller: Caller, job: str) -> Job:
        """Ask a job to stop; an ended one stays as it is."""
        with self.database.writing() as db:
            row = visible_job(db, caller, job, lock=True)
            if row.state not in ENDED:
                record(db, caller, "job.cancelled", job)
                cancel_job(db, row)
        return self.job(caller, job)

    def retry(self, caller: Caller, job: str) -> Job:
        """Run a failed or cancelled job again from where it stopped.

        Raises
        ------
        JobNotRetryable : it is running, or done.
        QuotaExceeded : the workspace has all that it may have.
        """
        with unit_of_work(self.database, self.bell) as transaction:
            row = visible_job(transaction.db, caller, job, lock=True)
            if row.state not in (State.FAILED, State.CANCELLED):
                raise JobNotRetryable(f"the job is {row.state}", field="job", state=row.state)
            hold(transaction.db, caller.workspace)
            require_room(transaction.db, caller.workspace, self.settings)
            record(transaction.db, caller, "job.retried", job)
            first = reopen_job(transaction.db, row)
            transaction.db.refresh(row)
            if first is not None:
                transaction.queued += start_stage(transaction.db, self.blobs, row, first)
        return self.job(caller, job)

    def curve(self, caller: Caller, job: str) -> Curve:
        """Show the figures that a training's latest checkpoint holds."""
        blob = self._found(caller, job, "train-epoch", "checkpoint")
        if blob is None:
            return Curve(job=job, epochs=[], stopped=False)
        return Curve.model_validate({"job": job, **facts_of(self.blobs.open(blob))})

    def pruning(self, caller: Caller, job: str) -> Pruning:
        """Show what a pruning has found."""
        blob = self._found(caller, job, "prune-channels", "pruning")
        if blob is None:
            return Pruning(job=job)
        found = json.loads(self.blobs.read(blob))
        return Pruning.model_validate({"job": job, **{name: found[name] for name in found if name != "widths"}})

    def attribution_evaluation(self, caller: Caller, job: str) -> AttributionEvaluation:
        """Show what an evaluation of attribution methods has found."""
        blob = self._found(caller, job, "attribution-figures", "evaluation")
        found = {} if blob is None else json.loads(self.blobs.read(blob))
        return AttributionEvaluation.model_validate({"job": job, **found})

    def steering_evaluation(self, caller: Caller, job: str) -> SteeringEvaluation:
        """Show what an evaluation of steering has found."""
        blob = self._found(caller, job, "steering-figures", "evaluation")
        found = {} if blob is None else json.loads(self.blobs.read(blob))
        return SteeringEvaluation.model_validate({"job": job, **found})

    def steering_evaluations(
        self, caller: Caller, model: str, limit: int = 50, cursor: str | None = None
    ) -> Page[MeasuredSteering]:
        """List what evaluations of steering a model, given by its id, measured, newest first."""
        before = None if cursor is None else str(decode_cursor(cursor, length=1)[0])
        with self.database.reading() as db:
            rows = steering_evaluations_of(db, caller.workspace, model, limit + 1, before)
            created = {row.id: row.created_at for row in rows[:limit]}
        found = [
            MeasuredSteering(
                job=job, concepts=[one.name for one in evaluation.concepts], arms=evaluation.arms, created_at=at
            )
            for job, at in created.items()
            if (evaluation := self.steering_evaluation(caller, job)).request is not None
        ]
        more = encode_cursor([rows[limit - 1].id]) if len(rows) > limit else None
        return Page[MeasuredSteering](items=found, next=more)

    def _found(self, caller: Caller, job: str, stage: str, output: str) -> str | None:
        """Blob of what a job's latest finished part of a stage put out, if there is one."""
        with self.database.reading() as db:
            visible_job(db, caller, job)
            key = latest_output(db, job, stage, output)
            known = find_artifacts(db, caller.workspace, [key] if key else [])
        return None if key is None or key not in known else known[key].blob

    def watch(self, caller: Caller, job: str, last: int | None = None) -> Iterator[tuple[int, Job]]:
        """Yield (version, job) whenever the version has grown, until the job has ended."""
        seen = -1 if last is None else last
        while True:
            state = self.job(caller, job)
            if state.version > seen:
                seen = state.version
                yield seen, state
            if state.ended_at is not None:
                return
            time.sleep(WATCH_SECONDS)

    def wait(self, caller: Caller, job: str, on_change: Callable[[Job], None] = lambda _: None) -> Job:
        """Wait until a job has ended, telling `on_change` of every change on the way; return its end."""
        state = self.job(caller, job)
        for _, state in self.watch(caller, job):
            on_change(state)
        return state
