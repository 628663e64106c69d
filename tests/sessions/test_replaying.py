"""What was recorded is computed again and compared."""

import pytest

from contracts.errors import Forbidden, Unavailable, UnknownSnapshot
from contracts.explanation import SearchQuery, TextTerm
from contracts.governance import Role
from contracts.session_events import Move, PinComponent, Search, SeeAudit, Steer, View, WriteNote
from contracts.sessions import UnknownAnalysisSession, UnknownEvent
from contracts.snapshots import ComponentRef
from contracts.steering import SteeringRequest

QUERY = SearchQuery(terms=[TextTerm(text="stripes")], k=3)
STEERING = SteeringRequest.model_validate(
    {
        "sample": {"dataset": "d_1", "index": 1},
        "interventions": [{"target": {"kind": "component", "layer": "blocks.1", "index": 1}, "change": "ablate"}],
    }
)


def found(*indices: int) -> list[ComponentRef]:
    return [ComponentRef(model="m_1", layer="blocks.1", index=index, sign=1) for index in indices]


@pytest.fixture
def auditor(joined):
    return joined("ada", role=Role.AUDITOR)


@pytest.mark.parametrize(
    ("action", "checked"),
    [
        (Search(query=QUERY, hits=found(3, 1, 4), lineage="lineage-of-one"), ["3 components found", "lineage"]),
        (Search(query=QUERY, hits=found(3, 1)), ["2 components found"]),
        (PinComponent(layer="blocks.1", index=3), ["lineage", "state", "clarity", "2 examples"]),
        (SeeAudit(audit="a_0123456789abcdef"), ["verdict", "snapshot"]),
        (Steer(model="m_1", request=STEERING, flipped=True, variation=0.2500001), ["prediction", "variation"]),
    ],
)
def test_what_comes_out_as_recorded_is_the_same(sessions, session, act, auditor, action, checked):
    event = act(action)
    told = sessions.replay(auditor, session, event.seq)
    assert (told.verdict, told.checked, told.differences) == ("same", checked, [])
    assert (told.session, told.seq, told.kind) == (session, event.seq, event.action.kind)


@pytest.mark.parametrize(
    ("action", "difference"),
    [
        (Search(query=QUERY, hits=found(3, 4, 1)), "component 2: recorded blocks.1·4, now blocks.1·1"),
        (Search(query=QUERY, hits=found(3, 1, 4, 5)), "component 4: recorded blocks.1·5, now nothing"),
        (Search(query=QUERY, hits=found(3), lineage="another"), "lineage: recorded another, now lineage-of-one"),
        (Steer(model="m_1", request=STEERING, flipped=False, variation=0.25), "flipped: recorded False, now True"),
        (Steer(model="m_1", request=STEERING, variation=0.26), "variation: recorded 0.26, now 0.25"),
    ],
)
def test_what_comes_out_otherwise_is_named(sessions, session, act, auditor, action, difference):
    told = sessions.replay(auditor, session, act(action).seq)
    assert told.verdict == "differs"
    assert difference in told.differences


@pytest.mark.parametrize(
    ("action", "why"),
    [
        (Search(query=None, pictures=["a" * 64]), "pictures that were sent along are not kept"),
        (Search(query=QUERY, pictures=["a" * 64], hits=found(1)), "pictures that were sent along are not kept"),
        (Search(query=QUERY), "no outcome was recorded"),
        (Steer(model="m_1", request=STEERING), "no outcome was recorded"),
        (View(path="/s/one"), "nothing was computed"),
        (WriteNote(text="x"), "nothing was computed"),
    ],
)
def test_what_holds_no_answer_says_why(sessions, session, act, auditor, action, why):
    told = sessions.replay(auditor, session, act(action).seq)
    assert told.verdict == "nothing" and why in told.detail


def test_a_search_is_repeated_where_the_session_stood_then(sessions, session, act, auditor):
    first = act(Search(query=QUERY, hits=found(3, 1, 4)))
    act(Move(snapshot="s_two"))
    second = act(Search(query=QUERY, hits=found(1, 3, 4), lineage="lineage-of-two"))
    act(Move(snapshot="s_one"))
    assert [sessions.replay(auditor, session, event.seq).verdict for event in (first, second)] == ["same", "same"]


def test_what_can_no_longer_be_asked_is_told_with_its_reason(sessions, session, act, auditor, monkeypatch):
    event = act(Search(query=QUERY, hits=found(3)))

    def gone(caller, snapshot):
        raise UnknownSnapshot("it was deleted")

    monkeypatch.setattr(sessions._replayer.explanation, "snapshot", gone)
    told = sessions.replay(auditor, session, event.seq)
    assert (told.verdict, told.detail) == ("refused", "UnknownSnapshot: it was deleted")


def test_a_service_that_is_out_of_order_is_no_finding(sessions, session, act, auditor, monkeypatch):
    event = act(Search(query=QUERY, hits=found(3)))

    def away(caller, snapshot, query):
        raise Unavailable("the explanation service does not answer")

    monkeypatch.setattr(sessions._replayer.explanation, "search", away)
    with pytest.raises(Unavailable):
        sessions.replay(auditor, session, event.seq)


def test_who_may_not_steer_cannot_do_so_by_recording_and_replaying_it(sessions, session, act, auditor):
    with pytest.raises(Forbidden, match="needs the right `steer`"):
        act(Steer(model="m_1", request=STEERING, flipped=False), by=auditor)
    assert sessions.session(auditor, session).state.seq == 0
    assert act(Search(query=QUERY, hits=found(3)), by=auditor).seq == 1


def test_only_members_replay_and_only_what_happened(sessions, session, act, auditor, person):
    act(View(path="/"))
    with pytest.raises(UnknownAnalysisSession):
        sessions.replay(person("eve", Role.AUDITOR), session, 1)
    for seq in (0, 2):
        with pytest.raises(UnknownEvent):
            sessions.replay(auditor, session, seq)
