"""The database: one declarative base, reading and writing sessions of different types, time by the database's clock."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal, TypeVar, TypeVarTuple

from sqlalchemy import Connection, DateTime, Engine, MetaData, Row, Select, create_engine, event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Float, TypeDecorator

Answer = TypeVar("Answer")
Columns = TypeVarTuple("Columns")
Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "AUTOCOMMIT"]

POOL = {"pool_size": 40, "max_overflow": 10}  # as many as the gateway has threads
STATEMENT_SECONDS = 5.0
IDLE_IN_TRANSACTION_SECONDS = 30.0
CONNECT_SECONDS = 3
CLOCK_SECONDS = 60.0
TRANSIENT = (OperationalError, InterfaceError, PoolTimeout)  # locked, gone, restarting, or chosen to end a deadlock

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
    # now() would be the start of the transaction; extract alone is numeric, which Python reads as Decimal
    return "extract(epoch from clock_timestamp())::double precision"


class ReadSession(Session):
    """A DB session that only reads."""


class WriteSession(ReadSession):
    """A DB session inside a write transaction. Only the boundary that opened it commits."""

    def announce(self, subject: str) -> None:
        """Have it told, once this transaction is committed, that `subject` changed."""
        self.info.setdefault("announced", set()).add(subject)


class Database:
    """Reading and writing transactions on SQLite or PostgreSQL."""

    def __init__(self, url: str, *, busy_seconds: float = 5.0) -> None:
        self.url = url
        self.announcer: Callable[[frozenset[str]], None] | None = None  # told what changed, after each commit
        self._clock_lock = threading.Lock()
        self._busy_seconds = busy_seconds
        self._turn = threading.Lock()  # one writer at a time is all that SQLite takes: see `_in_turn`
        self._measured: float | None = None
        self._offset = 0.0
        self.sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.sqlite:
            self._writer = _sqlite_engine(url, "BEGIN IMMEDIATE", busy_seconds, query_only=False)
            self._reader = self._glancer = _sqlite_engine(url, "BEGIN", busy_seconds, query_only=True)
        else:
            self._writer = _postgresql_engine(url, "READ COMMITTED", read_only=False)
            # one consistent view per transaction, as SQLite gives; an engine of its own, because setting the isolation
            # of a connection at each checkout was measured to double what a short read costs
            self._reader = _postgresql_engine(url, "REPEATABLE READ", read_only=True)
            self._glancer = _postgresql_engine(url, "AUTOCOMMIT", read_only=True)

    @property
    def engine(self) -> Engine:
        """The writing engine, for migrations and tests."""
        return self._writer

    @contextmanager
    def reading(self) -> Iterator[ReadSession]:
        """Open a read-only transaction; what is read in it is consistent."""
        with ReadSession(self._reader, expire_on_commit=False) as session:
            yield session

    def glance(self, query: Select[*Columns]) -> Row[*Columns] | None:
        """Return the first row of one statement, which is consistent without a transaction.

        On PostgreSQL that is one round trip instead of four: what every request asks is asked this way.
        """
        try:
            with self._glancer.connect() as connection:
                return connection.execute(query).first()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        with self._glancer.connect() as connection:  # the server was restarted since this connection was last used
            return connection.execute(query).first()

    @contextmanager
    def writing(self) -> Iterator[WriteSession]:
        """Open a write transaction: committed on leaving, rolled back when left by an exception."""
        with self._in_turn(), WriteSession(self._writer, expire_on_commit=False) as session, session.begin():
            yield session
        announced = session.info.get("announced")
        if announced and self.announcer is not None:
            self.announcer(frozenset(announced))

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Queue this process's writers on SQLite, which itself wakes waiting ones by chance: some would starve.

        Who waited as long as SQLite would is let through, to be told by the database what holds it.
        """
        taken = self.sqlite and self._turn.acquire(timeout=self._busy_seconds)
        try:
            yield
        finally:
            if taken:
                self._turn.release()

    def time(self) -> float:
        """Seconds since the epoch as the database counts them, though this machine's clock may be minutes off.

        Asked once a minute and counted on by this machine in between. While the database is gone its last word holds.
        """
        now = time.monotonic()
        with self._clock_lock:
            if self._measured is None or now - self._measured > CLOCK_SECONDS:
                try:
                    with self.reading() as db:
                        self._offset = float(db.scalar(select(db_now())) or 0.0) - time.monotonic()
                    self._measured = now
                except TRANSIENT:
                    if self._measured is None:
                        raise
        return time.monotonic() + self._offset

    def close(self) -> None:
        """Close all pooled connections."""
        for engine in (self._writer, self._reader, self._glancer):
            engine.dispose()


@contextmanager
def any_bytes(db: ReadSession) -> Iterator[None]:
    r"""Read text that is no UTF-8 as escapes (`\xff`) instead of failing.

    SQLite alone stores such bytes, and only for whoever writes its file by other means: PostgreSQL refuses them.
    """
    driver = db.connection().connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        yield
        return
    before, driver.text_factory = driver.text_factory, lambda raw: raw.decode("utf-8", "backslashreplace")
    try:
        yield
    finally:
        driver.text_factory = before


def insert_if_absent(db: WriteSession, row: type[Table], **values: object) -> None:
    """Insert unless a row with this key is there; two processes may do so at once."""
    dialect = postgresql if db.get_bind().dialect.name == "postgresql" else sqlite
    db.execute(dialect.insert(row).values(**values).on_conflict_do_nothing())


def upsert(db: WriteSession, row: type[Table], **values: object) -> None:
    """Insert, or replace the row with the same primary key; two processes may do so at once."""
    dialect = postgresql if db.get_bind().dialect.name == "postgresql" else sqlite
    key = [column.name for column in row.__table__.primary_key]
    kept = {name: value for name, value in values.items() if name not in key}
    statement = dialect.insert(row).values(**values)
    if kept:
        db.execute(statement.on_conflict_do_update(index_elements=key, set_=kept))
    else:
        db.execute(statement.on_conflict_do_nothing())


def patiently(attempt: Callable[[], Answer], *, seconds: float) -> Answer:
    """Repeat a whole transaction while the database is gone or busy; after `seconds` its error is raised.

    For offline work only: whoever waits for an answer is told 503 instead.
    """
    limit, pause = time.monotonic() + seconds, 0.05
    while True:
        try:
            return attempt()
        except TRANSIENT:
            if time.monotonic() + pause > limit:
                raise
        time.sleep(random.uniform(0.5, 1.0) * pause)
        pause = min(2.0, 2 * pause)


def _postgresql_engine(url: str, isolation: Isolation, *, read_only: bool) -> Engine:
    limits = f"-c statement_timeout={int(STATEMENT_SECONDS * 1000)}"
    limits += f" -c idle_in_transaction_session_timeout={int(IDLE_IN_TRANSACTION_SECONDS * 1000)}"
    limits += " -c default_transaction_read_only=on" if read_only else ""
    arguments = {"options": limits, "connect_timeout": CONNECT_SECONDS, "application_name": "xsys"}
    ping = isolation != "AUTOCOMMIT"  # a single statement is repeated instead
    return create_engine(url, pool_pre_ping=ping, isolation_level=isolation, connect_args=arguments, **POOL)


def _sqlite_engine(url: str, begin: str, busy_seconds: float, *, query_only: bool) -> Engine:
    engine = create_engine(url, connect_args={"check_same_thread": False}, **POOL)

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
