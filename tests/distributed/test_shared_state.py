"""Two gateways on one Redis: limits and streams counted together, events without waiting for a poll."""

import asyncio
import time

import pytest
from fastapi.testclient import TestClient

from contracts.base import Caller, Right
from contracts.errors import TooManyRequests
from orchestration.gateway.app import create_app
from orchestration.gateway.limits import RateLimits
from orchestration.gateway.shared import Announcer, SharedStreams
from tests.gateway.conftest import *  # noqa: F403
from tests.gateway.conftest import BASE
from tests.servers import free_port, start_redis

ME = Caller(user="me", workspace="ours", rights=frozenset(Right))


@pytest.fixture
def url(redis_server) -> str:
    return redis_server.new_database()


def test_two_gateways_count_requests_and_failed_logins_together(url):
    pair = [RateLimits(units=4, logins=2, url=url) for _ in range(2)]
    for limits in pair * 2:
        limits.charge(ME, Right.LOOK)
    for limits in pair:
        with pytest.raises(TooManyRequests):
            limits.charge(ME, Right.LOOK)
        limits.count_failed_login("10.0.0.1")
    with pytest.raises(TooManyRequests):
        pair[0].refuse_guesser("10.0.0.1")


def test_without_redis_every_gateway_counts_for_itself():
    limits = RateLimits(units=2, url=f"redis://127.0.0.1:{free_port()}/0")
    for _ in range(2):
        limits.charge(ME, Right.LOOK)
    with pytest.raises(TooManyRequests):
        limits.charge(ME, Right.LOOK)


def test_streams_are_counted_over_both_gateways_and_given_back(url):
    here, there = SharedStreams(url), SharedStreams(url)
    here.most = there.most = 2
    with here.counted(ME):
        with there.counted(ME), pytest.raises(TooManyRequests):
            here.refuse_too_many(ME)
        here.refuse_too_many(ME)
    there.refuse_too_many(ME)


def test_what_a_worker_announces_wakes_a_stream_at_once_and_only_its_own(url):
    async def watch() -> tuple[float, bool]:
        streams, announcer = SharedStreams(url), Announcer(url)
        streams.poll_seconds = 20.0
        other = asyncio.create_task(streams.pause("j_other"))
        mine = asyncio.create_task(streams.pause("j_mine"))
        began = time.monotonic()
        while not mine.done() and time.monotonic() - began < 10:  # what is announced before it listens is not heard
            announcer(frozenset({"j_mine"}))
            await asyncio.wait({mine}, timeout=0.1)
        seconds, undisturbed = time.monotonic() - began, not other.done()
        other.cancel()
        return seconds, undisturbed

    seconds, undisturbed = asyncio.run(watch())
    assert seconds < 10 and undisturbed


def test_a_commit_announces_the_job_and_a_rollback_does_not(world):
    heard: list[frozenset[str]] = []
    world.database.announcer = heard.append
    with world.database.writing() as db:
        db.announce("j_1")
    with pytest.raises(KeyError), world.database.writing() as db:
        db.announce("j_2")
        raise KeyError("no")
    assert heard == [frozenset({"j_1"})]


def test_a_login_at_one_gateway_holds_at_the_other_and_ends_at_both(world, url):
    def gateway() -> TestClient:
        app = create_app(world, limits=RateLimits(url=url), streams=SharedStreams(url))
        return TestClient(app, base_url=BASE, raise_server_exceptions=False)

    here, there = gateway(), gateway()
    link = world.governance.login_link().partition("#")[2]
    csrf = here.post("/v1/login", json={"link": link}).json()["csrf"]
    there.cookies = here.cookies
    assert there.get("/v1/session").status_code == 200
    assert there.post("/v1/logout", headers={"X-CSRF-Token": csrf}).status_code == 200
    assert here.get("/v1/session").status_code == 401


def test_an_announcement_to_a_redis_that_is_gone_costs_a_moment_once():
    with start_redis(persistent=False) as server:
        announcer = Announcer(server.url())
        announcer(frozenset({"j_1"}))
        server.kill()
        began = time.monotonic()
        for _ in range(50):
            announcer(frozenset({"j_1"}))
        assert time.monotonic() - began < 5


def test_gateways_that_count_later_admit_hardly_more_than_the_limit(url):
    pair = [RateLimits(units=1000, url=url) for _ in range(2)]  # each may owe ten units
    admitted = 0
    for limits in pair * 600:
        try:
            limits.charge(ME, Right.LOOK)
            admitted += 1
        except TooManyRequests:
            pass
    assert 1000 <= admitted <= 1000 + 2 * 11


def test_a_refused_user_gets_nothing_on_tab(url):
    limits = RateLimits(units=1000, url=url)
    limits.charge(ME, Right.LOOK)
    with pytest.raises(TooManyRequests):
        for _ in range(2000):
            limits.charge(ME, Right.SUBMIT)
    for _ in range(3):
        with pytest.raises(TooManyRequests):
            limits.charge(ME, Right.SUBMIT)
