import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import String, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.kit.db import Database, Utc, db_now


class Base(DeclarativeBase):
    """A base of this test's own: the product's metadata holds the product's tables only."""


class Note(Base):
    __tablename__ = "test_note"
    id: Mapped[str] = mapped_column(String(10), primary_key=True)
    at: Mapped[datetime] = mapped_column(Utc)


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    Note.__table__.create(database.engine)
    yield database
    database.close()


def test_times_come_back_in_utc_whatever_zone_they_were_given_in(database):
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
    with database.writing() as db:
        db.add(Note(id="a", at=moment))
    with database.reading() as db:
        stored = db.get(Note, "a")
        assert stored.at == moment
        assert stored.at.tzinfo is UTC


def test_leaving_by_exception_rolls_back(database):
    with pytest.raises(KeyError), database.writing() as db:
        db.add(Note(id="a", at=datetime.now(UTC)))
        db.flush()
        raise KeyError
    with database.reading() as db:
        assert db.get(Note, "a") is None


def test_a_reading_session_cannot_write(database):
    with pytest.raises(OperationalError, match="readonly"), database.reading() as db:
        db.execute(text("DELETE FROM test_note"))


def test_the_databases_clock_counts_fractions_of_seconds(database):
    with database.reading() as db:
        first = db.scalar(select(db_now()))
        time.sleep(0.02)
        assert 0.005 < db.scalar(select(db_now())) - first < 5
    assert abs(first - time.time()) < 60


def test_writers_that_read_first_wait_for_each_other_instead_of_failing(database):
    with database.writing() as db:
        db.add(Note(id="n", at=datetime(2026, 1, 1, tzinfo=UTC)))

    def add_a_day() -> None:
        for _ in range(20):
            with database.writing() as db:
                note = db.get(Note, "n")
                time.sleep(0.001)
                note.at = note.at + timedelta(days=1)

    threads = [threading.Thread(target=add_a_day) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as db:
        assert db.get(Note, "n").at == datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=80)
