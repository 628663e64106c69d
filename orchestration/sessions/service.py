"""What can be done with analysis sessions: begin, add events, rebuild, branch, list. Sharing is in `sharing`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy.exc import IntegrityError

from contracts.audit import AuditService
from contracts.base import Binary, Caller, Page, Right
from contracts.data import DataService
from contracts.errors import Forbidden, IdempotencyConflict, InvalidRequest
from contracts.explanation import ExplanationService
from contracts.model import ModelService
from contracts.replay import Replay
from contracts.session_events import (
    Action,
    AuditSeen,
    EventDraft,
    Happened,
    Move,
    Moved,
    NoteWritten,
    PinComponent,
    Pinned,
    Search,
    SeeAudit,
    SessionEvent,
    Steer,
    Undo,
    Undone,
    WriteNote,
)
from contracts.sessions import (
    Access,
    AnalysisSession,
    BranchRequest,
    NotUndoable,
    OtherSnapshot,
    SessionFull,
    SessionRequest,
    SessionState,
    SessionSummary,
    UnknownEvent,
    UnknownNote,
)
from orchestration.sessions import repository
from orchestration.sessions.replaying import Replayer
from orchestration.sessions.report import report_page
from orchestration.sessions.rows import AnalysisSessionRow, SessionEventRow
from orchestration.sessions.script import script_text
from orchestration.sessions.sentences import sentence
from orchestration.sessions.sharing import Sharing
from orchestration.sessions.state import UNDOABLE, applied, merged_note, note_of, rebuild, undone
from services.kit.cursors import decode_cursor, decode_moment, encode_cursor
from services.kit.db import Database, ReadSession, WriteSession
from services.kit.logging import correlation_id, logger
from services.kit.tokens import TokenKey

log = logger(__name__)

MOST_PINS, MOST_NOTES = 1000, 200
SHOWN_EXAMPLES = 6


class Sessions(Sharing):
    """Implements `contracts.sessions.SessionService`. Pins and audits are looked up: their evidence is not believed."""

    def __init__(
        self,
        database: Database,
        key: TokenKey,
        *,
        explanation: ExplanationService,
        audit: AuditService,
        data: DataService,
        model: ModelService,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(database, key, clock)
        self._explanation = explanation
        self._audit = audit
        self._data = data
        self._replayer = Replayer(explanation, model, audit)

    # --- sessions -------------------------------------------------------------------------------
    def begin(self, caller: Caller, body: SessionRequest, idempotency_key: str | None = None) -> AnalysisSession:
        """Begin an analysis session on a snapshot; the caller owns it."""
        snapshot = self._explanation.snapshot(caller, snapshot=body.snapshot).id
        body_hash = _hash(body.model_dump_json())
        state = SessionState(seq=0, snapshot=snapshot)
        try:
            with self._database.writing() as db:
                known = repository.begun_with_key(db, caller, idempotency_key) if idempotency_key else None
                if known is not None:
                    _refuse_other(known.body_hash, body_hash)
                    return self._shown(db, repository.visible(db, caller, known.id))
                session = self._insert(
                    db, caller, body.name, state, first_snapshot=snapshot,
                    idempotency_key=idempotency_key, body_hash=body_hash,
                )  # fmt: skip
                shown = self._shown(db, repository.visible(db, caller, session))
        except IntegrityError:
            if idempotency_key is None:
                raise
            return self.begin(caller, body, idempotency_key)  # somebody was faster: theirs is found now
        log.info("session.begun", session=session, user=caller.user, snapshot=snapshot)
        return shown

    def sessions(self, caller: Caller, limit: int = 50, cursor: str | None = None) -> Page[SessionSummary]:
        """List the analysis sessions that the caller is a member of, last changed first."""
        before = None if cursor is None else decode_moment(cursor)
        with self._database.reading() as db:
            found = repository.page_of_sessions(db, caller, limit + 1, before)
        last = found[limit - 1][0] if len(found) > limit else None
        return Page(
            items=[_summary(*each) for each in found[:limit]],
            next=None if last is None else encode_cursor([last.changed_at.isoformat(), last.id]),
        )

    def session(self, caller: Caller, session: str) -> AnalysisSession:
        """Show an analysis session: members and what its events add up to."""
        with self._database.reading() as db:
            return self._shown(db, repository.visible(db, caller, session))

    def state_at(self, caller: Caller, session: str, at: int) -> SessionState:
        """Rebuild the state as it was after event `at`, from the events."""
        with self._database.reading() as db:
            row = repository.visible(db, caller, session).row
            _refuse_beyond(row, at)
            return rebuild(row.first_snapshot, repository.events_of(db, session, before=at + 1))

    def history(
        self,
        caller: Caller,
        session: str,
        order: Literal["oldest", "newest"] = "oldest",
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[SessionEvent]:
        """List the events of an analysis session in order."""
        place = None if cursor is None else decode_cursor(cursor, length=1)[0]
        if place is not None and not isinstance(place, int):
            raise InvalidRequest("this cursor belongs to another listing", field="cursor")
        newest = order == "newest"
        with self._database.reading() as db:
            repository.visible(db, caller, session)
            found = repository.events_of(
                db, session, newest=newest, limit=limit + 1,
                after=0 if newest else place or 0, before=place if newest else None,
            )  # fmt: skip
        more = encode_cursor([found[limit - 1].seq]) if len(found) > limit else None
        return Page(items=found[:limit], next=more)

    def branch(self, caller: Caller, session: str, body: BranchRequest) -> AnalysisSession:
        """Copy the record up to an event into a session of the caller's own."""
        with self._database.writing() as db:
            row = repository.visible(db, caller, session).row
            at = row.seq if body.at is None else body.at
            _refuse_beyond(row, at)
            state = rebuild(row.first_snapshot, repository.events_of(db, session, before=at + 1))
            made = self._insert(
                db, caller, body.name, state, first_snapshot=row.first_snapshot, parent=session, parent_seq=at
            )
            repository.copy_events(db, repository.rows_until(db, session, at), made)
            db.flush()
            shown = self._shown(db, repository.visible(db, caller, made))
        log.info("session.branched", session=made, parent=session, at=at, user=caller.user)
        return shown

    # --- events ---------------------------------------------------------------------------------
    def act(self, caller: Caller, session: str, body: EventDraft, idempotency_key: str | None = None) -> SessionEvent:
        """Add an event: something searched, seen, steered, pinned, noted, moved or undone."""
        action = self._looked_up(caller, session, body.action)
        body_hash = _hash(body.model_dump_json())
        with self._database.writing() as db:
            row = self._editable(db, caller, session, lock=True)
            name = repository.name_of(db, caller.user)
            known = repository.event_with_key(db, session, caller.user, idempotency_key) if idempotency_key else None
            if known is not None:
                _refuse_other(known.body_hash, body_hash)
                return repository.event_of(known, name)
            state = SessionState.model_validate(row.state)
            decided = self._decided(db, caller, row, state, action)
            event = SessionEvent(
                session=session,
                seq=row.seq + 1,
                user=caller.user,
                by=name,
                at=self._clock(),
                action=decided,
                what=sentence(decided),
                correlation=correlation_id() or None,
            )
            row.seq, row.changed_at = event.seq, event.at
            row.state = self._after(db, row, state, event).model_dump(mode="json")
            db.add(
                SessionEventRow(
                    session=session,
                    seq=event.seq,
                    user=caller.user,
                    at=event.at,
                    kind=event.action.kind,
                    action=event.action.model_dump(mode="json"),
                    idempotency_key=idempotency_key,
                    body_hash=body_hash if idempotency_key else None,
                    correlation=event.correlation,
                )
            )
            db.announce(session)
        log.info("session.event_added", session=session, seq=event.seq, kind=event.action.kind, user=caller.user)
        return event

    def _looked_up(self, caller: Caller, session: str, action: Action) -> Happened | WriteNote | Undo:
        """Replace what a client says by what the services say, before the transaction begins."""
        match action:
            case Steer() | Search() as asked:
                needed = Right.STEER if isinstance(asked, Steer) else Right.SEARCH
                if needed not in caller.rights:  # what is recorded is computed again by whoever replays it
                    raise Forbidden(f"recording this needs the right `{needed}`", field="action")
            case PinComponent():
                here = action.snapshot or self.session(caller, session).state.snapshot
                snapshot = self._explanation.snapshot(caller, snapshot=here)
                detail = self._explanation.component(
                    caller, snapshot=snapshot.id, layer=action.layer, index=action.index, sign=action.sign
                )
                return Pinned(
                    snapshot=snapshot.id,
                    component=detail.component.ref,
                    dataset=snapshot.dataset.id,
                    lineage=detail.lineage,
                    state=detail.component.state,
                    clarity=detail.component.clarity,
                    examples=[example.sample for example in detail.examples[:SHOWN_EXAMPLES]],
                )
            case SeeAudit():
                audit = self._audit.audit(caller, audit=action.audit)
                return AuditSeen(audit=audit.id, snapshot=audit.snapshot, passed=audit.passed)
            case Move():
                moved = self._explanation.snapshot(caller, snapshot=action.snapshot)
                return Moved(snapshot=moved.id, name=moved.name)
        return action

    def _decided(
        self,
        db: ReadSession,
        caller: Caller,
        row: AnalysisSessionRow,
        state: SessionState,
        action: Happened | WriteNote | Undo,
    ) -> Happened:
        """Decide, under the session's lock, what depends on what others did."""
        match action:
            case Pinned():
                if action.snapshot != state.snapshot:
                    raise OtherSnapshot(
                        "the component is of another snapshot than the analysis session",
                        field="snapshot", session_snapshot=state.snapshot, given=action.snapshot,
                    )  # fmt: skip
                if len(state.pins) >= MOST_PINS:
                    raise SessionFull(f"{MOST_PINS} components are pinned already", field="action", limit=MOST_PINS)
            case WriteNote():
                return self._written(db, row, state, action)
            case Undo():
                return self._taken_back(db, caller, row, action)
        return action

    def _written(self, db: ReadSession, row: AnalysisSessionRow, state: SessionState, action: WriteNote) -> NoteWritten:
        if action.note is None:
            if len(state.notes) >= MOST_NOTES:
                raise SessionFull(f"there are {MOST_NOTES} notes already", field="action", limit=MOST_NOTES)
            text = action.text
            return NoteWritten(note=repository.new_id("n"), before="", text=text, after=text, merge="none")
        _refuse_beyond(row, action.base, field="base")
        current = note_of(state, action.note)
        seen = current
        if current is None or current.seq > action.base:  # somebody wrote since: find what this writer saw
            then = rebuild(row.first_snapshot, repository.events_of(db, row.id, before=action.base + 1))
            seen = note_of(then, action.note)
            if seen is None and current is None:
                raise UnknownNote(f"no note `{action.note}` in this analysis session", field="note")
        before = "" if seen is None else seen.text
        draft = NoteWritten(note=action.note, before=before, text=action.text, after="", merge="none")
        merged = merged_note(current, draft)
        stale = current is not None and current.text != before
        how: Literal["none", "clean", "both"] = "both" if merged.both else "clean" if stale else "none"
        return draft.model_copy(update={"after": merged.text, "merge": how})

    def _taken_back(self, db: ReadSession, caller: Caller, row: AnalysisSessionRow, action: Undo) -> Undone:
        events = repository.events_of(db, row.id)
        off = undone(events)
        standing = [event for event in events if event.seq not in off and event.action.kind in UNDOABLE]
        if action.event is None:
            own = [event for event in standing if event.user == caller.user and event.action.kind != "undo"]
            if not own:
                raise NotUndoable("there is nothing of yours to undo", field="event")
            return Undone(event=own[-1].seq)
        if not 1 <= action.event <= row.seq:
            raise UnknownEvent(f"there is no event {action.event}", field="event", last=row.seq)
        if action.event not in {event.seq for event in standing}:
            kind = events[action.event - 1].action.kind
            state = "is undone already" if action.event in off else "cannot be undone"
            raise NotUndoable(f"event {action.event} ({kind}) {state}", field="event")
        return Undone(event=action.event)

    def _after(
        self, db: ReadSession, row: AnalysisSessionRow, state: SessionState, event: SessionEvent
    ) -> SessionState:
        if not isinstance(event.action, Undone):
            return applied(state, event)
        return rebuild(row.first_snapshot, [*repository.events_of(db, row.id), event])

    def replay(self, caller: Caller, session: str, seq: int) -> Replay:
        """Compute what an event recorded once more and compare."""
        with self._database.reading() as db:
            row = repository.visible(db, caller, session).row
            _refuse_beyond(row, seq, field="seq")
            events = repository.events_of(db, session, before=seq + 1)
        if seq < 1:
            raise UnknownEvent("events are numbered from 1", field="seq", last=row.seq)
        then = rebuild(row.first_snapshot, events[:-1])
        return self._replayer.replay(caller, events[-1], then.snapshot)

    # --- export ---------------------------------------------------------------------------------
    def report(self, caller: Caller, session: str, format: Literal["html", "python", "json"] = "html") -> Binary:
        """Export: a page of its own with pictures and provenance, a Python script that repeats it, or its events."""
        with self._database.reading() as db:
            seen = repository.visible(db, caller, session)
            shown = self._shown(db, seen)
            events = repository.events_of(db, session)
            first = seen.row.first_snapshot
        if format == "json":
            text = Page[SessionEvent](items=events).model_dump_json(indent=2)
            return _file(text, "application/json")
        if format == "python":
            return _file(script_text(shown, events, first), "text/x-python")
        return _file(report_page(shown, events, caller, self._explanation, self._data), "text/html")

    # --- shared ---------------------------------------------------------------------------------
    def _insert(
        self, db: WriteSession, caller: Caller, name: str, state: SessionState, **values: str | int | None
    ) -> str:
        now, session = self._clock(), repository.new_id("as")
        db.add(
            AnalysisSessionRow(
                id=session,
                workspace=caller.workspace,
                name=name,
                owner=caller.user,
                seq=state.seq,
                state=state.model_dump(mode="json"),
                created_at=now,
                changed_at=now,
                **values,
            )
        )
        db.flush()
        repository.set_member(db, session, caller.user, Access.OWNER, now)
        return session


def _summary(row: AnalysisSessionRow, access: str, members: int, owner: str) -> SessionSummary:
    state = SessionState.model_validate(row.state)
    return SessionSummary(
        id=row.id,
        name=row.name,
        snapshot=state.snapshot,
        owner=owner,
        access=Access(access),
        members=members,
        events=row.seq,
        pins=len(state.pins),
        notes=len(state.notes),
        parent=row.parent,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )


def _refuse_beyond(row: AnalysisSessionRow, seq: int, *, field: str = "at") -> None:
    if seq > row.seq:
        raise UnknownEvent(f"there is no event {seq}", field=field, last=row.seq)


def _refuse_other(known: str | None, given: str) -> None:
    if known != given:
        raise IdempotencyConflict("another request used this key", field="Idempotency-Key")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _file(text: str, media_type: str) -> Binary:
    body = text.encode()
    return Binary(body, f"{media_type}; charset=utf-8", hashlib.sha256(body).hexdigest()[:16])
