"""The schema comes from migrations, on every database that is there."""

import os

import pytest

from orchestration.migrate import check, current_revision, downgrade, newest_revision, upgrade
from services.kit.db import Database
from tests.jobs.tiny import ME, hash_plan


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/db.sqlite"
    return request.getfixturevalue("postgresql").new_database()


def test_the_migrated_schema_is_what_the_tables_declare(url):
    assert current_revision(url) is None
    upgrade(url)
    assert current_revision(url) == newest_revision()
    check(url)
    upgrade(url)


def test_migrations_go_down_and_up_with_rows_there(url, tmp_path):
    from orchestration.jobs.bell import SilentBell
    from orchestration.jobs.service import Jobs
    from services.kit.blobs import Blobs
    from services.kit.settings import Settings
    from services.kit.stages import StageRegistry

    upgrade(url)
    database = Database(url)
    jobs = Jobs(database, Blobs(tmp_path / "blobs"), Settings(home=tmp_path), SilentBell(), StageRegistry())
    jobs.submit(ME, hash_plan(tmp_path / "log"), body_hash="a")
    database.close()
    downgrade(url, "base")
    assert current_revision(url) is None
    upgrade(url)
    check(url)
    assert os.path.exists(tmp_path)
