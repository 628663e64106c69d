"""The schema: brought up to date by alembic, at the start of an embedded installation or by `xsys db upgrade`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

MIGRATIONS = Path(__file__).resolve().parents[1] / "deploy" / "migrations"


def configuration(database_url: str) -> Config:
    """Return alembic's configuration for a database; there is no ini file."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = database_url
    return config


def newest_revision() -> str:
    """Return the revision that this release expects."""
    head = ScriptDirectory.from_config(configuration("")).get_current_head()
    return str(head)


def current_revision(database_url: str) -> str | None:
    """Return the revision of a database; None if it has no schema yet."""
    engine = create_engine(database_url)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the schema up to date; a database that is up to date is only looked at."""
    if revision == "head" and current_revision(database_url) == newest_revision():
        return
    command.upgrade(configuration(database_url), revision)


def downgrade(database_url: str, revision: str) -> None:
    """Take the schema back to an earlier revision (`base` removes it)."""
    command.downgrade(configuration(database_url), revision)


def revise(revision: str, message: str) -> None:
    """Write a new revision: what the declared tables have beyond the newest one, found on an empty database."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/empty.sqlite"
        command.upgrade(configuration(url), "head")
        command.revision(configuration(url), message, autogenerate=True, rev_id=revision)


def check(database_url: str) -> None:
    """Raise alembic's error if the declared tables differ from the migrated schema."""
    command.check(configuration(database_url))


if __name__ == "__main__":
    revise(sys.argv[1], " ".join(sys.argv[2:]))  # `python -m orchestration.migrate 0002 labels of components`
