"""Runs migrations. Two runs at once wait for each other: SQLite by BEGIN IMMEDIATE, PostgreSQL by an advisory lock."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, create_engine, event, make_url

import services.kit.artifacts  # noqa: F401  (its tables)
from services.kit.db import Table, Utc

ROOT = Path(__file__).resolve().parents[2]
LOCK = 5_873_201
FILE_LOCK_SECONDS = 30


def import_tables() -> None:
    """Import every `rows.py`: a table that is not imported would look as if it should be dropped."""
    for package in ("services", "orchestration"):
        for path in sorted((ROOT / package).rglob("rows.py")):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def render(kind: str, item: object, _: AutogenContext) -> str | Literal[False]:
    """Write our own types as what the database sees."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, Utc) else False


def migrate(connection: Connection) -> None:
    """Run the migrations in the connection's open transaction."""
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        render_as_batch=True,
        render_item=render,
        compare_type=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def migrate_sqlite(url: str) -> None:
    """Migrate with foreign keys off: batch mode drops and rebuilds parents, and a drop would delete their children."""
    engine = create_engine(url, connect_args={"timeout": FILE_LOCK_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection, _entry) -> None:  # type: ignore[no-untyped-def]
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=OFF")  # before the transaction: inside one it does nothing

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as connection:
            migrate(connection)
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            if broken:
                raise RuntimeError(f"the migration leaves {len(broken)} rows without their parent: {broken[:5]}")
    finally:
        engine.dispose()


def migrate_postgresql(url: str) -> None:
    """Migrate in one transaction under an advisory lock."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            migrate(connection)
    finally:
        engine.dispose()


import_tables()
database_url: str = context.config.attributes["url"]
if make_url(database_url).get_backend_name() == "sqlite":
    migrate_sqlite(database_url)
else:
    migrate_postgresql(database_url)
