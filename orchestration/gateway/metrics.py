"""Metrics read when they are asked for: queues, heartbeats and stages from the rows, caches from the process."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from contracts.jobs import State
from orchestration.gateway.wiring import GatewayWiring
from orchestration.jobs.repository import RESOURCES, depths, longest_wait
from orchestration.jobs.rows import JobRow, StageRow
from orchestration.jobs.workers import ages
from services.kit.db import TRANSIENT, ReadSession, db_now

RECENT_SECONDS = 3600.0


class Installation(Collector):
    """What all processes together do, as the database knows it. Every gateway tells the same."""

    def __init__(self, wiring: GatewayWiring) -> None:
        self._wiring = wiring

    def describe(self) -> list[Metric]:
        """Names are not asked for at registration: that would be a query at start."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read; a database that is gone leaves these metrics out, and `/readyz` says why."""
        try:
            with self._wiring.database.reading() as db:
                yield from [*queue_metrics(db), *worker_metrics(db), *stage_metrics(db)]
        except TRANSIENT:
            return


def queue_metrics(db: ReadSession) -> list[Metric]:
    """Parts that wait, for how long, and jobs by state."""
    depth = GaugeMetricFamily("xsys_queue_depth", "Parts that wait for a worker", labels=["queue"])
    for queue, count in depths(db).items():
        depth.add_metric([queue], count)
    wait = GaugeMetricFamily("xsys_longest_wait_seconds", "Age of the part that has waited longest")
    wait.add_metric([], longest_wait(db, RESOURCES))
    jobs = GaugeMetricFamily("xsys_jobs", "Jobs by state", labels=["state"])
    counted = dict(db.execute(select(JobRow.state, func.count()).group_by(JobRow.state)).tuples().all())
    for state in State:
        if state is not State.WAITING:
            jobs.add_metric([state], counted.get(state, 0))
    return [depth, wait, jobs]


def worker_metrics(db: ReadSession) -> list[Metric]:
    """Workers, and the age of the oldest sign of life among them."""
    seconds = [age for _, age in ages(db)]
    workers = GaugeMetricFamily("xsys_workers", "Workers that have not signed off")
    workers.add_metric([], len(seconds))
    oldest = GaugeMetricFamily("xsys_oldest_heartbeat_seconds", "Age of the oldest heartbeat")
    oldest.add_metric([], max(seconds, default=0.0))
    return [workers, oldest]


def stage_metrics(db: ReadSession) -> list[Metric]:
    """Mean duration and rate of the stages that ended within the hour."""
    duration = StageRow.ended - StageRow.started
    query = (
        select(StageRow.name, StageRow.unit, func.avg(duration), func.sum(StageRow.total), func.sum(duration))
        .where(StageRow.state == State.DONE, StageRow.parts_reused == 0, StageRow.ended > db_now() - RECENT_SECONDS)
        .group_by(StageRow.name, StageRow.unit)
    )
    seconds = GaugeMetricFamily("xsys_stage_seconds", "Mean duration of a stage, last hour", labels=["stage"])
    rate = GaugeMetricFamily("xsys_stage_rate", "Units a second of a stage, last hour", labels=["stage", "unit"])
    for name, unit, mean, units, total in db.execute(query):
        seconds.add_metric([name], float(mean))
        if total:
            rate.add_metric([name, unit], float(units) / float(total))
    return [seconds, rate]


class Caches(Collector):
    """Memory that this process holds in order to answer sooner."""

    def __init__(self, wiring: GatewayWiring) -> None:
        self._wiring = wiring

    def collect(self) -> Iterator[Metric]:
        """Ask the services that are in this process."""
        held = GaugeMetricFamily("xsys_cache_bytes", "Bytes held by a cache", labels=["cache"])
        held.add_metric(["models"], float(getattr(self._wiring.model, "cached_bytes", 0)))
        yield held
