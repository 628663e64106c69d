"""The schema comes from migrations, on every database that is there."""

import os

import pytest
import sqlalchemy as sa

from orchestration.migrate import check, current_revision, downgrade, newest_revision, upgrade
from services.kit.db import Database
from tests.jobs.tiny import ME, hash_plan

POSTGRESQL = "postgresql+psycopg://127.0.0.1:5432/test"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/db.sqlite"
        return
    try:
        sa.create_engine(POSTGRESQL, connect_args={"connect_timeout": 2}).connect().close()
    except (sa.exc.OperationalError, ModuleNotFoundError):
        pytest.skip("no PostgreSQL at 127.0.0.1:5432 with a database `test`")
    yield POSTGRESQL
    downgrade(POSTGRESQL, "base")


def test_the_migrated_schema_is_what_the_tables_declare(url):
    assert current_revision(url) is None
    upgrade(url)
    assert current_revision(url) == newest_revision()
    check(url)
    upgrade(url)


def test_migrations_go_down_and_up_with_rows_there(url, tmp_path, settings):
    from orchestration.jobs.bell import SilentBell
    from orchestration.jobs.service import Jobs
    from services.kit.blobs import Blobs
    from services.kit.stages import StageRegistry

    upgrade(url)
    database = Database(url)
    jobs = Jobs(database, Blobs(tmp_path / "blobs"), settings, SilentBell(), StageRegistry())
    jobs.submit(ME, hash_plan(tmp_path / "log"), body_hash="a")
    database.close()
    downgrade(url, "base")
    assert current_revision(url) is None
    upgrade(url)
    check(url)
    assert os.path.exists(tmp_path)
