"""Jobs worked off in this process, on a real database."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter

import pytest
from sqlalchemy import select, update

from contracts.errors import IdempotencyConflict, JobNotRetryable, UnknownJob
from contracts.governance import QuotaExceeded
from contracts.jobs import State
from orchestration.governance.service import Governance
from orchestration.jobs.bell import SilentBell
from orchestration.jobs.moves import MOVES, Claim, try_move
from orchestration.jobs.reaper import Reaper
from orchestration.jobs.repository import bytes_of, claim_part, next_queued
from orchestration.jobs.rows import PartRow
from services.kit.artifacts import forget_artifacts
from services.kit.logging import configure_logging, correlated
from tests.jobs.conftest import marks, runner_of
from tests.jobs.tiny import ME, OTHER, hash_plan, poison_plan


def first_part(wiring):
    with wiring.database.reading() as db:
        return next_queued(db)


def expire(wiring, part):
    with wiring.database.writing() as db:
        db.execute(update(PartRow).where(PartRow.id == part).values(lease_until=1.0))


def test_a_job_runs_to_its_end_and_a_second_one_finds_everything_there(wiring, quiet, tmp_path):
    log = tmp_path / "log"
    plan = hash_plan(log, parts=3, steps=2, pause=0)
    job = quiet.submit(ME, plan, body_hash="a")
    runner_of(wiring).work_off(first_part(wiring))
    done = quiet.job(ME, job.id)
    assert (done.state, done.result) == (State.DONE, plan.result) or done.result
    assert [(s.parts_done, s.done, s.total) for s in done.stages] == [(3, 6, 6), (1, 1, 1)]
    again = quiet.submit(ME, plan, body_hash="b")
    assert again.state == State.DONE
    assert [stage.parts_reused for stage in again.stages] == [3, 1]
    assert again.result == plan.result
    assert max(marks(log).values()) == 1


def test_the_parts_of_a_job_log_the_correlation_id_of_the_request_that_made_it(wiring, quiet, tmp_path, capsys):
    with correlated("0123456789abcdef"):
        quiet.submit(ME, hash_plan(tmp_path / "log", parts=2, steps=1, pause=0), body_hash="a")
    configure_logging(json=True)
    try:
        runner_of(wiring).work_off(first_part(wiring))
    finally:
        configure_logging(json=False, level=logging.WARNING)
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    published = [event["correlation_id"] for event in events if event["event"] == "part.published"]
    assert published == ["0123456789abcdef"] * 3


def test_the_same_key_and_body_is_the_same_job_and_another_body_is_refused(quiet, tmp_path):
    plan = hash_plan(tmp_path / "log")
    job = quiet.submit(ME, plan, idempotency_key="k", body_hash="a")
    assert quiet.submit(ME, plan, idempotency_key="k", body_hash="a").id == job.id
    with pytest.raises(IdempotencyConflict):
        quiet.submit(ME, plan, idempotency_key="k", body_hash="b")
    assert quiet.submit(OTHER, plan, idempotency_key="k", body_hash="b").id != job.id


def test_who_submits_cancels_and_retries_stands_in_the_audit_log(wiring, quiet, settings, tmp_path):
    log = Governance(wiring.database, settings)
    job = quiet.submit(ME, hash_plan(tmp_path / "log"), idempotency_key="k", body_hash="a")
    quiet.submit(ME, hash_plan(tmp_path / "log"), idempotency_key="k", body_hash="a")  # the same job, so no act
    quiet.cancel(ME, job.id)
    quiet.cancel(ME, job.id)  # it has ended: nothing is done
    quiet.retry(ME, job.id)
    entries = log.audit_log(ME).items[::-1]
    assert [entry.action for entry in entries] == ["job.submitted", "job.cancelled", "job.retried"]
    assert {entry.subject for entry in entries} == {job.id} and {entry.actor for entry in entries} == {ME.user}
    assert entries[0].facts["kind"] == job.kind
    with pytest.raises(JobNotRetryable):
        quiet.retry(ME, job.id)
    assert log.audit_log(OTHER).items == []
    assert log.verify_audit_log(ME).intact and log.verify_audit_log(ME).entries == 3


def test_a_workspace_begins_no_more_jobs_than_it_may(wiring, quiet, settings, tmp_path):
    quiet.settings = settings.model_copy(update={"quota_jobs": 2})
    held = [
        quiet.submit(ME, hash_plan(tmp_path / "log", parts=n), idempotency_key=str(n), body_hash="a") for n in (1, 2)
    ]
    with pytest.raises(QuotaExceeded, match="2 unfinished jobs of 2 that this workspace may have") as refused:
        quiet.submit(ME, hash_plan(tmp_path / "log"), body_hash="c")
    assert refused.value.facts == {"used": 2, "limit": 2}
    assert [job.id for job in quiet.jobs(ME).items] == [job.id for job in held[::-1]], "nothing was written"
    again = quiet.submit(ME, hash_plan(tmp_path / "log", parts=1), idempotency_key="1", body_hash="a")
    assert again.id == held[0].id, "a repeat is no new job"
    assert quiet.submit(OTHER, hash_plan(tmp_path / "log"), body_hash="d")
    quiet.cancel(ME, held[0].id)
    assert quiet.submit(ME, hash_plan(tmp_path / "log"), body_hash="e")
    with pytest.raises(QuotaExceeded):
        quiet.retry(ME, held[0].id)
    assert quiet.job(ME, held[0].id).state == State.CANCELLED


def test_two_that_come_at_once_do_not_both_take_the_last_place(wiring, quiet, settings, tmp_path):
    quiet.settings = settings.model_copy(update={"quota_jobs": 1})

    def submit(number: int) -> bool:
        try:
            quiet.submit(ME, hash_plan(tmp_path / "log"), body_hash=str(number))
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(submit, range(6))) == 1


def test_a_workspace_that_is_full_begins_no_job(wiring, quiet, settings, tmp_path):
    quiet.submit(ME, hash_plan(tmp_path / "log", parts=2, steps=1, pause=0), body_hash="a")
    runner_of(wiring).work_off(first_part(wiring))
    with wiring.database.reading() as db:
        size = bytes_of(db, ME.workspace)
        assert size > 0 and bytes_of(db, OTHER.workspace) == 0
    quiet.settings = settings.model_copy(update={"quota_bytes": size + 1})
    assert quiet.submit(ME, hash_plan(tmp_path / "log", parts=2, steps=1, pause=0), body_hash="b").state == State.DONE
    quiet.settings = settings.model_copy(update={"quota_bytes": size})
    with pytest.raises(QuotaExceeded, match=f"{size:,} bytes of results of {size:,} that"):
        quiet.submit(ME, hash_plan(tmp_path / "log", parts=3), body_hash="c")


def test_what_a_workspace_uses_is_counted_for_itself_alone(wiring, quiet, settings, tmp_path):
    quiet.submit(ME, hash_plan(tmp_path / "log", parts=2, steps=1, pause=0), body_hash="a")
    runner_of(wiring).work_off(first_part(wiring))
    quiet.submit(ME, hash_plan(tmp_path / "log", parts=4), body_hash="b")
    quiet.settings = settings.model_copy(update={"quota_jobs": 7})
    used = quiet.usage(ME)
    assert (used.unfinished_jobs, used.job_limit, used.byte_limit) == (1, 7, None)
    with wiring.database.reading() as db:
        assert used.bytes == bytes_of(db, ME.workspace)
    sizes = [one.bytes for one in used.largest]
    assert sizes == sorted(sizes, reverse=True) and sum(one.artifacts for one in used.largest) == 3
    assert (quiet.usage(OTHER).bytes, quiet.usage(OTHER).largest) == (0, [])


def test_another_workspace_does_not_see_a_job(quiet, tmp_path):
    job = quiet.submit(ME, hash_plan(tmp_path / "log"), body_hash="a")
    for ask in (quiet.job, quiet.cancel, quiet.retry):
        with pytest.raises(UnknownJob):
            ask(OTHER, job.id)
    assert quiet.jobs(OTHER).items == []


def test_pages_list_every_job_once_newest_first(quiet, tmp_path):
    ids = [quiet.submit(ME, hash_plan(tmp_path / "log"), body_hash=str(n)).id for n in range(5)]
    seen, cursor = [], None
    while True:
        page = quiet.jobs(ME, 2, cursor)
        seen += [job.id for job in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert seen == sorted(ids, reverse=True)


@pytest.mark.parametrize("how", ["bug", "refusal"])
def test_a_poisoned_part_fails_and_the_others_go_on(wiring, quiet, tmp_path, how):
    log = tmp_path / "log"
    job = quiet.submit(ME, poison_plan(log, how=how), body_hash="a")
    runner_of(wiring).work_off(first_part(wiring))
    done = quiet.job(ME, job.id)
    assert done.state == State.FAILED
    assert done.stages[0].parts_done == 2
    tries = 3 if how == "bug" else 1
    assert marks(log) == {"begin 0": 1, "begin 1": tries, "begin 2": 1, "begin 3": tries}
    reasons = {failure.reason for failure in done.failures}
    assert reasons == ({"internal_error"} if how == "bug" else {"non_finite_activation"})
    if how == "bug":
        assert "KeyError" in done.failures[0].detail
        assert done.failures[0].where.startswith("tests/jobs/tiny.py:")


def test_retry_goes_on_from_where_it_stopped(wiring, quiet, tmp_path):
    log = tmp_path / "log"
    job = quiet.submit(ME, poison_plan(log, how="refusal"), body_hash="a")
    runner_of(wiring).work_off(first_part(wiring))
    assert quiet.retry(ME, job.id).state == State.RUNNING
    with pytest.raises(JobNotRetryable):
        quiet.retry(ME, job.id)
    runner_of(wiring).work_off(first_part(wiring))
    assert quiet.job(ME, job.id).state == State.FAILED
    assert marks(log) == {"begin 0": 1, "begin 1": 2, "begin 2": 1, "begin 3": 2}


def test_a_cancelled_job_can_be_retried_to_its_end(wiring, quiet, tmp_path):
    job = quiet.submit(ME, hash_plan(tmp_path / "log", parts=2, pause=0), body_hash="a")
    assert quiet.cancel(ME, job.id).state == State.CANCELLED
    assert first_part(wiring) is None
    quiet.retry(ME, job.id)
    runner_of(wiring).work_off(first_part(wiring))
    assert quiet.job(ME, job.id).state == State.DONE


def test_a_worker_that_wakes_after_its_lease_ran_out_cannot_publish(wiring, quiet, tmp_path):
    quiet.submit(ME, hash_plan(tmp_path / "log", parts=1, steps=1, pause=0), body_hash="a")
    part = first_part(wiring)
    with wiring.database.writing() as db:
        sleeper = claim_part(db, part, "sleeper", 60)
        assert claim_part(db, part, "early", 60) is None
    expire(wiring, part)
    assert runner_of(wiring, "rescuer").run(part)
    with wiring.database.writing() as db:
        assert not try_move(db, "publish", sleeper)
        assert not try_move(db, "renew", sleeper)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("move", MOVES.values(), ids=attrgetter("name"))
def test_a_part_moves_only_from_the_states_its_move_names(wiring, quiet, tmp_path, move, state):
    quiet.submit(ME, hash_plan(tmp_path / "log", parts=1), body_hash="a")
    part = first_part(wiring)
    with wiring.database.writing() as db:
        db.execute(update(PartRow).where(PartRow.id == part).values(state=state, fence=7, lease_until=1.0, worker="me"))
        assert try_move(db, move.name, Claim(part, "me", 7)) == (state in move.sources)


def test_the_reaper_requeues_an_expired_lease_and_rings_again_for_what_nobody_heard(wiring, quiet, tmp_path):
    quiet.submit(ME, hash_plan(tmp_path / "log", parts=2), body_hash="a")
    part = first_part(wiring)
    with wiring.database.writing() as db:
        claim_part(db, part, "dead", 60)
    expire(wiring, part)
    bell = SilentBell()
    reaper = Reaper(wiring.database, wiring.blobs, wiring.settings, bell=bell, name="one")
    other = Reaper(wiring.database, wiring.blobs, wiring.settings, bell=bell, name="two")
    assert reaper.round().requeued == 1
    assert bell.rung == [part]
    with wiring.database.writing() as db:
        db.execute(update(PartRow).where(PartRow.state == "queued").values(rung_at=1.0))
    assert other.round() == type(other.round())(), "one process at a time has the duty"
    assert reaper.round().rung == 2


def test_a_missing_input_fails_the_part_by_name(wiring, quiet, tmp_path):
    job = quiet.submit(ME, hash_plan(tmp_path / "log", parts=2, steps=1, pause=0), body_hash="a")
    runner = runner_of(wiring)
    for _ in range(2):
        runner.run(first_part(wiring))
    with wiring.database.writing() as db:
        key = next(iter(db.scalars(select(PartRow.outputs).where(PartRow.state == "done")))).values()
        forget_artifacts(db, "ours", key)
    runner.run(first_part(wiring))
    assert [failure.reason for failure in quiet.job(ME, job.id).failures] == ["stale_artifact"]


def test_a_watcher_sees_every_version_once_and_resumes_where_it_stopped(wiring, quiet, tmp_path):
    job = quiet.submit(ME, hash_plan(tmp_path / "log", parts=2, steps=1, pause=0), body_hash="a")
    runner_of(wiring).work_off(first_part(wiring))
    seen = list(quiet.watch(ME, job.id))
    assert seen[-1][1].state == State.DONE
    assert seen[-1][0] == seen[-1][1].version
    assert list(quiet.watch(ME, job.id, seen[-1][0])) == []


def test_two_thousand_parts_are_submitted_with_few_bells(wiring, quiet, tmp_path):
    quiet.submit(ME, hash_plan(tmp_path / "log", parts=2000), body_hash="a")
    assert len(quiet.bell.rung) <= 8


def test_two_requests_with_one_key_at_the_same_moment_make_one_job(quiet, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    plan = hash_plan(tmp_path / "log", parts=2)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: quiet.submit(ME, plan, idempotency_key="k", body_hash="a").id, range(8)))
    assert len(set(made)) == 1


def test_the_last_two_parts_of_a_stage_published_at_once_start_the_next_stage_once(wiring, quiet, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    log = tmp_path / "log"
    for repeat in range(1, 4):
        job = quiet.submit(ME, hash_plan(log, parts=4, steps=1, pause=0.01, repeat=repeat), body_hash="a")
        with ThreadPoolExecutor(4) as pool:
            for number in range(4):
                pool.submit(runner_of(wiring, f"w{number}").work_off, f"{job.id}.00.00000{number}")
        assert quiet.job(ME, job.id).state == State.DONE
    assert marks(log)["begin join"] == 3


def test_claims_and_a_cancel_at_the_same_moment_do_not_wait_for_each_other_for_ever(wiring, quiet, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    for repeat in range(5):
        job = quiet.submit(
            ME, hash_plan(tmp_path / f"log{repeat}", parts=6, steps=1, pause=0, repeat=99), body_hash="a"
        )
        with ThreadPoolExecutor(4) as pool:
            work = [pool.submit(runner_of(wiring, f"w{n}").run, f"{job.id}.00.00000{n}") for n in range(3)]
            cancel = pool.submit(quiet.cancel, ME, job.id)
            assert [type(one.exception()) for one in (*work, cancel)] == [type(None)] * 4
        assert quiet.job(ME, job.id).state == State.CANCELLED
