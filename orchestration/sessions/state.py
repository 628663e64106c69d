"""What the events of an analysis session add up to: pure functions, so that any state can be rebuilt at any time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from contracts.session_events import AuditSeen, Moved, NoteWritten, Pinned, SessionEvent, Undone, Unpin, View
from contracts.sessions import Note, Pin, SessionState, Visit
from orchestration.sessions.merge import Merged, merge

UNDOABLE = frozenset({"pin", "unpin", "note", "move", "undo"})


def rebuild(snapshot: str, events: Sequence[SessionEvent]) -> SessionState:
    """Fold events, in order and without gaps from the first, over the empty state of a session begun on `snapshot`."""
    off = undone(events)
    state = SessionState(seq=0, snapshot=snapshot)
    for event in events:
        state = advanced(state, event) if event.seq in off else applied(state, event)
    return state.model_copy(update={"undone": sorted(off)})


def undone(events: Iterable[SessionEvent]) -> set[int]:
    """Name the events that are not in force. An undo that was undone itself takes nothing back."""
    off: set[int] = set()
    for event in reversed(list(events)):
        if isinstance(event.action, Undone) and event.seq not in off:
            off.add(event.action.event)
    return off


def advanced(state: SessionState, event: SessionEvent) -> SessionState:
    """Return the state with nothing changed but the number of the last event."""
    return state.model_copy(update={"seq": event.seq})


def applied(state: SessionState, event: SessionEvent) -> SessionState:
    """Return the state after an event that is in force."""
    match event.action:
        case Pinned() as pinned:
            kept = [pin for pin in state.pins if not _same(pin.pinned, pinned)]
            change: dict[str, object] = {
                "pins": [*kept, Pin(seq=event.seq, user=event.user, at=event.at, pinned=pinned)]
            }
        case Unpin(layer=layer, index=index, sign=sign):
            change = {
                "pins": [
                    pin
                    for pin in state.pins
                    if (pin.pinned.component.layer, pin.pinned.component.index, pin.pinned.component.sign)
                    != (layer, index, sign)
                ]
            }
        case NoteWritten() as written:
            change = {"notes": _noted(state, event, written)}
        case Moved(snapshot=snapshot):
            change = {"snapshot": snapshot}
        case AuditSeen() as seen:
            change = {"audits": [*(one for one in state.audits if one.audit != seen.audit), seen]}
        case View(path=path, title=title):
            change = {"places": {**state.places, event.user: Visit(path=path, title=title, at=event.at)}}
        case _:
            change = {}
    return state.model_copy(update={**change, "seq": event.seq})


def note_of(state: SessionState, note: str) -> Note | None:
    """Find a note in force."""
    return next((one for one in state.notes if one.id == note), None)


def merged_note(current: Note | None, written: NoteWritten) -> Merged:
    """What the note says once `written` is merged in. A note that is not there (any more) is as its writer saw it."""
    return Merged(written.text, False) if current is None else merge(written.before, current.text, written.text)


def _noted(state: SessionState, event: SessionEvent, written: NoteWritten) -> list[Note]:
    current = note_of(state, written.note)
    merged = merged_note(current, written)
    users = [] if current is None else current.users
    now = Note(
        id=written.note,
        seq=event.seq,
        text=merged.text,
        both=merged.both,
        users=users if event.user in users else [*users, event.user],
        at=event.at,
    )
    if current is None:
        return [*state.notes, now] if now.text else state.notes
    return [now if one.id == now.id else one for one in state.notes if one.id != now.id or now.text]


def _same(one: Pinned, other: Pinned) -> bool:
    return (one.snapshot, one.component) == (other.snapshot, other.component)
