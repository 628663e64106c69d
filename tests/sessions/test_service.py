"""Analysis sessions: what is recorded, rebuilt, undone, listed and exported. On SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from contracts.errors import IdempotencyConflict, UnknownComponent
from contracts.explanation import SearchQuery, TextTerm
from contracts.session_events import EventDraft, Move, Search, SeeAudit, Undo, Unpin, View, WriteNote
from contracts.sessions import (
    Access,
    BranchRequest,
    NotUndoable,
    OtherSnapshot,
    Place,
    SessionRequest,
    UnknownAnalysisSession,
    UnknownEvent,
    UnknownNote,
)
from orchestration.sessions.state import rebuild
from tests.sessions.conftest import pin

CATS = SearchQuery(terms=[TextTerm(text="a cat")])
A_NOTE = "n_0123456789abcdef"


def everything(sessions, session, by):
    return sessions.history(by, session, limit=200).items


def state_of(sessions, session, by):
    """The state as kept, after checking that the events add up to just that."""
    kept = sessions.session(by, session).state
    assert rebuild("s_one", everything(sessions, session, by)) == kept == sessions.state_at(by, session, kept.seq)
    return kept


# --- the record -----------------------------------------------------------------------------------
def test_events_are_numbered_in_order_and_rebuild_the_state(act, sessions, session, alice):
    act(Search(query=CATS))
    act(View(path="/s/one/c/blocks.1/3", title="blocks.1 · 3"))
    act(pin(3))
    note = act(WriteNote(text="striped"))
    act(SeeAudit(audit="a_0123456789abcdef"))
    act(Move(snapshot="two"))
    state = state_of(sessions, session, alice)
    assert [event.seq for event in everything(sessions, session, alice)] == [1, 2, 3, 4, 5, 6]
    assert (state.snapshot, state.seq) == ("s_two", 6)
    assert [(one.pinned.component.index, one.pinned.lineage) for one in state.pins] == [(3, "lineage-of-3")]
    assert [(one.id, one.text, one.seq) for one in state.notes] == [(note.action.note, "striped", 4)]
    assert state.places[alice.user].path == "/s/one/c/blocks.1/3"
    assert [one.passed for one in state.audits] == [False]
    earlier = sessions.state_at(alice, session, 3)
    assert (earlier.snapshot, len(earlier.pins), earlier.notes) == ("s_one", 1, [])


def test_the_evidence_of_a_pin_is_looked_up_and_not_believed(act):
    pinned = act(pin(3)).action
    assert (pinned.snapshot, pinned.dataset, pinned.clarity, pinned.examples) == ("s_one", "d_1", 0.5, [0, 1])
    with pytest.raises(UnknownComponent):
        act(pin(8))


def test_a_session_stays_on_its_snapshot_until_it_is_moved(act):
    with pytest.raises(OtherSnapshot) as refused:
        act(pin(3, snapshot="two"))
    assert refused.value.facts == {"session_snapshot": "s_one", "given": "s_two"}
    act(Move(snapshot="two"))
    assert act(pin(3, snapshot="two")).action.snapshot == "s_two"


def test_a_repeated_request_adds_one_event(act, sessions, session, alice):
    first = act(pin(3), idempotency_key="k")
    assert act(pin(3), idempotency_key="k") == first
    with pytest.raises(IdempotencyConflict):
        act(pin(4), idempotency_key="k")
    assert len(everything(sessions, session, alice)) == 1


def test_a_repeated_beginning_begins_one_session(sessions, alice):
    request = SessionRequest(name="once", snapshot="one")
    first = sessions.begin(alice, request, idempotency_key="k")
    assert sessions.begin(alice, request, idempotency_key="k") == first
    with pytest.raises(IdempotencyConflict):
        sessions.begin(alice, SessionRequest(name="twice", snapshot="one"), idempotency_key="k")


def test_history_is_read_in_pages_from_either_end(act, sessions, session, alice):
    for index in range(5):
        act(pin(index))
    seen, cursor = [], None
    for _ in range(3):
        page = sessions.history(alice, session, "newest", 2, cursor)
        seen += [event.seq for event in page.items]
        cursor = page.next
    assert (seen, cursor) == ([5, 4, 3, 2, 1], None)
    first = sessions.history(alice, session, limit=2)
    assert [event.seq for event in sessions.history(alice, session, cursor=first.next).items] == [3, 4, 5]


def test_writers_at_the_same_time_lose_and_double_nothing(act, sessions, session, alice):
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda index: act(pin(index % 8)).seq, range(40)))
    assert sorted(numbers) == list(range(1, 41))
    assert len(state_of(sessions, session, alice).pins) == 8


# --- undo and branch ------------------------------------------------------------------------------
def test_undo_takes_the_callers_last_event_back_and_undoing_the_undo_brings_it_again(act, sessions, session, alice):
    act(pin(1))
    act(pin(2))
    act(Undo())
    assert [one.pinned.component.index for one in state_of(sessions, session, alice).pins] == [1]
    act(Undo())
    assert state_of(sessions, session, alice).pins == []
    act(Undo(event=3))
    state = state_of(sessions, session, alice)
    assert ([one.pinned.component.index for one in state.pins], state.undone) == ([2], [1, 3])


def test_undo_does_not_take_what_somebody_else_did(act, joined):
    bob = joined("bob")
    act(pin(1))
    with pytest.raises(NotUndoable):
        act(Undo(), by=bob)
    assert act(Undo(event=1), by=bob).action.event == 1  # named, it may be taken back by any editor


@pytest.mark.parametrize(("event", "refusal"), [(1, NotUndoable), (2, NotUndoable), (9, UnknownEvent)])
def test_what_was_looked_at_or_undone_already_cannot_be_undone(act, event, refusal):
    act(View(path="/s/one"))
    act(pin(1))
    act(Undo())
    with pytest.raises(refusal):
        act(Undo(event=event))


def test_an_unpin_and_a_move_can_be_undone(act, sessions, session, alice):
    act(pin(1))
    act(Unpin(layer="blocks.1", index=1))
    act(Undo())
    act(Move(snapshot="two"))
    act(Undo())
    state = state_of(sessions, session, alice)
    assert (len(state.pins), state.snapshot) == (1, "s_one")


def test_a_branch_has_the_record_up_to_its_event_and_goes_its_own_way(act, sessions, session, alice, joined):
    bob = joined("bob", Access.VIEW)
    act(pin(1))
    act(pin(2))
    made = sessions.branch(bob, session, BranchRequest(name="mine", at=1))
    assert (made.access, made.parent, made.parent_seq, made.state.seq) == (Access.OWNER, session, 1, 1)
    sessions.act(bob, made.id, EventDraft(action=pin(5)))
    assert [event.by for event in everything(sessions, made.id, bob)] == ["alice", "bob"]
    assert [one.pinned.component.index for one in state_of(sessions, made.id, bob).pins] == [1, 5]
    assert len(state_of(sessions, session, alice).pins) == 2
    with pytest.raises(UnknownAnalysisSession):
        sessions.session(alice, made.id)


# --- notes ----------------------------------------------------------------------------------------
def test_two_people_who_edit_one_note_lose_no_text(act, sessions, session, alice, joined):
    bob = joined("bob")
    first = act(WriteNote(text="stripes\nfur\n"))
    note, base = first.action.note, first.seq
    act(WriteNote(note=note, text="STRIPES\nfur\n", base=base))
    merged = act(WriteNote(note=note, text="stripes\nfur and whiskers\n", base=base), by=bob)
    assert (merged.action.after, merged.action.merge) == ("STRIPES\nfur and whiskers\n", "clean")
    both = act(WriteNote(note=note, text="Streifen\nfur\n", base=base), by=bob)
    assert both.action.merge == "both"
    (found,) = state_of(sessions, session, alice).notes
    assert set(found.text.splitlines()) >= {"STRIPES", "Streifen", "fur and whiskers"}
    assert (found.both, found.users, found.seq) == (True, [alice.user, bob.user], both.seq)


def test_undoing_an_edit_keeps_what_others_wrote_after_it(act, sessions, session, alice, joined):
    bob = joined("bob")
    note = act(WriteNote(text="one\ntwo\n")).action.note
    edit = act(WriteNote(note=note, text="ONE\ntwo\n", base=1))
    act(WriteNote(note=note, text="ONE\ntwo\nthree\n", base=2), by=bob)
    act(Undo(event=edit.seq))
    (found,) = state_of(sessions, session, alice).notes
    assert found.text == "one\ntwo\nthree\n"


def test_an_emptied_note_is_gone_unless_somebody_wrote_in_it_meanwhile(act, sessions, session, alice, joined):
    bob = joined("bob")
    note = act(WriteNote(text="one\n")).action.note
    act(WriteNote(note=note, text="one\ntwo\n", base=1), by=bob)
    act(WriteNote(note=note, text="", base=1))
    assert [one.text for one in state_of(sessions, session, alice).notes] == ["two\n"]
    act(WriteNote(note=note, text="", base=3))
    assert state_of(sessions, session, alice).notes == []


def test_a_note_that_was_taken_away_comes_back_with_what_somebody_was_writing(act, sessions, session, alice):
    note = act(WriteNote(text="one\n")).action.note
    act(WriteNote(note=note, text="", base=1))
    act(WriteNote(note=note, text="one\ntwo\n", base=1))
    assert [one.text for one in state_of(sessions, session, alice).notes] == ["one\ntwo\n"]


def test_a_note_that_never_was_and_a_base_that_is_to_come_are_refused(act):
    with pytest.raises(UnknownNote):
        act(WriteNote(note=A_NOTE, text="x"))
    with pytest.raises(UnknownEvent):
        act(WriteNote(note=A_NOTE, text="x", base=7))


def test_many_editors_of_one_note_lose_no_line(act, sessions, session, alice):
    note = act(WriteNote(text="top\n")).action.note
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: act(WriteNote(note=note, text=f"top\nline {n}\n", base=1)), range(12)))
    (found,) = state_of(sessions, session, alice).notes
    assert set(found.text.splitlines()) == {"top", *(f"line {n}" for n in range(12))}


def test_sessions_are_listed_by_last_change_in_pages(sessions, session, alice, clock, act):
    for name in ("b", "c"):
        clock.advance(minutes=1)
        sessions.begin(alice, SessionRequest(name=name, snapshot="two"))
    clock.advance(minutes=1)
    act(pin(1))
    first = sessions.sessions(alice, limit=2)
    rest = sessions.sessions(alice, limit=2, cursor=first.next)
    assert [one.name for one in (*first.items, *rest.items)] == ["stripes", "c", "b"]
    assert (first.items[0].events, first.items[0].pins, first.items[0].owner, rest.next) == (1, 1, "alice", None)


def test_who_is_here_is_seen_with_where_they_look(sessions, session, alice, joined):
    bob = joined("bob", Access.VIEW)
    sessions.appear(alice, session, Place(path="/s/one?q=a+cat", title="a cat"))
    sessions.still_here(bob, session)
    present = sessions.appear(alice, session, Place(path="/s/one/c/blocks.1/3"))
    assert [(one.name, one.path, one.access) for one in present.viewers] == [
        ("alice", "/s/one/c/blocks.1/3", Access.OWNER), ("bob", None, Access.VIEW),
    ]  # fmt: skip
    sessions.still_here(alice, session)  # a pulse does not forget the place
    assert sessions.head(session).present == present


def test_who_has_gone_is_forgotten(sessions, session, alice, database, monkeypatch):
    from orchestration.sessions import repository

    sessions.still_here(alice, session)
    monkeypatch.setattr(repository, "PRESENT_SECONDS", -1.0)
    assert sessions.head(session).present.viewers == []


def test_the_report_is_one_page_with_pictures_provenance_and_inert_text(act, sessions, session, alice):
    act(pin(3))
    act(WriteNote(text="</script><script>alert(1)</script>"))
    act(Undo())
    act(WriteNote(text="<b>fur</b>"))
    page = sessions.report(alice, session, "html")
    text = page.body.decode()
    assert page.media_type == "text/html; charset=utf-8"
    assert "data:image/webp;base64,UklGRg==" in text  # the picture that is there
    assert "sample 1: UnknownSnapshot" in text  # and the one that has gone
    assert "&lt;b&gt;fur" in text
    assert "<script>alert" not in text
    assert "http" not in text  # nothing is fetched
    for fact in ("lineage-of-one", "weights sha256 " + "a" * 64, "fingerprint " + "a" * 64, "lineage-of-3"):
        assert fact in text


def test_the_events_are_exported_as_they_are(act, sessions, session, alice):
    act(pin(3))
    from contracts.base import Page
    from contracts.session_events import SessionEvent

    body = sessions.report(alice, session, "json").body
    assert Page[SessionEvent].model_validate_json(body).items == everything(sessions, session, alice)


def test_the_script_compiles_and_keeps_text_out_of_its_statements(act, sessions, session, alice):
    act(Search(query=CATS))
    act(WriteNote(text="first\n__import__('os').abort()\rraise SystemExit\u2028x = 1\x0cy"))
    act(pin(3))
    act(Undo())
    text = sessions.report(alice, session, "python").body.decode()
    code = compile(text, "script.py", "exec")
    assert "os" not in code.co_names
    assert "'a cat'" in text
    assert "component(" not in text  # taken back


def test_changes_of_a_session_are_announced_after_the_commit(act, database, session):
    heard, lock = [], threading.Lock()

    def listen(subjects):
        with lock:
            heard.extend(subjects)

    database.announcer = listen
    act(pin(1))
    assert heard == [session]
