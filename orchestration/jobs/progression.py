"""How a job moves on: stages start when the one before is done, parts that exist are reused, ends are decided once."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import CursorResult, update

from contracts.jobs import State
from orchestration.jobs.moves import move_parts
from orchestration.jobs.repository import ENDED, has_parts, ids_in, stages_of, touch, waiting_outputs
from orchestration.jobs.rows import JobRow, PartRow, StageRow
from services.kit.artifacts import find_artifacts
from services.kit.blobs import Blobs
from services.kit.db import WriteSession, db_now


def start_stage(db: WriteSession, blobs: Blobs, job: JobRow, stage: StageRow) -> list[str]:
    """Start a waiting stage, and further ones for as long as nothing is left to do; return the parts to ring for."""
    while True:
        if not _stage_moves(db, stage, State.WAITING, State.RUNNING, started=db_now()):
            return []
        queued = _queue_or_reuse(db, blobs, job.workspace, stage)
        touch(db, job.id, state=State.RUNNING)
        if queued:
            return queued
        following = finish_stage(db, job, stage)
        if following is None:
            return []
        stage = following


def _queue_or_reuse(db: WriteSession, blobs: Blobs, workspace: str, stage: StageRow) -> list[str]:
    parts = waiting_outputs(db, stage.id)
    found = find_artifacts(db, workspace, [key for keys in parts.values() for key in keys])
    there = {key for key, artifact in found.items() if blobs.has(artifact.blob)}
    reused = [part for part, keys in parts.items() if keys and there.issuperset(keys)]
    move_parts(db, "reuse", reused, reused=True, progress=PartRow.units)
    queued = move_parts(db, "start", sorted(parts.keys() - set(reused)), queued_at=db_now(), rung_at=db_now())
    db.execute(
        update(StageRow)
        .where(StageRow.id == stage.id)
        .values(parts_left=StageRow.parts_left - len(reused), parts_reused=StageRow.parts_reused + len(reused))
        .execution_options(synchronize_session=False)
    )
    return queued


def part_is_over(db: WriteSession, job: JobRow, stage: StageRow, *, done: bool) -> StageRow | None:
    """Count a part that ended; return the stage that is due next, if this was the last one of its stage."""
    if done:
        db.execute(
            update(StageRow)
            .where(StageRow.id == stage.id)
            .values(parts_left=StageRow.parts_left - 1)
            .execution_options(synchronize_session=False)
        )
    touch(db, job.id)
    return finish_stage(db, job, stage)


def finish_stage(db: WriteSession, job: JobRow, stage: StageRow) -> StageRow | None:
    """End a stage whose parts are all over, once; return the next stage, or None if the job ended or goes on."""
    if has_parts(db, stage.id, State.QUEUED, State.RUNNING):
        return None
    if has_parts(db, stage.id, State.FAILED):
        target = State.FAILED
    elif job.cancel_requested or has_parts(db, stage.id, State.CANCELLED):
        target = State.CANCELLED
    else:
        target = State.DONE
    if not _stage_moves(db, stage, State.RUNNING, target, ended=db_now()):
        return None
    stages = stages_of(db, job.id)
    following = next((later for later in stages if later.position == stage.position + 1), None)
    if target is State.DONE and following is not None:
        return following
    end_job(db, job.id, target)
    return None


def end_job(db: WriteSession, job: str, target: State) -> None:
    """Write a job's final state."""
    touch(db, job, state=target, ended_at=datetime.now(UTC))


def cancel_job(db: WriteSession, job: JobRow) -> None:
    """Stop what has not begun; running parts stop at their next batch and end the job then."""
    touch(db, job.id, cancel_requested=True)
    job.cancel_requested = True
    running = False
    for stage in stages_of(db, job.id):
        move_parts(db, "cancel", ids_in(db, stage.id, State.WAITING, State.QUEUED))
        if has_parts(db, stage.id, State.RUNNING):
            running = True
        elif stage.state not in ENDED:
            for source in (State.WAITING, State.RUNNING):
                _stage_moves(db, stage, source, State.CANCELLED, ended=db_now())
    if not running:
        end_job(db, job.id, State.CANCELLED)


def reopen_job(db: WriteSession, job: JobRow) -> StageRow | None:
    """Make an ended job ready to go on; return the first stage that is not done."""
    touch(db, job.id, state=State.QUEUED, cancel_requested=False, ended_at=None)
    first: StageRow | None = None
    for stage in stages_of(db, job.id):
        if stage.state == State.DONE:
            continue
        over = ids_in(db, stage.id, State.FAILED, State.CANCELLED)
        move_parts(db, "retry", over, attempt=0, failure=None, progress=0)
        db.execute(
            update(StageRow)
            .where(StageRow.id == stage.id, StageRow.state.in_([State.FAILED, State.CANCELLED, State.WAITING]))
            .values(state=State.WAITING, started=None, ended=None)
            .execution_options(synchronize_session=False)
        )
        first = first or stage
    db.flush()
    for stage in stages_of(db, job.id):
        db.refresh(stage)
    return first


def _stage_moves(db: WriteSession, stage: StageRow, source: State, target: State, **values: object) -> bool:
    result = db.execute(
        update(StageRow)
        .where(StageRow.id == stage.id, StageRow.state == source)
        .values(state=target, **values)
        .execution_options(synchronize_session=False)
    )
    return isinstance(result, CursorResult) and result.rowcount == 1
