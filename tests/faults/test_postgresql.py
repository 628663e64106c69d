"""PostgreSQL restarted under a gateway and under a worker."""

import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from contracts.jobs import State
from orchestration.gateway.app import create_app
from orchestration.governance.service import Governance
from orchestration.migrate import upgrade
from services.kit.db import Database
from services.kit.settings import Settings
from tests.gateway.conftest import BASE, Nothing, World
from tests.jobs.conftest import *  # noqa: F403
from tests.jobs.conftest import marks, until, worker
from tests.jobs.tiny import ME, hash_plan
from tests.servers import PostgreSql, start_postgresql


@pytest.fixture(scope="module")
def fragile() -> Iterator[PostgreSql]:
    """A cluster that tests may stop."""
    with start_postgresql() as server:
        yield server


@pytest.fixture
def database_url(fragile) -> str:
    return fragile.new_database()


def test_the_gateway_answers_503_with_retry_after_while_the_database_is_gone_and_recovers(
    fragile, database_url, tmp_path
):
    upgrade(database_url)
    settings = Settings(home=tmp_path, database_url=database_url)
    database = Database(database_url)
    governance = Governance(database, settings)
    world = World(settings, database, governance, clock=None, data=Nothing())
    client = TestClient(create_app(world), base_url=BASE, raise_server_exceptions=False)
    link = governance.login_link().partition("#")[2]
    client.headers["X-CSRF-Token"] = client.post("/v1/login", json={"link": link}).json()["csrf"]
    assert client.get("/readyz").status_code == 200
    fragile.stop()
    try:
        answer = client.get("/v1/session")
        assert (answer.status_code, answer.json()["title"], answer.headers["retry-after"]) == (503, "Unavailable", "1")
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert {check["name"]: check["ok"] for check in ready.json()["checks"]}["database"] is False
        assert client.get("/healthz").status_code == 200
    finally:
        fragile.start()
    assert client.get("/v1/session").status_code == 200
    database.close()


def test_a_job_goes_on_after_the_database_was_restarted_under_its_worker(fragile, wiring, settings, tmp_path):
    log = tmp_path / "log"
    process = worker(settings)
    try:
        job = wiring.core.submit(ME, hash_plan(log, parts=6, steps=10), body_hash="a")
        until(lambda: sum(marks(log).values()) >= 3)
        fragile.stop()
        time.sleep(1.0)
        fragile.start()
        until(lambda: wiring.core.job(ME, job.id).ended_at is not None)
        assert wiring.core.job(ME, job.id).state == State.DONE
        assert process.poll() is None, "the worker outlives the restart"
    finally:
        process.kill()
        process.wait()
    ends = {mark: n for mark, n in marks(log).items() if mark.startswith("end")}
    assert len(ends) == 7
