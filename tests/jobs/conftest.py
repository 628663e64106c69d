"""A data folder with the tiny stages, and workers on it."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.jobs.bell import SilentBell
from orchestration.jobs.runner import Runner
from orchestration.jobs.service import Jobs
from orchestration.jobs.supervisor import environment_of
from services.kit.settings import Settings
from tests.jobs.tiny import Wiring, build

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Run a test on both databases; None is SQLite in the data folder."""
    if request.param == "sqlite":
        return None
    url: str = request.getfixturevalue("postgresql").new_database()
    return url


@pytest.fixture
def broker_url() -> str | None:
    """None is a folder; tests of the distributed mode name a Redis."""
    return None


@pytest.fixture
def settings(tmp_path: Path, database_url: str | None, broker_url: str | None) -> Settings:
    return Settings(
        home=tmp_path / "home",
        database_url=database_url,
        broker_url=broker_url,
        heartbeat=timedelta(seconds=0.3),
        lease=timedelta(seconds=1),
        reaper_period=timedelta(seconds=0.3),
        threads=1,
    )


@pytest.fixture
def wiring(settings: Settings) -> Iterator[Wiring]:
    made = build(settings)
    yield made
    made.database.close()


@pytest.fixture
def quiet(wiring: Wiring) -> Jobs:
    """Jobs that ring nobody, for tests that work parts off themselves."""
    return Jobs(wiring.database, wiring.blobs, wiring.settings, SilentBell(), wiring.registry)


def runner_of(wiring: Wiring, name: str = "here", settings: Settings | None = None) -> Runner:
    return Runner(
        wiring.database,
        wiring.blobs,
        settings or wiring.settings,
        registry=wiring.registry,
        bell=SilentBell(),
        worker=name,
    )


def worker(settings: Settings, *words: str, **extra: str) -> subprocess.Popen:
    """Start a real worker process that nobody supervises."""
    environment = environment_of(settings) | {"PYTHONPATH": str(ROOT)} | extra
    return subprocess.Popen(
        [sys.executable, "-m", "orchestration.jobs.worker", "--wiring", "tests.jobs.tiny:build", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if not os.environ.get("SHOW") else None,
    )


def until(holds: Callable[[], object], seconds: float = 40) -> None:
    """Wait for a condition; a test that waits for ever tells nothing."""
    limit = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > limit:
            raise AssertionError("it did not come about")
        time.sleep(0.03)


def marks(log: Path) -> Counter[str]:
    """How often each mark was left by the stages."""
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()
