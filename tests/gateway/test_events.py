"""The event stream of a job: what it carries, how it is resumed, how it ends."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient

from contracts.errors import UnknownJob
from contracts.jobs import Job
from orchestration.gateway.app import create_app
from orchestration.gateway.events import Streams

BASE = "http://127.0.0.1:8000"
PATH = "/v1/jobs/j_00000001/events"
JOB_KEYS = {
    "id", "kind", "title", "state", "stages", "result", "failures", "cancel_requested", "created_by", "created_at",
    "started_at", "ended_at", "version",
}  # fmt: skip


def events_in(text: str) -> list[dict[str, str]]:
    found = []
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines() if not line.startswith(":")]
        if lines:
            found.append({name: value for name, _, value in lines})
    return found


@pytest.fixture
def watch(logged_in):
    client = logged_in()

    def ask(last: int | str | None = None):
        headers = {} if last is None else {"Last-Event-ID": str(last)}
        answer = client.get(PATH, headers=headers)
        assert answer.status_code == 200, answer.text
        return events_in(answer.text)

    return ask


def test_a_stream_tells_every_version_and_then_that_the_job_has_ended(watch):
    events = watch()
    assert [(event["event"], event.get("id")) for event in events] == [
        ("job", "1"), ("job", "2"), ("job", "3"), ("job", "4"), ("end", None),
    ]  # fmt: skip
    assert json.loads(events[-1]["data"]) == {"job": "j_00000001", "last": 4}


def test_an_event_carries_exactly_what_the_job_page_reads(watch):
    data = [json.loads(event["data"]) for event in watch() if event["event"] == "job"]
    assert {frozenset(keys) for keys in data} == {frozenset(JOB_KEYS)}
    assert set(Job.model_fields) == JOB_KEYS
    assert Job.model_validate(data[0]).state == "running"


def test_who_reconnects_gets_what_is_new_and_nothing_twice(watch):
    assert [event.get("id") for event in watch(last=2) if event["event"] == "job"] == ["3", "4"]


def test_who_has_seen_the_end_gets_only_the_end(watch):
    watch()
    assert [event["event"] for event in watch(last=4)] == ["end"]


@pytest.mark.parametrize("last", ["-1", "x", "9" * 30, "1.5"])
def test_a_last_event_id_that_is_none_of_ours_is_refused(last, logged_in):
    assert logged_in().get(PATH, headers={"Last-Event-ID": last}).json()["title"] == "InvalidRequest"


def test_a_stream_is_not_buffered_or_kept(logged_in):
    headers = logged_in().get(PATH).headers
    assert headers["content-type"].startswith("text/event-stream")
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")


def test_an_old_stream_asks_to_be_opened_again(world):
    world.jobs.last = 1000
    events = events_in(stream_of(world, Streams(poll_seconds=0.0, life_seconds=0.0)).text)
    assert events[-1]["event"] == "reconnect"
    assert json.loads(events[-1]["data"])["last"] == int(events[-2]["id"])


def test_a_job_that_vanishes_while_it_is_watched_ends_the_stream_with_the_reason(world):
    class Vanishing(type(world.jobs)):
        def job(self, caller, job):
            if len(self.asked) >= 2:
                raise UnknownJob("no such job")
            return super().job(caller, job)

    world.jobs = Vanishing()
    events = events_in(stream_of(world, Streams(poll_seconds=0.0)).text)
    assert [event["event"] for event in events] == ["job", "job", "refused"]
    assert json.loads(events[-1]["data"])["title"] == "UnknownJob"


def locked_out(world, monkeypatch):
    """Have the operator disabled at the second look at the job, which is after the stream has begun."""
    look = world.jobs.job

    def disabling(caller, job):
        if len(world.jobs.asked) == 1:
            world.lock_out("operator")
        return look(caller, job)

    monkeypatch.setattr(world.jobs, "job", disabling)


def test_who_is_disabled_while_watching_sees_no_more(world, monkeypatch):
    locked_out(world, monkeypatch)
    events = events_in(stream_of(world, Streams(poll_seconds=0.0, check_seconds=0.0)).text)
    assert [event["event"] for event in events] == ["job", "job", "refused"]
    assert json.loads(events[-1]["data"])["title"] == "Unauthenticated"


def test_logins_are_not_asked_for_at_every_poll(world, monkeypatch):
    locked_out(world, monkeypatch)
    events = events_in(stream_of(world, Streams(poll_seconds=0.0, check_seconds=60.0)).text)
    assert [event["event"] for event in events] == ["job", "job", "job", "job", "end"]


def test_a_user_cannot_open_streams_without_end(world):
    streams = Streams(poll_seconds=0.0, most=0)
    answer = stream_of(world, streams)
    assert (answer.status_code, answer.json()["title"]) == (429, "TooManyRequests")


def test_a_stream_that_has_ended_is_not_counted_any_more(world):
    streams = Streams(poll_seconds=0.0)
    stream_of(world, streams)
    assert not streams.open


def test_the_workspace_is_checked_at_every_poll(watch, world):
    watch()
    assert {caller.workspace for _, caller in world.jobs.asked} == {"default"}
    assert len(world.jobs.asked) == 4


def stream_of(world, streams: Streams):
    client = TestClient(create_app(world, streams=streams), base_url=BASE, raise_server_exceptions=False)
    client.post("/v1/login", json={"link": world.governance.login_link().partition("#")[2]})
    return client.get(PATH)
