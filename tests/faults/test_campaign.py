"""Ten runs of the random-kill campaign, and workers whose clocks are five minutes off."""

import subprocess
import sys
from datetime import timedelta

from benchmarks.campaign import ME, build, plan
from benchmarks.faults import campaign, settings_for
from contracts.jobs import State
from orchestration.jobs.reaper import Reaper
from tests.jobs.conftest import ROOT, until
from tests.jobs.conftest import environment_of as environment


def test_ten_jobs_with_killed_workers_lose_nothing_and_change_no_byte(postgresql, redis_server, tmp_path, capsys):
    losses = campaign(settings_for(tmp_path / "home", postgresql, redis_server), runs=10, seed=20261123)
    with capsys.disabled():
        sys.stderr.write(f"\n{losses}\n")
    assert (losses.runs, losses.lost, losses.doubled, losses.differing_bytes) == (10, 0, 0, 0)
    assert losses.kills >= 10


def test_workers_whose_clocks_are_minutes_off_neither_steal_leases_nor_lose_theirs(postgresql, redis_server, tmp_path):
    settings = settings_for(tmp_path / "home", postgresql, redis_server).model_copy(
        update={"lease": timedelta(seconds=5), "attempts": 1}
    )
    wiring = build(settings)
    command = [sys.executable, "-m", "orchestration.jobs.worker", "--wiring"]
    pair = [
        subprocess.Popen(
            [*command, f"benchmarks.campaign:{name}"], env=environment(settings) | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for name in ("skewed", "build")
    ]  # fmt: skip
    reaper = Reaper(wiring.database, wiring.blobs, settings, bell=wiring.core.bell, name="t")
    reaper.start()
    try:
        job = wiring.core.submit(ME, plan("skew", parts=10, steps=4, pause=0.05), body_hash="skew")
        until(lambda: wiring.core.job(ME, job.id).ended_at is not None)
    finally:
        reaper.stop()
        for process in pair:
            process.kill()
            process.wait()
    assert wiring.core.job(ME, job.id).state == State.DONE, "an expired lease would have been a second attempt"
    wiring.database.close()
