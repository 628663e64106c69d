"""The worker process: `python -m orchestration.jobs.worker`. It takes messages and runs the parts that they name."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from celery import bootsteps, signals

from orchestration.jobs.bell import CeleryBell
from orchestration.jobs.celery_app import TASK, celery_app, queue_of
from orchestration.jobs.reaper import Reaper
from orchestration.jobs.repository import RESOURCES, longest_wait
from orchestration.jobs.runner import Runner
from orchestration.jobs.workers import DEFAULT_WIRING, beat, sign_off, worker_name
from services.kit.blobs import Blobs
from services.kit.db import TRANSIENT, Database
from services.kit.logging import configure_logging, logger
from services.kit.settings import Settings, load_settings
from services.kit.stages import StageRegistry
from services.kit.tracing import configure_tracing

log = logger(__name__)
LOOP_SILENCE_SECONDS = 15.0
DEAF_PERIODS = 12  # the reaper rings every three periods for what nobody claimed


class WorkerWiring(Protocol):
    """What a worker needs of the wiring."""

    @property
    def database(self) -> Database: ...
    @property
    def blobs(self) -> Blobs: ...
    @property
    def registry(self) -> StageRegistry: ...


class Pulse:
    """Writes the worker's sign of life while its message loop turns, or while its part makes progress.

    A process that exists but no longer consumes must look dead, so a thread alone proves nothing: the loop stamps a
    time each turn, and the running part's lease does the rest. Nor does a turning loop prove that messages arrive:
    an idle worker while parts wait for it, rung for again and again, is deaf and ends, to be started afresh.
    """

    def __init__(
        self, database: Database, settings: Settings, worker: str, *, child: bool, resources: Sequence[str] = RESOURCES
    ) -> None:
        self._database = database
        self._period = min(2.0, settings.heartbeat.total_seconds())
        self._worker = worker
        self._resources = resources
        self._deaf_after = DEAF_PERIODS * settings.reaper_period.total_seconds()
        self.idle_since = time.monotonic()
        self._parent = os.getppid() if child else None
        self.turned = time.monotonic()
        self.working = False
        self.moved: Callable[[], float] = time.monotonic
        self._stall = settings.stall.total_seconds()
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin in a thread of its own."""
        beat(self._database, self._worker)
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def stop(self) -> None:
        """Sign off."""
        self._ended.set()
        sign_off(self._database, self._worker)

    def _run(self) -> None:
        while not self._ended.wait(self._period):
            if self._parent is not None and os.getppid() != self._parent:
                log.warning("worker.parent_died", parent=self._parent)
                os.kill(os.getpid(), signal.SIGTERM)
                return
            stalled = time.monotonic() - self.moved() > self._stall
            if (self.working and not stalled) or time.monotonic() - self.turned < LOOP_SILENCE_SECONDS:
                try:
                    if self._is_deaf():
                        log.error("worker.deaf", seconds=self._deaf_after)
                        os.kill(os.getpid(), signal.SIGTERM)
                        return
                    beat(self._database, self._worker)
                except TRANSIENT as error:  # a busy or restarting database: the next beat comes in two seconds
                    log.warning("worker.beat_failed", reason=str(error)[:200])

    def _is_deaf(self) -> bool:
        if self.working or time.monotonic() - self.idle_since < self._deaf_after:
            return False
        with self._database.reading() as db:
            return longest_wait(db, self._resources) > self._deaf_after


def find_wiring(path: str) -> Callable[[Settings], WorkerWiring]:
    """Import `module:function`."""
    module, _, name = path.partition(":")
    found: Callable[[Settings], WorkerWiring] = getattr(importlib.import_module(module), name)
    return found


def run_worker(
    settings: Settings, *, wiring: str = DEFAULT_WIRING, child: bool = False, resources: Sequence[str] = RESOURCES
) -> None:
    """Consume until told to stop. SIGTERM hands the running part back."""
    put_together = find_wiring(wiring)(settings)
    app = celery_app(settings)
    name = worker_name()
    runner = Runner(
        put_together.database,
        put_together.blobs,
        settings,
        registry=put_together.registry,
        bell=CeleryBell(settings),
        worker=name,
        resources=resources,
    )
    pulse = Pulse(put_together.database, settings, name, child=child, resources=resources)
    pulse.moved = lambda: runner.moved

    def run_part(part: str) -> None:
        pulse.working = True
        try:
            runner.work_off(part)
        finally:
            pulse.working, pulse.idle_since = False, time.monotonic()

    app.task(name=TASK)(run_part)

    class Turns(bootsteps.StartStopStep):  # type: ignore[misc]
        """Stamps each turn of the message loop."""

        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:
            if consumer.hub is not None:  # Redis: an event loop; its timers run when it turns
                consumer.hub.call_repeatedly(1.0, lambda: setattr(pulse, "turned", time.monotonic()))
            pending = consumer.perform_pending_operations

            def stamped() -> None:
                pulse.turned = time.monotonic()
                pending()

            consumer.perform_pending_operations = stamped

    def drain(**_: object) -> None:
        runner.draining.set()

    app.steps["consumer"].add(Turns)
    signals.worker_shutting_down.connect(drain, weak=False)
    pulse.start()
    reaper = None if child else Reaper(runner.database, runner.blobs, settings, bell=runner.bell, name=name)
    if reaper is not None:
        reaper.start()  # a child's supervisor has one
    log.info("worker.started", worker=name, queues=list(resources))
    try:
        worker = app.Worker(
            pool="solo",
            queues=sorted({queue_of(settings, resource) for resource in resources}),
            loglevel="WARNING",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        worker.start()
    finally:
        if reaper is not None:
            reaper.stop()
        pulse.stop()


def main(words: Sequence[str] = ()) -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="xsys worker", description=__doc__)
    parser.add_argument("--wiring", default=DEFAULT_WIRING, help="module:function that builds database, blobs, stages")
    parser.add_argument("--child", action="store_true", help="end when the parent process ends")
    parser.add_argument(
        "--queues", default=",".join(RESOURCES), help="resources whose parts to take: cpu,gpu,io,reduce"
    )
    chosen = parser.parse_args(words)
    resources = chosen.queues.split(",")
    if unknown := sorted(set(resources) - set(RESOURCES)):
        parser.error(f"--queues: {', '.join(unknown)} is none of {', '.join(RESOURCES)}")
    settings = load_settings()
    configure_logging(json=not chosen.child and not sys.stderr.isatty())  # a child writes where its parent does
    configure_tracing(settings, "worker")
    logging.getLogger("kombu").setLevel(logging.ERROR)  # it warns that a folder has no host name
    run_worker(settings, wiring=chosen.wiring, child=chosen.child, resources=resources)


if __name__ == "__main__":
    main(sys.argv[1:])
