"""A gateway with real governance and small services in memory, and clients logged in by role."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from contracts import errors
from contracts.base import Binary, Caller
from contracts.governance import Role
from contracts.jobs import Job
from orchestration.gateway.app import create_app
from orchestration.gateway.events import Streams
from orchestration.gateway.limits import RateLimits
from orchestration.governance import membership
from orchestration.governance.service import Governance
from orchestration.migrate import upgrade
from orchestration.sessions.service import Sessions
from services.kit.db import Database
from services.kit.settings import Settings
from services.kit.tokens import load_token_key

BASE = "http://127.0.0.1:8000"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **amount: float) -> None:
        self.now += timedelta(**amount)


class Nothing:
    """A service in which nothing is found. It remembers who asked for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Caller]] = []

    def __getattr__(self, name: str) -> Any:
        def ask(caller: Caller, **values: Any) -> Any:
            self.asked.append((name, caller))
            raise errors.NotFound(f"no {name} here")

        return ask


class Pictures(Nothing):
    """A data service with one thumbnail, and failures on request."""

    def thumbnail(self, caller: Caller, dataset: str, index: int) -> Binary:
        return Binary(b"RIFF", "image/webp", "tag-1")

    def dataset(self, caller: Caller, dataset: str) -> Any:
        if dataset == "broken":
            raise ValueError("a secret path: /home/someone")
        raise errors.UnknownDataset(f"no dataset `{dataset}`", field="dataset", closest=["photos"])

    def upload(self, caller: Caller, body: bytes) -> Any:
        raise errors.UnsafeArchive(f"{len(body)} bytes arrived")


class OneJob(Nothing):
    """Jobs of one workspace; every look at a running job finds it one version further."""

    def __init__(self, workspace: str = "default", last: int = 4) -> None:
        super().__init__()
        self.workspace = workspace
        self.version = itertools.count(1)
        self.last = last
        self.gone = False

    def job(self, caller: Caller, job: str) -> Job:
        self.asked.append(("job", caller))
        if caller.workspace != self.workspace or job != "j_00000001" or self.gone:
            raise errors.UnknownJob("no such job", field="job")
        version = min(next(self.version), self.last)
        done = version == self.last
        return Job(
            id=job, kind="snapshot", title="t", state="done" if done else "running", stages=[], created_by="u",
            created_at=START, ended_at=START if done else None, version=version,
        )  # fmt: skip

    def cancel(self, caller: Caller, job: str) -> Job:
        return self.job(caller, job)


@dataclass
class World:
    """Everything that the gateway is given."""

    settings: Settings
    database: Database
    governance: Governance
    clock: Clock
    data: Any = field(default_factory=Pictures)
    model: Any = field(default_factory=Nothing)
    explanation: Any = field(default_factory=Nothing)
    alignment: Any = field(default_factory=Nothing)
    comparison: Any = field(default_factory=Nothing)
    atlas: Any = field(default_factory=Nothing)
    audit: Any = field(default_factory=Nothing)
    jobs: Any = field(default_factory=OneJob)
    xui: Any = None

    def __post_init__(self) -> None:
        self.sessions = Sessions(
            self.database, load_token_key(None, self.settings.home), explanation=self.explanation, audit=self.audit,
            data=self.data, model=self.model,
        )  # fmt: skip

    def lock_out(self, user: str) -> None:
        """Disable a user, be it the last admin."""
        with self.database.writing() as db:
            membership.disable(db, user, self.clock())


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with the schema of the real migrations, to be copied."""
    settings = Settings(home=tmp_path_factory.mktemp("migrated"))
    upgrade(settings.resolved_database_url)
    return settings.home / "xsys.sqlite"


@pytest.fixture
def world(tmp_path: Path, migrated: Path) -> Iterator[World]:
    settings = Settings(home=tmp_path, upload_limit=1 << 20)
    shutil.copy(migrated, tmp_path / "xsys.sqlite")
    database = Database(settings.resolved_database_url)
    clock = Clock()
    yield World(settings, database, Governance(database, settings, clock=clock), clock)
    database.close()


@pytest.fixture
def app(world: World) -> FastAPI:
    return create_app(world, limits=RateLimits(logins=100), streams=Streams(poll_seconds=0.0))


@pytest.fixture
def anonymous(app: FastAPI) -> TestClient:
    return TestClient(app, base_url=BASE, raise_server_exceptions=False)


@pytest.fixture
def logged_in(app: FastAPI, world: World) -> Callable[..., TestClient]:
    """Return a function that logs a new user in: `logged_in(Role.VIEWER, workspace="other")`."""

    def log_in(role: Role = Role.ADMIN, workspace: str = "default", *, csrf: bool = True) -> TestClient:
        name = f"{role}-{workspace}-{next(NUMBERS)}"
        user = world.governance.add_member(name, role, workspace)
        client = TestClient(app, base_url=BASE, raise_server_exceptions=False)
        link = world.governance.login_link(user, workspace).partition("#")[2]
        answer = client.post("/v1/login", json={"link": link})
        assert answer.status_code == 200
        if csrf:
            client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        return client

    return log_in


NUMBERS = itertools.count()
