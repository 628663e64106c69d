"""Workers on Redis and PostgreSQL: killed, paused, deafened, rung for twice, and with the broker gone."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from contracts.jobs import State
from orchestration.jobs.bell import CeleryBell, SilentBell
from orchestration.jobs.reaper import Reaper
from orchestration.jobs.rows import PartRow
from orchestration.jobs.service import Jobs
from orchestration.jobs.supervisor import Supervisor
from tests.jobs.conftest import *  # noqa: F403
from tests.jobs.conftest import marks, runner_of, until, worker
from tests.jobs.tiny import ME, hash_plan
from tests.servers import start_redis

TINY = "tests.jobs.tiny:build"


@pytest.fixture
def database_url(postgresql) -> str:
    return postgresql.new_database()


@pytest.fixture
def broker_url(redis_server) -> str:
    return redis_server.new_database()


def ended(wiring, job):
    return lambda: wiring.core.job(ME, job).ended_at is not None


def fences(wiring) -> list[int]:
    with wiring.database.reading() as db:
        return list(db.scalars(select(PartRow.fence).order_by(PartRow.id)))


def test_a_job_runs_over_redis_and_every_part_once(wiring, settings, tmp_path):
    log = tmp_path / "log"
    pair = [worker(settings), worker(settings)]
    try:
        job = wiring.core.submit(ME, hash_plan(log, parts=16, steps=2, pause=0.01), body_hash="a")
        until(ended(wiring, job.id))
    finally:
        for process in pair:
            process.kill()
            process.wait()
    assert wiring.core.job(ME, job.id).state == State.DONE
    assert set(marks(log).values()) == {1}
    assert fences(wiring) == [1] * 17


def test_a_worker_takes_only_parts_that_need_what_it_has(wiring, settings, tmp_path):
    log = tmp_path / "log"
    choosy = worker(settings, "--queues", "io,gpu")
    try:
        job = wiring.core.submit(ME, hash_plan(log, parts=2, steps=1, pause=0), body_hash="a")
        time.sleep(2.5)
        assert marks(log) == {}
        other = worker(settings, "--queues", "cpu")
        try:
            until(ended(wiring, job.id))
        finally:
            other.kill()
            other.wait()
    finally:
        choosy.kill()
        choosy.wait()
    assert wiring.core.job(ME, job.id).state == State.DONE


@pytest.mark.parametrize("persistent", [True, False], ids=["append-only", "forgetful"])
def test_redis_killed_and_restarted_in_the_middle_of_a_part_costs_nothing(wiring, settings, tmp_path, persistent):
    log = tmp_path / "log"
    with start_redis(persistent=persistent) as broker:
        there = settings.model_copy(update={"broker_url": SecretStr(broker.url())})
        core = Jobs(wiring.database, wiring.blobs, there, CeleryBell(there), wiring.registry)
        process = worker(there)
        reaper = Reaper(wiring.database, wiring.blobs, there, bell=core.bell, name="t")
        try:
            job = core.submit(ME, hash_plan(log, parts=2, steps=20), body_hash="a")
            until(lambda: marks(log))
            broker.kill()
            time.sleep(0.5)
            broker.start()
            until(ended(wiring, job.id))
            reaper.start()
            later = core.submit(ME, hash_plan(log, parts=1, steps=1, repeat=2), body_hash="b")
            until(ended(wiring, later.id))
            assert process.poll() is None
        finally:
            reaper.stop()
            process.kill()
            process.wait()
    assert core.job(ME, later.id).state == State.DONE
    assert {mark: n for mark, n in marks(log).items() if mark.startswith("end")} == {
        "end 0": 2, "end 1": 1, "end join": 2,
    }  # fmt: skip


def test_submitting_without_a_broker_writes_the_job_and_the_reaper_rings_later(wiring, settings, tmp_path):
    log = tmp_path / "log"
    with start_redis() as broker:
        there = settings.model_copy(update={"broker_url": SecretStr(broker.url())})
        core = Jobs(wiring.database, wiring.blobs, there, CeleryBell(there), wiring.registry)
        broker.kill()
        began = time.monotonic()
        job = core.submit(ME, hash_plan(log, parts=1, steps=1), body_hash="a")
        assert time.monotonic() - began < 10
        broker.start()
        with Supervisor(there, wiring=TINY):
            until(ended(wiring, job.id))
    assert core.job(ME, job.id).state == State.DONE


def test_the_same_message_delivered_twice_at_once_is_published_once(wiring, settings, tmp_path):
    log = tmp_path / "log"
    quiet = Jobs(wiring.database, wiring.blobs, settings, SilentBell(), wiring.registry)
    for repeat in range(1, 6):
        job = quiet.submit(ME, hash_plan(log, parts=1, steps=2, pause=0.01, repeat=repeat), body_hash="a")
        part = f"{job.id}.00.000000"
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(runner_of(wiring, f"w{n}").run, part) for n in range(2)]
        assert sorted(run.result() for run in runs) == [False, True]
    assert marks(log)["begin 0"] == marks(log)["end 0"] == 5


def test_a_paused_worker_that_wakes_after_its_lease_is_refused(wiring, settings, tmp_path):
    log = tmp_path / "log"
    sleeper = worker(settings)
    rescuer = None
    reaper = Reaper(wiring.database, wiring.blobs, settings, bell=wiring.core.bell, name="t")
    try:
        job = wiring.core.submit(ME, hash_plan(log, parts=1, steps=20), body_hash="a")
        until(lambda: marks(log))
        os.kill(sleeper.pid, signal.SIGSTOP)
        rescuer = worker(settings)
        reaper.start()
        until(ended(wiring, job.id))
        os.kill(sleeper.pid, signal.SIGCONT)
        time.sleep(0.6)
    finally:
        reaper.stop()
        for process in filter(None, (sleeper, rescuer)):
            process.kill()
            process.wait()
    assert fences(wiring) == [2, 1]
    assert marks(log)["end 0"] == 1


def test_a_worker_that_hears_nothing_while_parts_wait_ends_to_be_started_afresh(
    wiring, settings, redis_server, tmp_path
):
    elsewhere = settings.model_copy(update={"broker_url": SecretStr(redis_server.new_database())})
    deaf = worker(elsewhere, "--child")  # without a reaper, which would ring where it listens
    try:
        job = wiring.core.submit(ME, hash_plan(tmp_path / "log", parts=1, steps=1), body_hash="a")
        assert deaf.wait(timeout=40) == 0, "it ends in order: its supervisor starts another"
    finally:
        deaf.kill()
        deaf.wait()
    with Supervisor(settings, wiring=TINY):
        until(ended(wiring, job.id))
    assert wiring.core.job(ME, job.id).state == State.DONE


def test_sigterm_on_redis_hands_the_part_back_without_counting_an_attempt(wiring, settings, tmp_path):
    log = tmp_path / "log"
    first = worker(settings)
    try:
        wiring.core.submit(ME, hash_plan(log, parts=1, steps=400), body_hash="a")
        until(lambda: marks(log))
        time.sleep(0.2)
        first.terminate()
        assert first.wait(timeout=30) is not None
    finally:
        first.kill()
    with wiring.database.reading() as db:
        parts = list(db.execute(select(PartRow.state, PartRow.attempt).order_by(PartRow.id)).tuples())
    assert parts == [("queued", 0), ("waiting", 0)]
