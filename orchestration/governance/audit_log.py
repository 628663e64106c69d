"""The audit log: entries chained by hashes, appended in the transaction of the act that they tell of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from pydantic import JsonValue
from sqlalchemy import or_, select

from contracts.audit_log import AuditLogEntry, AuditLogReport, BrokenEntry, Tampering
from contracts.base import Caller, Page
from contracts.errors import InvalidRequest
from orchestration.governance.rows import AuditChainRow, AuditEntryRow, UserRow
from services.kit.cursors import decode_cursor, encode_cursor
from services.kit.db import Database, ReadSession, WriteSession, any_bytes, insert_if_absent
from services.kit.logging import correlation_id

START = "0" * 64  # what the first entry names as its predecessor
BATCH = 1000


def hold(db: WriteSession, workspace: str) -> AuditChainRow:
    """Take the end of a workspace's chain until the commit: governance acts of a workspace happen one after another.

    PostgreSQL locks the row; on SQLite a write transaction is alone anyway.
    """
    insert_if_absent(db, AuditChainRow, workspace=workspace, seq=0, hash=START)
    held = select(AuditChainRow).where(AuditChainRow.workspace == workspace).with_for_update()
    return db.scalars(held.execution_options(populate_existing=True)).one()


def append(
    db: WriteSession, workspace: str, actor: str, action: str, *, subject: str = "", at: datetime, **facts: JsonValue
) -> None:
    """Write down who did what. Facts are ids and names, never content or secrets."""
    chain = hold(db, workspace)
    entry = AuditEntryRow(
        workspace=workspace,
        seq=chain.seq + 1,
        at=_text(at),
        actor=actor,
        action=action,
        subject=subject,
        facts=_canonical(facts),
        correlation=correlation_id()[:80],
        previous=chain.hash,
    )
    entry.hash = hash_of(entry)
    db.add(entry)
    chain.seq, chain.hash = entry.seq, entry.hash
    db.flush()


def record(db: WriteSession, caller: Caller, action: str, subject: str, **facts: JsonValue) -> None:
    """Write down what a caller does now, for acts outside this package."""
    append(db, caller.workspace, caller.user, action, subject=subject, at=datetime.now(UTC), **facts)


def hash_of(entry: AuditEntryRow, previous: str | None = None) -> str:
    """SHA-256 over the entry without its hash, as canonical JSON: sorted keys, no spaces."""
    names = ("workspace", "seq", "at", "actor", "action", "subject", "facts", "correlation")
    content: dict[str, JsonValue] = {name: getattr(entry, name) for name in names}
    content["previous"] = entry.previous if previous is None else previous
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def _canonical(content: dict[str, JsonValue]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")  # of one width: sorts as text


class AuditLog:
    """Reads and checks the log. Nothing here can write it."""

    _database: Database
    _clock: Callable[[], datetime]

    def audit_log(
        self,
        caller: Caller,
        actor: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[AuditLogEntry]:
        """List what was done in the workspace, newest first: by whom (id or name), of which kind, since when."""
        row = AuditEntryRow
        query = select(row, UserRow.name).outerjoin(UserRow, UserRow.id == row.actor)
        query = query.where(row.workspace == caller.workspace).order_by(row.seq.desc()).limit(limit + 1)
        if actor is not None:
            query = query.where(or_(row.actor == _plain(actor, "actor"), UserRow.name == actor))
        if action is not None:
            query = query.where(row.action == _plain(action, "action"))
        if since is not None:
            query = query.where(row.at >= _text(_moment(since)))
        if cursor is not None:
            (before,) = decode_cursor(cursor, length=1)
            if not isinstance(before, int):
                raise InvalidRequest("this cursor belongs to another listing", field="cursor")
            query = query.where(row.seq < before)
        with self._database.reading() as db, any_bytes(db):
            found = db.execute(query).all()
        items = [_shown(entry, name) for entry, name in found[:limit]]
        return Page(items=items, next=encode_cursor([items[-1].seq]) if len(found) > limit else None)

    def verify_audit_log(self, caller: Caller, head: str | None = None) -> AuditLogReport:
        """Check the chain of hashes over the whole log, against a head that was kept elsewhere if one is given."""
        kept_seq, _, kept_hash = ("0", "", START) if head is None else head.partition(":")
        kept, count, last = int(kept_seq), 0, START
        broken: BrokenEntry | None = None
        if kept == 0 and kept_hash != START:
            broken = BrokenEntry(seq=0, reason=Tampering.REWRITTEN, detail="no log begins with the given head")
        with self._database.reading() as db, any_bytes(db):
            for entry in _entries(db, caller.workspace):
                broken = broken or _first_fault(db, entry, count + 1, last)
                count, last = count + 1, entry.hash
                if kept == entry.seq and kept_hash != entry.hash:
                    detail = "the entry hashes differently from the given head: the log was written anew"
                    broken = broken or BrokenEntry(seq=kept, reason=Tampering.REWRITTEN, detail=detail)
            chain = db.get(AuditChainRow, caller.workspace)
        end = 0 if chain is None else chain.seq
        if broken is None and max(end, kept) > count:
            detail = f"the log ended at entry {max(end, kept)} and now ends at {count}"
            broken = BrokenEntry(seq=count + 1, reason=Tampering.REMOVED, detail=detail)
        if broken is None and (end, START if chain is None else chain.hash) != (count, last):
            detail = "the row that keeps the log's end does not name its last entry"
            broken = BrokenEntry(seq=count, reason=Tampering.CHANGED, detail=detail)
        return AuditLogReport(
            workspace=caller.workspace, intact=broken is None, entries=count, head=f"{count}:{last}", broken=broken
        )


def _entries(db: ReadSession, workspace: str) -> Iterator[AuditEntryRow]:
    after = -(1 << 62)
    while True:
        query = select(AuditEntryRow).where(AuditEntryRow.workspace == workspace, AuditEntryRow.seq > after)
        batch = db.scalars(query.order_by(AuditEntryRow.seq).limit(BATCH)).all()
        yield from batch
        if len(batch) < BATCH:
            return
        after = batch[-1].seq
        db.expunge_all()  # a log of years must not fill the memory


def _first_fault(db: ReadSession, entry: AuditEntryRow, expected: int, last: str) -> BrokenEntry | None:
    """Tell what is wrong with the entry that stands where number `expected` should, behind the one hashed `last`."""
    if entry.seq > expected:
        missing = f"entries {expected} to {entry.seq - 1} are gone" if entry.seq > expected + 1 else "the entry is gone"
        return BrokenEntry(seq=expected, reason=Tampering.REMOVED, detail=missing)
    if entry.seq == expected and entry.previous == last and hash_of(entry) == entry.hash:
        return None
    if entry.seq == expected and (entry.previous == last or hash_of(entry, last) == entry.hash):
        detail = "the entry is not what its hash was made of"
        return BrokenEntry(seq=expected, reason=Tampering.CHANGED, detail=detail)
    right = select(AuditEntryRow.seq).where(
        AuditEntryRow.workspace == entry.workspace, AuditEntryRow.previous == last, AuditEntryRow.seq != entry.seq
    )
    elsewhere = db.scalars(right.limit(1)).one_or_none()
    if elsewhere is not None:
        detail = f"the entry that belongs here stands at {elsewhere}"
        return BrokenEntry(seq=expected, reason=Tampering.REORDERED, detail=detail)
    detail = "the entry that stands here was written behind another one"
    return BrokenEntry(seq=expected, reason=Tampering.REMOVED, detail=detail)


def _plain(text: str, field: str) -> str:
    if not text.isprintable():  # PostgreSQL takes no NUL
        raise InvalidRequest("control characters are in no name", field=field)
    return text


def _moment(since: datetime) -> datetime:
    try:
        return (since if since.tzinfo is not None else since.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError as error:
        raise InvalidRequest("this time lies outside of what can be stored", field="since") from error


def _shown(entry: AuditEntryRow, name: str | None) -> AuditLogEntry:
    names = ("seq", "actor", "action", "subject", "correlation", "previous", "hash")
    kept = {field: getattr(entry, field) for field in names}
    try:
        at, facts = datetime.fromisoformat(entry.at), json.loads(entry.facts)
    except ValueError:  # tampered with; the check tells
        at, facts = datetime.min.replace(tzinfo=UTC), {"unreadable": f"{entry.at} {entry.facts}"}
    return AuditLogEntry(actor_name=name, at=at, facts=facts, **kept)
