"""Every SQL statement about jobs, stages and parts."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import case, exists, func, insert, select, update

from contracts.base import Caller
from contracts.errors import UnknownJob
from contracts.jobs import Failure, Job, Stage, State
from orchestration.jobs.moves import Claim, try_move
from orchestration.jobs.rows import JobRow, PartRow, StageRow
from services.kit.artifacts import ArtifactRow
from services.kit.db import ReadSession, WriteSession, db_now
from services.kit.logging import correlation_id
from services.kit.stages import JobPlan
from services.kit.tracing import traceparent

RESOURCES = ("cpu", "gpu", "io", "reduce")  # queues are by what a stage needs, not by priority
ENDED = frozenset({State.DONE, State.FAILED, State.CANCELLED})
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def new_job_id() -> str:
    """Return an id that sorts by time of creation, so that it serves as the key of the listing."""
    stamp = int(datetime.now(UTC).timestamp() * 1000)
    digits = ""
    for _ in range(9):
        stamp, digit = divmod(stamp, 36)
        digits = ALPHABET[digit] + digits
    return "j_" + digits + "".join(secrets.choice(ALPHABET) for _ in range(7))


def insert_job(db: WriteSession, caller: Caller, plan: JobPlan, *, idempotency_key: str | None, body_hash: str) -> str:
    """Write a job with all its stages and parts, everything still waiting."""
    job = new_job_id()
    db.add(
        JobRow(
            id=job, workspace=caller.workspace, kind=plan.kind, title=plan.title, idempotency_key=idempotency_key,
            body_hash=body_hash, state=State.QUEUED, cancel_requested=False, result=plan.result,
            created_by=caller.user, created_at=datetime.now(UTC), version=1,
            correlation=correlation_id() or None, traceparent=traceparent(),
        )
    )  # fmt: skip
    db.flush()
    for position, stage in enumerate(plan.stages):
        row = StageRow(
            id=f"{job}.{position:02d}", job=job, position=position, name=stage.stage, unit=stage.unit,
            queue=stage.queue, state=State.WAITING, parts=len(stage.parts), parts_left=len(stage.parts),
            parts_reused=0, total=sum(part.units for part in stage.parts),
        )  # fmt: skip
        db.add(row)
        db.flush()
        parts = [
            {
                "id": f"{row.id}.{number:06d}", "stage": row.id, "position": number, "spec": part.spec,
                "inputs": dict(part.inputs), "outputs": dict(part.outputs), "units": part.units,
                "state": State.WAITING, "reused": False, "fence": 0, "attempt": 0, "progress": 0,
            }
            for number, part in enumerate(stage.parts)
        ]  # fmt: skip
        if parts:
            db.execute(insert(PartRow), parts)
    return job


def visible_job(db: ReadSession, caller: Caller, job: str, *, lock: bool = False) -> JobRow:
    """Return a job of the caller's workspace; any other is unknown. `lock`: nobody else changes it meanwhile."""
    query = select(JobRow).where(JobRow.id == job, JobRow.workspace == caller.workspace)
    row = db.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise UnknownJob(f"there is no job {job}", field="job")
    return row


def job_with_key(db: ReadSession, workspace: str, key: str) -> JobRow | None:
    """Return the job that was submitted under an idempotency key."""
    return db.scalar(select(JobRow).where(JobRow.workspace == workspace, JobRow.idempotency_key == key))


def page_of_jobs(db: ReadSession, workspace: str, limit: int, before: str | None) -> list[JobRow]:
    """Return up to `limit` jobs, newest first, older than the id `before`."""
    query = select(JobRow).where(JobRow.workspace == workspace).order_by(JobRow.id.desc()).limit(limit)
    return list(db.scalars(query if before is None else query.where(JobRow.id < before)))


def shares_of(db: ReadSession, workspace: str, limit: int) -> list[tuple[str, int, int]]:
    """Return the kinds of results that take most: kind, number, bytes."""
    size = func.sum(ArtifactRow.size)
    query = select(ArtifactRow.kind, func.count(), size).where(ArtifactRow.workspace == workspace)
    query = query.group_by(ArtifactRow.kind).order_by(size.desc(), ArtifactRow.kind).limit(limit)
    return [(kind, int(count), int(total)) for kind, count, total in db.execute(query)]


def stages_of(db: ReadSession, job: str) -> list[StageRow]:
    """Return the stages of a job in order."""
    return list(db.scalars(select(StageRow).where(StageRow.job == job).order_by(StageRow.position)))


def ids_in(db: ReadSession, stage: str, *states: State) -> list[str]:
    """Return the parts of a stage that are in one of the states, in order."""
    query = select(PartRow.id).where(PartRow.stage == stage, PartRow.state.in_(states))
    return list(db.scalars(query.order_by(PartRow.position)))


def has_parts(db: ReadSession, stage: str, *states: State) -> bool:
    """Whether some part of a stage is in one of the states."""
    return bool(db.scalar(select(exists().where(PartRow.stage == stage, PartRow.state.in_(states)))))


def waiting_outputs(db: ReadSession, stage: str) -> dict[str, list[str]]:
    """Return the keys of what the waiting parts of a stage will make: part -> keys."""
    query = select(PartRow.id, PartRow.outputs).where(PartRow.stage == stage, PartRow.state == State.WAITING)
    return {part: list(outputs.values()) for part, outputs in db.execute(query)}


def next_queued(db: ReadSession, resources: Collection[str] = RESOURCES) -> str | None:
    """Return the part that has been queued longest, of stages that need one of these resources."""
    query = select(PartRow.id).where(PartRow.state == State.QUEUED).order_by(PartRow.queued_at, PartRow.id)
    if set(resources) != set(RESOURCES):
        query = query.join(StageRow, StageRow.id == PartRow.stage).where(StageRow.queue.in_(resources))
    return db.scalar(query.limit(1))


def longest_wait(db: ReadSession, resources: Collection[str]) -> float:
    """Seconds for which the oldest part that needs one of these resources has been queued; 0.0 if none is."""
    query = select(db_now() - func.min(PartRow.queued_at)).join(StageRow, StageRow.id == PartRow.stage)
    query = query.where(PartRow.state == State.QUEUED, StageRow.queue.in_(resources))
    return float(db.scalar(query) or 0.0)


def resources_of(db: ReadSession, parts: Sequence[str]) -> dict[str, str]:
    """Return what the stages of some parts need, in the order of the parts."""
    if not parts:
        return {}
    query = select(PartRow.id, StageRow.queue).join(StageRow, StageRow.id == PartRow.stage)
    found = dict(db.execute(query.where(PartRow.id.in_(parts))).tuples().all())
    return {part: found[part] for part in parts}


def depths(db: ReadSession) -> dict[str, int]:
    """Count the parts that wait for a worker, by resource; every resource is named."""
    query = select(StageRow.queue, func.count()).join(PartRow, PartRow.stage == StageRow.id)
    query = query.where(PartRow.state == State.QUEUED).group_by(StageRow.queue)
    return dict.fromkeys(RESOURCES, 0) | {resource: int(count) for resource, count in db.execute(query)}


@dataclass(frozen=True)
class Sum:
    """What the parts of a stage add up to: units done, and units that were done by this run (not found there)."""

    done: int
    worked: int


def progress_of(db: ReadSession, stages: Iterable[StageRow]) -> dict[str, Sum]:
    """Add up the parts' progress per stage."""
    done = case((PartRow.state == State.DONE, PartRow.units), else_=PartRow.progress)
    query = (
        select(PartRow.stage, func.sum(done), func.sum(case((PartRow.reused, 0), else_=done)))
        .where(PartRow.stage.in_([stage.id for stage in stages]))
        .group_by(PartRow.stage)
    )
    return {stage: Sum(int(total or 0), int(worked or 0)) for stage, total, worked in db.execute(query)}


def failures_of(db: ReadSession, job: str) -> list[Failure]:
    """Return why parts failed, the first twenty in order."""
    query = (
        select(PartRow.failure)
        .join(StageRow, StageRow.id == PartRow.stage)
        .where(StageRow.job == job, PartRow.state == State.FAILED, PartRow.failure.is_not(None))
        .order_by(PartRow.id)
        .limit(20)
    )
    return [Failure(**json.loads(text)) for text in db.scalars(query) if text is not None]


def latest_output(db: ReadSession, job: str, stage: str, output: str) -> str | None:
    """Return the key of an output of the last finished part among a job's stages of one name."""
    query = (
        select(PartRow.outputs)
        .join(StageRow, StageRow.id == PartRow.stage)
        .where(StageRow.job == job, StageRow.name == stage, PartRow.state == State.DONE)
        .order_by(StageRow.position.desc(), PartRow.position.desc())
        .limit(1)
    )
    outputs = db.scalar(query)
    return None if outputs is None else str(outputs[output])


def steering_evaluations_of(
    db: ReadSession, workspace: str, model: str, limit: int, before: str | None
) -> list[JobRow]:
    """Return up to `limit` jobs that have judged steering of a model, newest first, older than the id `before`."""
    query = (
        select(JobRow)
        .join(StageRow, StageRow.job == JobRow.id)
        .join(PartRow, PartRow.stage == StageRow.id)
        .where(JobRow.workspace == workspace, StageRow.name == "steering-figures", PartRow.state == State.DONE)
        .where(PartRow.spec["request"]["model"].as_string() == model)
        .order_by(JobRow.id.desc())
        .limit(limit)
    )
    return list(db.scalars(query if before is None else query.where(JobRow.id < before)))


def job_of(db: ReadSession, row: JobRow) -> Job:
    """Render a job with the progress of its stages."""
    stages = stages_of(db, row.id)
    sums = progress_of(db, stages)
    now = float(db.scalar(select(db_now())) or 0.0)
    return Job(
        id=row.id,
        kind=row.kind,
        title=row.title,
        state=State(row.state),
        stages=[_stage_of(stage, sums.get(stage.id, Sum(0, 0)), now) for stage in stages],
        result=row.result if row.state == State.DONE else None,
        failures=failures_of(db, row.id),
        cancel_requested=row.cancel_requested,
        created_by=row.created_by,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        version=row.version,
    )


def _stage_of(row: StageRow, total: Sum, now: float) -> Stage:
    seconds = (row.ended or now) - row.started if row.started is not None else 0.0
    rate = total.worked / seconds if total.worked and seconds > 0 else None
    running = row.state == State.RUNNING
    return Stage(
        name=row.name,
        state=State(row.state),
        parts=row.parts,
        parts_done=row.parts - row.parts_left,
        parts_reused=row.parts_reused,
        unit=row.unit,
        done=total.done,
        total=row.total,
        rate=rate,
        seconds_left=(row.total - total.done) / rate if rate and running else None,
    )


def touch(db: WriteSession, job: str, **values: object) -> None:
    """Change a job's row and raise its version, so that watchers look again."""
    db.execute(update(JobRow).where(JobRow.id == job).values(version=JobRow.version + 1, **values))
    db.announce(job)


def lock_job_of(db: WriteSession, part: str) -> None:
    """Lock the row of a part's job. Whoever changes parts does so first: then no two can wait for each other."""
    query = (
        select(JobRow.id)
        .join(StageRow, StageRow.job == JobRow.id)
        .join(PartRow, PartRow.stage == StageRow.id)
        .where(PartRow.id == part)
    )
    db.execute(query.with_for_update(of=JobRow))


def claim_part(db: WriteSession, part: str, worker: str, lease: float) -> Claim | None:
    """Claim a queued part, or one whose lease ran out; None if somebody else has it or it is over."""
    taken = {
        "fence": PartRow.fence + 1, "attempt": PartRow.attempt + 1, "worker": worker, "progress": 0,
        "lease_until": db_now() + lease, "progress_at": db_now(),
    }  # fmt: skip
    claim = Claim(part, worker)
    if not (try_move(db, "claim", claim, **taken) or try_move(db, "rescue", claim, **taken)):
        return None
    fence = db.scalar(select(PartRow.fence).where(PartRow.id == part))
    return Claim(part, worker, int(fence or 0))


def cancel_wanted(db: ReadSession, part: str) -> bool:
    """Whether the job of a part was asked to stop."""
    query = (
        select(JobRow.cancel_requested)
        .join(StageRow, StageRow.job == JobRow.id)
        .join(PartRow, PartRow.stage == StageRow.id)
        .where(PartRow.id == part)
    )
    return bool(db.scalar(query))


def job_of_part(db: ReadSession, part: str) -> tuple[StageRow, JobRow]:
    """Return the stage and the job that a part belongs to."""
    row = db.execute(
        select(StageRow, JobRow)
        .join(PartRow, PartRow.stage == StageRow.id)
        .join(JobRow, JobRow.id == StageRow.job)
        .where(PartRow.id == part)
    ).one()
    return row[0], row[1]


def unfinished_jobs(db: ReadSession, workspace: str) -> int:
    """How many jobs of a workspace wait or run."""
    query = select(func.count()).where(JobRow.workspace == workspace, JobRow.state.not_in(ENDED))
    return int(db.scalar(query) or 0)


def bytes_of(db: ReadSession, workspace: str) -> int:
    """Bytes of the results of a workspace; those that two results share count once."""
    sizes = select(func.max(ArtifactRow.size).label("size")).where(ArtifactRow.workspace == workspace)
    each = sizes.group_by(ArtifactRow.blob).subquery()
    return int(db.scalar(select(func.sum(each.c.size))) or 0)
