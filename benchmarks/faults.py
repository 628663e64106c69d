"""Workers killed at random moments of jobs on Redis and PostgreSQL: what is lost, doubled, or differs in a byte.

`--quick` does 10 seeded runs, `--full` 50. Servers are started here, on free ports, in temporary folders.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import SecretStr
from sqlalchemy import select

from benchmarks.campaign import ME, WIRING, Wiring, build, hash_of, keys_of, plan, sum_of
from benchmarks.local_servers import PostgreSql, Redis, postgresql_binaries
from benchmarks.report import Report
from contracts.jobs import State
from orchestration.jobs.reaper import Reaper
from orchestration.jobs.rows import StageRow
from orchestration.jobs.supervisor import ROOT, environment_of
from services.kit.artifacts import find_artifacts
from services.kit.settings import Settings

PARTS = 8
WORKERS = 2
PATIENCE_SECONDS = 60.0


@dataclass
class Losses:
    """What a campaign found."""

    runs: int = 0
    kills: int = 0
    lost: int = 0
    doubled: int = 0
    differing_bytes: int = 0


def settings_for(home: Path, postgresql: PostgreSql, redis: Redis) -> Settings:
    """Short leases, so that a campaign takes seconds and not minutes."""
    return Settings(
        home=home,
        database_url=postgresql.new_database(),
        broker_url=SecretStr(redis.new_database()),
        heartbeat=timedelta(seconds=0.3),
        lease=timedelta(seconds=1),
        reaper_period=timedelta(seconds=0.3),
        attempts=20,
        threads=1,
    )


class Crew:
    """Worker processes that are replaced at once when they were killed, and a reaper."""

    def __init__(self, settings: Settings, wiring: Wiring) -> None:
        self._settings = settings
        self._reaper = Reaper(wiring.database, wiring.blobs, settings, bell=wiring.core.bell, name="campaign")
        self.processes = [self._start() for _ in range(WORKERS)]

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "orchestration.jobs.worker", "--child", "--wiring", WIRING]
        environment = environment_of(self._settings) | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self, number: int) -> None:
        """Kill a worker without warning, and start another."""
        self.processes[number].send_signal(signal.SIGKILL)
        self.processes[number].wait()
        self.processes[number] = self._start()

    def __enter__(self) -> Self:
        self._reaper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._reaper.stop()
        for process in self.processes:
            process.kill()
            process.wait()


def campaign(settings: Settings, *, runs: int, seed: int) -> Losses:
    """Run jobs one after the other; in each a worker is killed at a random moment (more than once in some)."""
    draw, losses, wiring = random.Random(seed), Losses(), build(settings)
    with Crew(settings, wiring) as crew:
        for run in range(runs):
            salt = f"{seed}/{run}"
            job = wiring.core.submit(ME, plan(salt, parts=PARTS), body_hash=salt)
            limit = time.monotonic() + PATIENCE_SECONDS
            for _ in range(draw.choice((1, 1, 1, 2))):
                time.sleep(draw.uniform(0.0, 0.5))
                crew.kill(draw.randrange(WORKERS))
                losses.kills += 1
            while wiring.core.job(ME, job.id).ended_at is None and time.monotonic() < limit:
                time.sleep(0.05)
            inspect(wiring, job.id, salt, losses)
    wiring.database.close()
    return losses


def inspect(wiring: Wiring, job: str, salt: str, losses: Losses) -> None:
    """Compare a job's rows and bytes with what they have to be."""
    losses.runs += 1
    keys, total = keys_of(salt, PARTS)
    expected = {key: hash_of(salt, number) for number, key in enumerate(keys)} | {total: sum_of(salt, PARTS)}
    with wiring.database.reading() as db:
        found = find_artifacts(db, ME.workspace, expected)
        left = list(db.scalars(select(StageRow.parts_left).where(StageRow.job == job)))
    if wiring.core.job(ME, job).state != State.DONE:
        losses.lost += 1
    losses.lost += len(expected.keys() - found.keys())
    losses.doubled += sum(-count for count in left if count < 0)  # a second publication counts a stage below zero
    losses.differing_bytes += sum(
        sum(a != b for a, b in zip(wiring.blobs.read(found[key].blob), body, strict=True))
        for key, body in expected.items()
        if key in found
    )


def main() -> int:
    """Exit with 1 if anything was lost, doubled or changed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="10 runs")
    mode.add_argument("--full", action="store_true", help="50 runs")
    parser.add_argument("--seed", type=int, default=20261123)
    chosen = parser.parse_args()
    binaries = postgresql_binaries()
    if binaries is None:
        raise SystemExit("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    report = Report()
    with tempfile.TemporaryDirectory() as folder, PostgreSql(binaries) as postgresql, Redis() as redis:
        settings = settings_for(Path(folder) / "home", postgresql, redis)
        losses = campaign(settings, runs=50 if chosen.full else 10, seed=chosen.seed)
    report.line(metric="faults.kills", value=losses.kills, unit="kills", n=losses.runs)
    for name in ("lost", "doubled", "differing_bytes"):
        count = getattr(losses, name)
        report.line(metric=f"faults.{name}", value=count, unit="count", goal="= 0", ok=count == 0, n=losses.runs)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
