"""Event streams on a real server: what holds when browsers vanish and when the server stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
import uvicorn

from orchestration.gateway.app import create_app
from orchestration.gateway.events import Streams

PATH = "/v1/jobs/j_00000001/events"


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    ends = time.monotonic() + seconds
    while not condition() and time.monotonic() < ends:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def streams() -> Streams:
    return Streams(poll_seconds=0.02)


@pytest.fixture
def server(world, streams) -> Iterator[uvicorn.Server]:
    world.jobs.last = 10**9
    config = uvicorn.Config(create_app(world, streams=streams), port=0, log_level="error", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    assert wait_for(lambda: running.started)
    yield running
    running.should_exit = True
    thread.join(timeout=10)
    assert not thread.is_alive()


@pytest.fixture
def browser(server, world) -> Iterator[httpx.Client]:
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        client.post("/v1/login", json={"link": world.governance.login_link().partition("#")[2]})
        yield client


class Stream:
    """An open stream. The iterator is kept: dropping it would close the connection."""

    def __init__(self, browser: httpx.Client) -> None:
        self._opened = browser.stream("GET", PATH)
        self._lines = self._opened.__enter__().iter_lines()

    def read(self, count: int) -> list[str]:
        return [next(self._lines) for _ in range(count)]

    def close(self) -> None:
        self._opened.__exit__(None, None, None)


@pytest.fixture
def open_stream(browser) -> Iterator[Callable[[], Stream]]:
    opened: list[Stream] = []

    def open_one() -> Stream:
        opened.append(Stream(browser))
        opened[-1].read(1)
        return opened[-1]

    yield open_one
    for stream in opened:
        stream.close()


def test_a_stream_of_a_running_job_arrives_while_it_runs(open_stream):
    lines = open_stream().read(8)
    assert [line for line in lines if line.startswith("id:")] == ["id: 1", "id: 2"]


def test_a_browser_that_vanishes_leaves_no_stream_behind(open_stream, streams, world):
    stream = open_stream()
    assert streams.open == {"operator": 1}
    stream.close()
    assert wait_for(lambda: not streams.open)
    asked = len(world.jobs.asked)
    time.sleep(0.2)
    assert len(world.jobs.asked) == asked  # nobody polls for a browser that is gone


def test_many_open_streams_leave_threads_for_other_requests(open_stream, browser, streams):
    streams.most, streams.poll_seconds = 60, 0.5
    for _ in range(20):
        open_stream()
    assert browser.get("/v1/me").status_code == 200


def test_a_seventh_stream_of_one_user_is_refused(open_stream, browser):
    for _ in range(6):
        open_stream()
    with browser.stream("GET", PATH) as refused:
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")


def test_an_open_stream_does_not_keep_the_server_from_stopping(open_stream, server, streams):
    open_stream()
    server.should_exit = True
    assert wait_for(lambda: not streams.open)
