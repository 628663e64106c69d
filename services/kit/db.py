"""The database: one declarative base, reading and writing sessions of different types, time by the database's clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Connection, DateTime, Engine, MetaData, create_engine, event
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Float, TypeDecorator

CONVENTION = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Table(DeclarativeBase):
    """Base of every table. Portable types only: text ids, JSON, checked strings, UTC times, epoch seconds."""

    metadata = MetaData(naming_convention=CONVENTION)


class Utc(TypeDecorator[datetime]):
    """A time with zone UTC on every database; SQLite keeps none by itself."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class db_now(FunctionElement[float]):
    """Seconds since the epoch by the database's clock, with fractions: leases must not trust workers' clocks."""

    type = Float()
    inherit_cache = True


@compiles(db_now, "sqlite")
def _sqlite_now(element: db_now, compiler: SQLCompiler, **_: object) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(db_now, "postgresql")
def _postgresql_now(element: db_now, compiler: SQLCompiler, **_: object) -> str:
    return "extract(epoch from clock_timestamp())"  # now() would be the start of the transaction


class ReadSession(Session):
    """A DB session that only reads."""


class WriteSession(ReadSession):
    """A DB session inside a write transaction. Only the boundary that opened it commits."""


class Database:
    """Reading and writing transactions on SQLite or PostgreSQL."""

    def __init__(self, url: str, *, busy_seconds: float = 5.0) -> None:
        self.url = url
        self.sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.sqlite:
            self._writer = _sqlite_engine(url, "BEGIN IMMEDIATE", busy_seconds, query_only=False)
            self._reader = _sqlite_engine(url, "BEGIN", busy_seconds, query_only=True)
        else:
            self._writer = self._reader = create_engine(url, pool_pre_ping=True, pool_size=40, max_overflow=10)

    @property
    def engine(self) -> Engine:
        """The writing engine, for migrations and tests."""
        return self._writer

    @contextmanager
    def reading(self) -> Iterator[ReadSession]:
        """Open a read-only transaction; what is read in it is consistent."""
        with ReadSession(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[WriteSession]:
        """Open a write transaction: committed on leaving, rolled back when left by an exception."""
        with WriteSession(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all pooled connections."""
        self._writer.dispose()
        self._reader.dispose()


def _sqlite_engine(url: str, begin: str, busy_seconds: float, *, query_only: bool) -> Engine:
    engine = create_engine(url, connect_args={"check_same_thread": False}, pool_size=40, max_overflow=10)

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # we emit BEGIN ourselves, see below
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={int(busy_seconds * 1000)}")
        if query_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # a plain BEGIN that writes later fails with "database is locked": the busy timeout does not cover upgrades
        connection.exec_driver_sql(begin)

    return engine
