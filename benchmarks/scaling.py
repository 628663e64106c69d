"""Scale-out on Redis and PostgreSQL: what a second worker brings to a real snapshot build, and what a part costs.

The build is of EfficientNet-Lite0 with one thread a worker, which is too small to fill two cores alone; each run has a
database and a data folder of its own. The cost of a part is measured with parts that do nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import torch
from pydantic import SecretStr

from benchmarks.campaign import ME, WIRING, plan
from benchmarks.campaign import build as build_campaign
from benchmarks.local_servers import PostgreSql, Redis, postgresql_binaries
from benchmarks.report import Report
from contracts.data import DatasetRegistration, DemoSource
from contracts.jobs import Job
from contracts.model import ModelRegistration
from contracts.snapshots import SnapshotRequest
from orchestration.bootstrap import build
from orchestration.jobs.supervisor import Supervisor
from services.kit.settings import Settings

NAME, ARCHITECTURE = "lite0", "timm:tf_efficientnet_lite0"
SECONDS = 3.0


def settings_in(folder: Path, postgresql: PostgreSql, redis: Redis) -> Settings:
    """An installation of its own, with one thread a worker."""
    url, broker = postgresql.new_database(), SecretStr(redis.new_database())
    return Settings(home=folder, database_url=url, broker_url=broker, threads=1)


def ended(jobs, me, job: Job) -> Job:  # type: ignore[no-untyped-def]
    """Wait for a job; one that did not end well is an error."""
    while (state := jobs.job(me, job.id)).ended_at is None:
        time.sleep(0.05)
    if state.state != "done":
        raise SystemExit(f"{state.title}: {state.failures}")
    return state


def rate_of(jobs, me, job: Job, name: str) -> float:  # type: ignore[no-untyped-def]
    """Units a second of one stage, by the job's own clock; the job is cancelled behind it."""
    while True:
        state = jobs.job(me, job.id)
        stage = next(stage for stage in state.stages if stage.name == name)
        if stage.state == "done" and stage.rate is not None:
            break
        if state.ended_at is not None:
            raise SystemExit(f"{state.title}: {state.failures}")
        time.sleep(0.05)
    jobs.cancel(me, job.id)
    while jobs.job(me, job.id).ended_at is None:
        time.sleep(0.05)
    return stage.rate


def snapshot_rate(settings: Settings, *, workers: int, crops: int, shard: int) -> float:
    """Pictures a second through a snapshot's run of the model, with workers that are warm."""
    wiring = build(settings)
    me = wiring.governance.operator()
    with ExitStack() as stack:
        for number in range(workers):
            stack.enter_context(Supervisor(settings, reaps=number == 0))
        ended(wiring.jobs, me, wiring.jobs.register_model(me, ModelRegistration(name=NAME, architecture=ARCHITECTURE)))
        for dataset, size, part in (("warm", max(22, 4 * shard), shard), ("demo", crops, shard)):
            source = DemoSource(crops=size, seed=size)
            ended(wiring.jobs, me, wiring.jobs.register_dataset(me, DatasetRegistration(name=dataset, source=source)))
            request = SnapshotRequest(model=NAME, dataset=dataset, layers=["conv_head"], name=dataset, shard=part)
            rate = rate_of(wiring.jobs, me, wiring.jobs.build_snapshot(me, request), "activations")
    wiring.close()
    return rate


def products(seconds: float, done: multiprocessing.Queue[int]) -> None:
    """Multiply matrices with one thread for so long, and say how many."""
    torch.set_num_threads(1)
    matrix = torch.randn(768, 768)
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        matrix @ matrix
        count += 1
    done.put(count)


def ceiling() -> float:
    """What two processes of this machine do, over one of them, with nothing in common: no build can scale better."""
    context = multiprocessing.get_context("spawn")
    totals = []
    for workers in (1, 2):
        done: multiprocessing.Queue[int] = context.Queue()
        processes = [context.Process(target=products, args=(SECONDS, done)) for _ in range(workers)]
        for process in processes:
            process.start()
        totals.append(sum(done.get() for _ in processes))
        for process in processes:
            process.join()
    return totals[1] / totals[0]


def milliseconds_a_part(settings: Settings, *, parts: int) -> float:
    """Wall time of parts that compute nothing: claim, lease, file, publication, next."""
    wiring = build_campaign(settings)
    with Supervisor(settings, wiring=WIRING):
        ended(wiring.core, ME, wiring.core.submit(ME, plan("warm", parts=2, steps=0), body_hash="warm"))
        began = time.perf_counter()
        ended(wiring.core, ME, wiring.core.submit(ME, plan("timed", parts=parts, steps=0), body_hash="timed"))
        seconds = time.perf_counter() - began
    wiring.database.close()
    return 1000 * seconds / (parts + 1)


def main() -> int:
    """Exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer pictures and parts, one repetition")
    parser.add_argument("--full", action="store_true", help="the default")
    chosen = parser.parse_args()
    crops, shard, parts, repeats = (384, 16, 100, 1) if chosen.quick else (960, 24, 1000, 3)
    binaries = postgresql_binaries()
    if binaries is None:
        raise SystemExit("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    report = Report()
    with tempfile.TemporaryDirectory() as folder, PostgreSql(binaries) as postgresql, Redis() as redis:
        cost = milliseconds_a_part(settings_in(Path(folder) / "parts", postgresql, redis), parts=parts)
        report.line(metric="scaling.part_cost", value=cost, unit="ms", goal="<= 30 ms", ok=cost <= 30, n=parts)
        rates: dict[int, list[float]] = {1: [], 2: []}
        for repeat in range(repeats):
            for workers in rates:
                place = Path(folder) / f"{repeat}-{workers}"
                rates[workers].append(
                    snapshot_rate(settings_in(place, postgresql, redis), workers=workers, crops=crops, shard=shard)
                )
        one, two = (sorted(rates[workers])[repeats // 2] for workers in (1, 2))
        most = ceiling()
    report.line(metric="scaling.ceiling", value=most, unit="x", goal="as measured", ok=True, n=1)
    report.line(
        metric="scaling.activations_1_to_2_workers", value=two, unit="pictures/s", goal=">= 1.7 x one worker",
        ok=two >= 1.7 * one, peer="one worker", peer_value=one, ratio=two / one, n=repeats,
    )  # fmt: skip
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
