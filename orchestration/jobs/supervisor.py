"""Keeping one worker alive: a child process, restarted with a limit, and the reaper beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import SecretStr
from sqlalchemy.exc import OperationalError, ProgrammingError

from orchestration.jobs.bell import CeleryBell, unit_of_work
from orchestration.jobs.celery_app import forget_processed
from orchestration.jobs.reaper import Reaper
from orchestration.jobs.repository import RESOURCES
from orchestration.jobs.workers import DEFAULT_WIRING, ages, holds_parts, release_parts_of, worker_name
from services.kit.db import TRANSIENT, Database
from services.kit.logging import logger
from services.kit.objects import open_blobs
from services.kit.settings import PREFIX, Settings

log = logger(__name__)
WINDOW_SECONDS = 300.0
LOOK_SECONDS = 0.2
LONGEST_BACKOFF = 5.0
SHUTDOWN_SECONDS = 30.0
LARGEST_LOG_BYTES = 10 << 20
ROOT = Path(__file__).parents[2]


def environment_of(settings: Settings) -> dict[str, str]:
    """Write settings as the environment of a child process, so that both run with the same ones."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            environment[f"{PREFIX}{name.upper()}"] = _text(value)
    environment[f"{PREFIX}HOME"] = str(settings.home.absolute())
    threads = str(settings.threads or os.cpu_count() or 1)
    environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    return environment


def _text(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case timedelta():
            return f"PT{value.total_seconds():f}S"
        case list():
            return json.dumps([str(item) for item in value])
    return str(value)


def heartbeat_age(settings: Settings) -> float | None:
    """Seconds since the freshest sign of a worker that may be alive; None if there is none."""
    database = Database(settings.resolved_database_url)
    try:
        with database.reading() as db:
            return min((age for _, age in ages(db)), default=None)
    except (OperationalError, ProgrammingError):
        return None  # no schema yet, hence no worker
    finally:
        database.close()


class Supervisor:
    """A context in which a worker runs: its own child, or, on standby, another process's for as long as that lives."""

    def __init__(
        self,
        settings: Settings,
        *,
        wiring: str = DEFAULT_WIRING,
        standby: bool = False,
        resources: Sequence[str] = RESOURCES,
        reaps: bool = True,
    ) -> None:
        self._settings = settings
        self._wiring = wiring
        self._resources = resources
        self._reaps = reaps
        self._standby = standby
        self._database = Database(settings.resolved_database_url)
        self._bell = CeleryBell(settings)
        self._reaper = Reaper(self._database, open_blobs(settings), settings, bell=self._bell, name=worker_name())
        self._ended = threading.Event()
        self._restarts: deque[float] = deque()
        self.child: subprocess.Popen[bytes] | None = None
        self.gave_up = False
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        if not (self._standby and self._others_are_alive()):
            self._start()
        if self._reaps:
            self._reaper.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=10)
        if self._reaps:
            self._reaper.stop()
        if self.child is not None:
            self._stop(self.child)
            self._release(self.child.pid)
        forget_processed(self._settings)
        self._database.close()

    def _start(self) -> None:
        command = [sys.executable, "-m", "orchestration.jobs.worker", "--child", "--wiring", self._wiring]
        command += ["--queues", ",".join(self._resources)]
        environment = environment_of(self._settings)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
        with self._log_file().open("ab") as output:
            self.child = subprocess.Popen(  # noqa: S603 - our own module
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        log.info("worker.spawned", pid=self.child.pid)

    def _log_file(self) -> Path:
        """The worker's log, in a file so that it does not tear the terminal's progress bars; one old one is kept."""
        path = self._settings.home.absolute() / "logs" / "worker.log"
        path.parent.mkdir(exist_ok=True)
        if path.exists() and path.stat().st_size > LARGEST_LOG_BYTES:
            path.replace(path.with_suffix(".old.log"))
        return path

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self._look()
            except TRANSIENT as error:  # a busy or restarting database: look again in a moment
                log.warning("supervisor.look_failed", reason=str(error)[:200])

    def _look(self) -> None:
        if self.child is None:
            if self._standby and not self._others_are_alive():
                self._start()
            return
        code = self.child.poll()
        if code is None:
            if self._is_silent(self.child.pid):
                log.error("worker.silent", pid=self.child.pid)
                self.child.kill()
            return
        if not self.gave_up:
            self._restart(self.child.pid, code)

    def _restart(self, pid: int, code: int) -> None:
        log.warning("worker.ended", pid=pid, code=code)
        self._release(pid)
        now = time.monotonic()
        while self._restarts and now - self._restarts[0] > WINDOW_SECONDS:
            self._restarts.popleft()
        if len(self._restarts) >= self._settings.worker_restarts:
            self.gave_up = True
            log.error("worker.gave_up", restarts=len(self._restarts), seconds=WINDOW_SECONDS)
            return
        if self._ended.wait(min(LONGEST_BACKOFF, 0.1 * 2 ** len(self._restarts))):
            return
        self._restarts.append(now)
        self._start()

    def _stop(self, child: subprocess.Popen[bytes]) -> None:
        """End a child: at once if it holds no part, else in order so that the part is handed back."""
        with self._database.reading() as db:
            busy = holds_parts(db, child.pid)
        if busy and child.poll() is None:
            child.terminate()
            try:
                child.wait(timeout=SHUTDOWN_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning("worker.killed", pid=child.pid, seconds=SHUTDOWN_SECONDS)
        child.kill()
        child.wait()

    def _release(self, pid: int) -> None:
        """Requeue at once what the dead child held: its process is known to be gone, so no lease has to run out."""
        with unit_of_work(self._database, self._bell) as transaction:
            transaction.queued += release_parts_of(transaction.db, pid)

    def _others_are_alive(self) -> bool:
        with self._database.reading() as db:
            return any(age < self._silence for _, age in ages(db))

    def _is_silent(self, pid: int) -> bool:
        with self._database.reading() as db:
            return any(row.pid == pid and age > self._silence for row, age in ages(db))

    @property
    def _silence(self) -> float:
        return max(6 * self._settings.heartbeat.total_seconds(), 10.0)


def ensure_worker(settings: Settings, *, wiring: str = DEFAULT_WIRING) -> Supervisor:
    """Lend a worker for as long as the context is open, unless another process keeps one alive already."""
    return Supervisor(settings, wiring=wiring, standby=True)
