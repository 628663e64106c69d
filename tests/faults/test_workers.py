"""Real workers on the filesystem transport, killed, stopped, starved of disk and told to end."""

import os
import random
import signal
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from sqlalchemy import select

from contracts.jobs import State
from orchestration.jobs.bell import SilentBell
from orchestration.jobs.reaper import Reaper
from orchestration.jobs.rows import PartRow
from orchestration.jobs.supervisor import Supervisor
from services.kit.artifacts import ArtifactRow
from tests.jobs.conftest import *  # noqa: F403
from tests.jobs.conftest import marks, until, worker
from tests.jobs.tiny import ME, build, hash_plan, poison_plan

TINY = "tests.jobs.tiny:build"


@pytest.fixture
def database_url() -> None:
    """Embedded mode: SQLite in the data folder."""


def blobs_of(wiring):
    with wiring.database.reading() as db:
        return dict(db.execute(select(ArtifactRow.key, ArtifactRow.blob)).tuples().all())


def ended(wiring, job):
    return lambda: wiring.core.job(ME, job).ended_at is not None


def stop_outside_of_a_transaction(pid, wiring):
    """Stop a process that does not hold SQLite's only write lock: nobody could rescue anything from that one."""
    for _ in range(50):
        os.kill(pid, signal.SIGSTOP)
        try:
            with closing(sqlite3.connect(wiring.settings.home / "xsys.sqlite", timeout=0.5)) as db:
                db.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.02)
    raise AssertionError("the worker holds the lock whenever it is stopped")


def test_a_worker_killed_three_times_loses_nothing_and_redoes_no_finished_part(wiring, settings, tmp_path):
    log = tmp_path / "log"
    draw = random.Random(20261123)
    with Supervisor(settings, wiring=TINY) as supervisor:
        job = wiring.core.submit(ME, hash_plan(log, parts=12, steps=8), body_hash="a")
        for kill in range(3):
            until(lambda kill=kill: sum(n for mark, n in marks(log).items() if "begin" in mark) > 2 * kill + 1)
            time.sleep(draw.uniform(0, 0.4))
            victim = supervisor.child
            os.kill(victim.pid, signal.SIGKILL)
            until(lambda victim=victim: supervisor.child is not victim)
        until(ended(wiring, job.id))
    assert wiring.core.job(ME, job.id).state == State.DONE
    finished = {mark: n for mark, n in marks(log).items() if mark.startswith("end")}
    begun = sum(n for mark, n in marks(log).items() if mark.startswith("begin"))
    assert len(finished) == 13
    assert begun <= 13 + 3
    calm = build(settings.model_copy(update={"home": tmp_path / "calm"}))
    undisturbed = calm.core.submit(ME, hash_plan(tmp_path / "log2", parts=12, steps=8, pause=0), body_hash="a")
    from tests.jobs.conftest import runner_of

    runner_of(calm).work_off(f"{undisturbed.id}.00.000000")
    assert blobs_of(calm) == blobs_of(wiring)


def test_two_processes_that_race_over_one_job_publish_each_part_once(wiring, settings, tmp_path):
    log = tmp_path / "log"
    pair = [worker(settings), worker(settings)]
    try:
        job = wiring.core.submit(ME, hash_plan(log, parts=20, steps=1, pause=0.01), body_hash="a")
        until(ended(wiring, job.id))
    finally:
        for process in pair:
            process.kill()
            process.wait()
    assert wiring.core.job(ME, job.id).state == State.DONE
    assert set(marks(log).values()) == {1}


def test_a_stopped_workers_part_is_rescued_and_its_late_result_discarded(wiring, settings, tmp_path):
    log = tmp_path / "log"
    sleeper = worker(settings)
    rescuer = None
    reaper = Reaper(wiring.database, wiring.blobs, settings, bell=wiring.core.bell, name="t")
    try:
        job = wiring.core.submit(ME, hash_plan(log, parts=1, steps=30), body_hash="a")
        until(lambda: marks(log))
        stop_outside_of_a_transaction(sleeper.pid, wiring)
        rescuer = worker(settings)
        reaper.start()
        until(ended(wiring, job.id))
        os.kill(sleeper.pid, signal.SIGCONT)
        time.sleep(0.5)
        with wiring.database.reading() as db:
            fences = list(db.scalars(select(PartRow.fence)))
        assert fences == [2, 1]
        assert wiring.core.job(ME, job.id).state == State.DONE
    finally:
        reaper.stop()
        for process in filter(None, (sleeper, rescuer)):
            process.kill()
            process.wait()


def test_sigterm_hands_the_part_back_without_counting_an_attempt(wiring, settings, tmp_path):
    log = tmp_path / "log"
    first = worker(settings)
    try:
        job = wiring.core.submit(ME, hash_plan(log, parts=1, steps=200), body_hash="a")
        until(lambda: marks(log))
        time.sleep(0.2)
        first.terminate()
        assert first.wait(timeout=20) is not None
    finally:
        first.kill()
    with wiring.database.reading() as db:
        states = list(db.execute(select(PartRow.state, PartRow.attempt).order_by(PartRow.id)).tuples())
    assert states == [("queued", 0), ("waiting", 0)]
    assert wiring.core.cancel(ME, job.id).state == State.CANCELLED


def test_a_running_part_stops_at_a_batch_after_cancel_and_retry_finishes(wiring, settings, tmp_path):
    log = tmp_path / "log"
    with Supervisor(settings, wiring=TINY):
        job = wiring.core.submit(ME, hash_plan(log, parts=2, steps=60), body_hash="a")
        until(lambda: marks(log))
        wiring.core.cancel(ME, job.id)
        until(ended(wiring, job.id))
        assert wiring.core.job(ME, job.id).state == State.CANCELLED
        assert not any(mark.startswith("end") for mark in marks(log))
        wiring.core.retry(ME, job.id)
        until(ended(wiring, job.id))
    assert wiring.core.job(ME, job.id).state == State.DONE


def test_a_part_that_kills_its_worker_stops_after_three_attempts(wiring, settings, tmp_path):
    log = tmp_path / "log"
    with Supervisor(settings.model_copy(update={"worker_restarts": 9}), wiring=TINY):
        job = wiring.core.submit(ME, poison_plan(log, how="death", parts=2), body_hash="a")
        until(ended(wiring, job.id))
    assert wiring.core.job(ME, job.id).failures[0].reason == "worker_died"
    assert marks(log) == {"begin 0": 1, "begin 1": 3}


def test_a_worker_is_not_restarted_for_ever(settings, wiring):
    with Supervisor(settings.model_copy(update={"worker_restarts": 1}), wiring="tests.jobs.tiny:nothing") as supervisor:
        until(lambda: supervisor.gave_up)


def test_a_full_disk_fails_the_job_by_name_and_a_later_retry_succeeds(wiring, settings, tmp_path):
    import resource

    log = tmp_path / "log"
    big = (3 << 20) // 32
    limited = worker(settings)
    resource.prlimit(limited.pid, resource.RLIMIT_FSIZE, (2 << 20, resource.RLIM_INFINITY))
    try:
        job = wiring.core.submit(ME, hash_plan(log, parts=1, steps=1, repeat=big), body_hash="a")
        until(ended(wiring, job.id))
        failed = wiring.core.job(ME, job.id)
        assert [failure.reason for failure in failed.failures] == ["storage_full"]
        assert blobs_of(wiring) == {}
        assert list((settings.blob_folder / "tmp").iterdir()) == []
        resource.prlimit(limited.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        wiring.core.retry(ME, job.id)
        until(ended(wiring, job.id))
    finally:
        limited.kill()
        limited.wait()
    assert wiring.core.job(ME, job.id).state == State.DONE


def test_a_crash_between_file_and_row_leaves_nothing_half_published(wiring, settings, tmp_path):
    places = ("publish.before_rename:kill", "publish.before_commit:kill", "part.after_batch:kill@2")
    for repeat, place in enumerate(places, start=1):
        log = tmp_path / f"log{repeat}"
        plan = hash_plan(log, parts=1, steps=2, repeat=repeat)
        crashing = worker(settings, XSYS_FAILPOINT=place)
        job = wiring.core.submit(ME, plan, body_hash="a")
        try:
            assert crashing.wait(timeout=40) == -signal.SIGKILL, place
        finally:
            crashing.kill()
        assert not set(blobs_of(wiring)) & set(plan.stages[0].parts[0].outputs.values())
        with Supervisor(settings, wiring=TINY):
            until(ended(wiring, job.id))
        assert wiring.core.job(ME, job.id).state == State.DONE


def test_a_lost_bell_is_repeated(wiring, settings, tmp_path):
    from orchestration.jobs.service import Jobs

    deaf = Jobs(wiring.database, wiring.blobs, settings, SilentBell(), wiring.registry)
    with Supervisor(settings, wiring=TINY):
        job = deaf.submit(ME, hash_plan(tmp_path / "log", parts=2, steps=1), body_hash="a")
        until(ended(wiring, job.id))
    assert threading.active_count() < 20
