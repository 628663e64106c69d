"""Permitted changes of a part, each one conditional UPDATE. What no move describes cannot happen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, CursorResult, and_, true, update

from contracts.jobs import State
from orchestration.jobs.rows import PartRow
from services.kit.db import WriteSession, db_now


@dataclass(frozen=True)
class Claim:
    """Proof of holding a part: while `fence` is the part's current number, this worker is the holder."""

    part: str
    worker: str
    fence: int = 0


Guard = Callable[[Claim], ColumnElement[bool]]


def always(claim: Claim) -> ColumnElement[bool]:
    """No further condition."""
    return true()


def lease_ran_out(claim: Claim) -> ColumnElement[bool]:
    """The holder did not renew in time, by the database's clock."""
    return PartRow.lease_until < db_now()


def holder_is_dead(claim: Claim) -> ColumnElement[bool]:
    """The part is held by the worker whose process was seen to have ended."""
    return PartRow.worker == claim.worker


def still_the_holder(claim: Claim) -> ColumnElement[bool]:
    """Nobody claimed the part since."""
    return PartRow.fence == claim.fence


@dataclass(frozen=True)
class Move:
    """A permitted change of a part's state."""

    name: str
    sources: frozenset[State]
    target: State
    guard: Guard


MOVES = {
    move.name: move
    for move in (
        Move("start", frozenset({State.WAITING}), State.QUEUED, always),
        Move("reuse", frozenset({State.WAITING}), State.DONE, always),
        Move("claim", frozenset({State.QUEUED}), State.RUNNING, always),
        Move("rescue", frozenset({State.RUNNING}), State.RUNNING, lease_ran_out),
        Move("renew", frozenset({State.RUNNING}), State.RUNNING, still_the_holder),
        Move("requeue", frozenset({State.RUNNING}), State.QUEUED, lease_ran_out),
        Move("give_back", frozenset({State.RUNNING}), State.QUEUED, still_the_holder),
        Move("publish", frozenset({State.RUNNING}), State.DONE, still_the_holder),
        Move("fail", frozenset({State.RUNNING}), State.FAILED, still_the_holder),
        Move("inherit", frozenset({State.RUNNING}), State.QUEUED, holder_is_dead),
        Move("stop", frozenset({State.RUNNING}), State.CANCELLED, still_the_holder),
        Move("cancel", frozenset({State.WAITING, State.QUEUED}), State.CANCELLED, always),
        Move("retry", frozenset({State.FAILED, State.CANCELLED}), State.WAITING, always),
    )
}


def try_move(db: WriteSession, name: str, claim: Claim, **values: object) -> bool:
    """Make a move if the part is in one of its sources and the guard holds; tell whether it happened."""
    move = MOVES[name]
    result = db.execute(
        update(PartRow)
        .where(and_(PartRow.id == claim.part, PartRow.state.in_(move.sources), move.guard(claim)))
        .values(state=move.target, **values)
        .execution_options(synchronize_session=False)
    )
    return isinstance(result, CursorResult) and result.rowcount == 1


def move_parts(db: WriteSession, name: str, parts: Sequence[str], **values: object) -> list[str]:
    """Make an unguarded move for many parts at once; return those that made it."""
    move, moved = MOVES[name], list[str]()
    if move.guard is not always:
        raise ValueError(f"{name} is guarded: it needs a claim for each part")
    for start in range(0, len(parts), 500):  # SQLite takes a bounded number of parameters
        moved += db.scalars(
            update(PartRow)
            .where(PartRow.id.in_(parts[start : start + 500]), PartRow.state.in_(move.sources))
            .values(state=move.target, **values)
            .returning(PartRow.id)
            .execution_options(synchronize_session=False)
        )
    return sorted(moved)
