"""Analysis sessions through the gateway: who gets in, and what a live stream tells."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn

from contracts.governance import Role, TokenRequest
from contracts.session_events import SessionEvent
from contracts.sessions import Present, UnknownAnalysisSession
from orchestration.gateway import session_events
from orchestration.gateway.app import create_app
from orchestration.gateway.events import Streams
from orchestration.gateway.limits import RateLimits
from tests.gateway.conftest import World
from tests.gateway.test_events import events_in
from tests.sessions.conftest import PlantedExplanation

VIEWERS = 50


@pytest.fixture
def world(world: World) -> World:
    world.explanation = PlantedExplanation()
    world.__post_init__()
    return world


def begin(client) -> str:
    answer = client.post("/v1/sessions", json={"name": "stripes", "snapshot": "one"})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def add(client, session: str, **action):
    return client.post(f"/v1/sessions/{session}/history", json={"action": action})


def pin(client, session: str, index: int):
    return add(client, session, kind="pin", layer="blocks.1", index=index)


@pytest.mark.parametrize("role", Role)
def test_only_who_may_annotate_begins_and_adds(role, logged_in):
    client = logged_in(role)
    answer = client.post("/v1/sessions", json={"name": "x", "snapshot": "one"})
    assert answer.status_code == (403 if role is Role.VIEWER else 200)
    if role is Role.VIEWER:
        assert answer.json()["right"] == "annotate"


def test_a_viewer_by_role_stays_a_viewer_with_a_link_to_edit(logged_in):
    alice, bob = logged_in(Role.ANALYST), logged_in(Role.VIEWER)
    session = begin(alice)
    link = alice.post(f"/v1/sessions/{session}/links", json={"access": "edit"}).json()["secret"]
    assert bob.post("/v1/sessions/join", json={"link": link}).json()["access"] == "edit"
    assert bob.get(f"/v1/sessions/{session}").status_code == 200
    assert pin(bob, session, 1).status_code == 403


@pytest.mark.parametrize("workspace", ["default", "other"])
@pytest.mark.parametrize("path", ["", "/state?at=0", "/history", "/links", "/events", "/report"])
def test_a_foreign_session_is_not_found(path, workspace, logged_in):
    session = begin(logged_in(Role.ANALYST))
    answer = logged_in(Role.ADMIN, workspace).get(f"/v1/sessions/{session}{path}")
    assert (answer.status_code, answer.json()["title"]) == (404, "UnknownAnalysisSession")


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil", "/a\nb", "javascript:x", ""])
def test_a_place_outside_the_workbench_is_refused(path, logged_in):
    client = logged_in(Role.ANALYST)
    session = begin(client)
    assert add(client, session, kind="view", path=path).status_code == 422
    assert client.put(f"/v1/sessions/{session}/presence", json={"path": path}).status_code == 422


def test_an_event_carries_the_correlation_id_of_its_request(logged_in):
    client = logged_in(Role.ANALYST)
    session = begin(client)
    answer = client.post(
        f"/v1/sessions/{session}/history",
        json={"action": {"kind": "view", "path": "/"}},
        headers={"X-Correlation-ID": "abc-1234-of-mine"},
    )
    assert answer.json()["correlation"] == answer.headers["x-correlation-id"] == "abc-1234-of-mine"


def test_pictures_are_not_kept(logged_in):
    client = logged_in(Role.ANALYST)
    query = {"terms": [{"kind": "picture", "picture": "iVBORw=="}]}
    answer = add(client, begin(client), kind="search", query=query)
    assert (answer.status_code, answer.json()["title"]) == (422, "InvalidRequest")


# --- the stream -----------------------------------------------------------------------------------
def stream_of(world, path: str, last: int | None = None, streams: Streams | None = None):
    from fastapi.testclient import TestClient

    app = create_app(world, streams=streams or Streams(poll_seconds=0.0, life_seconds=0.0))
    client = TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
    client.post("/v1/login", json={"link": world.governance.login_link().partition("#")[2]})
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    return events_in(client.get(path, headers=headers).text)


@pytest.fixture
def operated(world, logged_in):
    """An analysis session of the operator's with three events."""
    from contracts.session_events import EventDraft, PinComponent
    from contracts.sessions import SessionRequest

    me = world.governance.operator()
    session = world.sessions.begin(me, SessionRequest(name="mine", snapshot="one")).id
    for index in range(3):
        world.sessions.act(me, session, EventDraft(action=PinComponent(layer="blocks.1", index=index)))
    return session


@pytest.mark.parametrize(
    ("after", "last", "expected"), [(0, None, "123"), (2, None, "3"), (0, 1, "23"), (1, 2, "3"), (3, None, "")]
)
def test_who_comes_back_gets_what_is_new_and_nothing_twice(world, operated, after, last, expected):
    events = stream_of(world, f"/v1/sessions/{operated}/events?after={after}", last)
    assert "".join(event["id"] for event in events if event["event"] == "event") == expected
    assert [event["event"] for event in events[-2:]] == ["presence", "reconnect"]


def test_the_stream_carries_exactly_what_the_contract_says(world, operated):
    events = stream_of(world, f"/v1/sessions/{operated}/events")
    by_kind = {event["event"]: json.loads(event["data"]) for event in events}
    assert SessionEvent.model_validate(by_kind["event"]).action.kind == "pin"
    assert [one.name for one in Present.model_validate(by_kind["presence"]).viewers] == ["operator"]
    assert by_kind["reconnect"] == {"session": operated, "last": 3}


def test_more_events_than_a_page_come_in_order(world, operated, monkeypatch):
    monkeypatch.setattr(session_events, "PAGE", 2)
    events = stream_of(world, f"/v1/sessions/{operated}/events")
    assert [event["id"] for event in events if event["event"] == "event"] == ["1", "2", "3"]


def test_who_is_taken_out_while_following_is_told_so(world, operated, logged_in, monkeypatch):
    from contracts.errors import XsysError
    from contracts.sessions import UnknownAnalysisSession

    seen = []

    def removed(caller, session):
        if seen:
            raise UnknownAnalysisSession("there is no such analysis session for you")
        seen.append(session)

    assert issubclass(UnknownAnalysisSession, XsysError)
    monkeypatch.setattr(session_events, "PULSE_SECONDS", 0.0)
    monkeypatch.setattr(world.sessions, "still_here", removed)
    events = stream_of(world, f"/v1/sessions/{operated}/events", streams=Streams(poll_seconds=0.01))
    assert json.loads(events[-1]["data"])["title"] == "UnknownAnalysisSession"


def test_who_is_disabled_while_following_sees_no_more(world, operated, monkeypatch):
    look = world.sessions.head

    def disabling(session):
        world.lock_out("operator")
        return look(session)

    monkeypatch.setattr(world.sessions, "head", disabling)
    events = stream_of(world, f"/v1/sessions/{operated}/events", streams=Streams(poll_seconds=0.0, check_seconds=0.0))
    assert json.loads(events[-1]["data"])["title"] == "Unauthenticated"


@pytest.fixture
def live(world):
    """A real server, and its address."""
    app = create_app(world, limits=RateLimits(units=10**9), streams=Streams(poll_seconds=0.1))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_fifty_viewers_of_one_session_see_every_event_once_and_one_another(world, live):
    from contracts.base import Caller
    from contracts.governance import ROLES
    from contracts.session_events import EventDraft, PinComponent
    from contracts.sessions import JoinRequest, LinkRequest, SessionRequest

    def person(name: str, role: Role = Role.VIEWER) -> Caller:
        return Caller(user=world.governance.add_member(name, role), workspace="default", rights=ROLES[role])

    alice = person("alice", Role.ANALYST)
    session = world.sessions.begin(alice, SessionRequest(name="lecture", snapshot="one")).id
    link = world.sessions.share(alice, session, LinkRequest()).secret
    tokens = []
    for number in range(VIEWERS):
        viewer = person(f"v{number:02d}")
        world.sessions.join(viewer, JoinRequest(link=link))
        tokens.append(world.governance.create_token(viewer, TokenRequest(name="t")).secret)
    following = threading.Barrier(VIEWERS + 1)

    def follow(token: str) -> tuple[list[int], int]:
        numbers, most, first = [], 0, True
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.stream("GET", f"{live}/v1/sessions/{session}/events", headers=headers, timeout=30) as stream:
            kind = ""
            for line in stream.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                if name == "data" and kind == "presence":
                    most = max(most, len(json.loads(value)["viewers"]))
                    if first:
                        first = False
                        following.wait(timeout=30)
                if name == "data" and kind == "event":
                    numbers.append(json.loads(value)["seq"])
                    if len(numbers) == 20 and most == VIEWERS:
                        return numbers, most
        return numbers, most

    with ThreadPoolExecutor(VIEWERS) as pool:
        watched = [pool.submit(follow, token) for token in tokens]
        following.wait(timeout=30)
        for index in range(20):
            world.sessions.act(alice, session, EventDraft(action=PinComponent(layer="blocks.1", index=index % 8)))
            time.sleep(0.02)
        seen = [each.result(timeout=60) for each in watched]
    assert {tuple(numbers) for numbers, _ in seen} == {tuple(range(1, 21))}
    assert {most for _, most in seen} == {VIEWERS}


# --- the Python client ----------------------------------------------------------------------------
@pytest.fixture
def connected(world, live):
    """Return a function that makes an analyst and connects as them with the Python client."""
    from contracts.base import Caller
    from contracts.governance import ROLES
    from xsys_client import Workbench

    opened = []

    def make(name: str) -> Workbench:
        user = world.governance.add_member(name, Role.ANALYST)
        caller = Caller(user=user, workspace="default", rights=ROLES[Role.ANALYST])
        opened.append(Workbench(live, world.governance.create_token(caller, TokenRequest(name="t")).secret))
        return opened[-1]

    yield make
    for workbench in opened:
        workbench.http.close()


def test_two_people_work_in_one_session_through_the_client(connected, tmp_path):
    alice, bob = connected("alice"), connected("bob")
    session = alice.begin("one", "stripes")
    session.pin("blocks.1", 3)
    session.note("first\nlast\n")
    seen = session.state.notes[0]
    theirs = bob.join(session.share("edit").path)
    theirs.edit(seen, "FIRST\nlast\n")
    session.edit(seen, "first\nLAST\n")
    assert session.state.notes[0].text == "FIRST\nLAST\n"
    session.undo()
    assert theirs.state.notes[0].text == "FIRST\nlast\n"
    assert [event.seq for event in theirs.events()] == [1, 2, 3, 4, 5]
    followed = theirs.follow(after=2)
    assert [next(followed).seq for _ in range(3)] == [3, 4, 5]
    followed.close()
    mine = theirs.branch("mine", at=1)
    assert [one.name for one in bob.sessions()] == ["mine", "stripes"]
    assert (len(mine.state.pins), mine.state.notes) == (1, [])
    assert mine.export(tmp_path / "again.py", "python").read_text().startswith('"""Repeats the analysis session mine')
    assert "blocks.1 · 3" in session._repr_html_()
    with pytest.raises(UnknownAnalysisSession):
        alice.session(mine.id)


def test_a_follower_who_is_taken_out_is_told_so(connected):
    alice, bob = connected("alice"), connected("bob")
    session = alice.begin("one", "stripes")
    theirs = bob.join(session.share("view").path)
    alice.analysis.remove_member(session.id, bob.me().user)
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        next(theirs.follow())
