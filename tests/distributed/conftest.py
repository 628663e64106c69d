"""The whole set of processes on PostgreSQL and Redis, with the embedded installation's data beside it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from orchestration.migrate import upgrade
from tests.conftest import wait_until_ready
from tests.servers import free_port

SERVICES = ("data", "model", "explanation", "xui")
KEY = "0123456789abcdef0123456789ABCDEF-tests"


def copy_rows(source: str, target: str) -> None:
    """Copy every table, parents first."""
    tables = sa.MetaData()
    here, there = sa.create_engine(source), sa.create_engine(target)
    tables.reflect(there)
    typed = sa.MetaData()
    typed.reflect(here)
    with here.connect() as read, there.begin() as write:
        for table in tables.sorted_tables:
            if table.name == "alembic_version" or table.name not in typed.tables:
                continue
            chosen = sa.table(table.name, *(sa.column(c.name, c.type) for c in table.columns))
            rows = [dict(row) for row in read.execute(sa.select(chosen)).mappings()]
            if rows:
                write.execute(table.insert(), rows)
    here.dispose()
    there.dispose()


@dataclass
class Fleet:
    """Running processes by name, and the environment that they share."""

    environment: dict[str, str]
    url: str
    running: dict[str, subprocess.Popen] = field(default_factory=dict)

    def start(self, name: str, *words: str) -> subprocess.Popen:
        """Start `xsys` with these words under a name."""
        log = Path(self.environment["XSYS_HOME"]).parent / f"{name}.log"
        with log.open("ab") as output:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "orchestration.cli", *words],
                env=self.environment, stdout=output, stderr=output,
            )  # fmt: skip
        return self.running[name]

    def kill(self, name: str) -> None:
        """End a process without warning."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def port(self, service: str) -> int:
        """Where a service listens."""
        return httpx.URL(self.environment[f"XSYS_{service.upper()}_URL"]).port

    def json(self, *words: str) -> str:
        """Run a command of the set and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "orchestration.cli", *words],
            env=self.environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done.stdout


@pytest.fixture(scope="session")
def fleet(explained, postgresql, redis_server, tmp_path_factory) -> Iterator[Fleet]:
    """`docs/deploy.md` without containers: gateway, xui, data, model, explanation, one worker, the reaper."""
    home = tmp_path_factory.mktemp("fleet") / "home"
    shutil.copytree(explained.home, home)
    database = postgresql.new_database()
    upgrade(database)
    copy_rows(f"sqlite:///{explained.home / 'xsys.sqlite'}", database)
    shutil.rmtree(home / "queue", ignore_errors=True)
    (home / "xsys.sqlite").unlink()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("XSYS_")}
    environment = clean | {
        "XSYS_HOME": str(home),
        "XSYS_DATABASE_URL": database,
        "XSYS_BROKER_URL": redis_server.new_database(),
        "XSYS_TOKEN_KEY": KEY,
        "XSYS_THREADS": "2",
        "XSYS_PORT": str(free_port()),
        "XSYS_REAPER_PERIOD": "PT1S",
    }
    environment |= {f"XSYS_{name.upper()}_URL": f"http://127.0.0.1:{free_port()}" for name in SERVICES}
    fleet = Fleet(environment, f"http://127.0.0.1:{environment['XSYS_PORT']}")
    try:
        for name in SERVICES:
            port = str(fleet.port(name))
            fleet.start(name, "serve", name, "--port", port)
        fleet.start("gateway", "serve", "gateway")
        fleet.start("worker", "worker")
        fleet.start("reaper", "reaper")
        for name in SERVICES:
            wait_until_ready(environment[f"XSYS_{name.upper()}_URL"], fleet.running[name])
        wait_until_ready(fleet.url, fleet.running["gateway"])
        yield fleet
    finally:
        for process in fleet.running.values():
            process.send_signal(signal.SIGTERM)
        limit = time.monotonic() + 20
        for process in fleet.running.values():
            try:
                process.wait(timeout=max(0.1, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="session")
def token(fleet) -> str:
    """An access token of the fleet."""
    import json

    return json.loads(fleet.json("token", "create", "tests", "--json"))["secret"]
