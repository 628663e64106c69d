"""Rows found by id or name, and listed newest first, on both databases' rules."""

from datetime import UTC, datetime, timedelta

import pytest

from contracts.errors import InvalidRequest
from services.kit.db import Database
from services.kit.named import by_id_or_name, newest_first
from services.model.rows import ModelRow

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def db(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/x.sqlite")
    ModelRow.metadata.create_all(database.engine)
    with database.writing() as session:
        for number, minute in enumerate((0, 1, 1, 2, 2)):
            add(session, f"m_{number}", f"name {number}", minute)
        add(session, "m_9", "m_0", 3)  # named like another's id
        add(session, "m_0", "elsewhere", 0, workspace="theirs")
    with database.reading() as session:
        yield session
    database.close()


def add(session, key, name, minute, workspace="ours"):
    moment = BEGUN + timedelta(minutes=minute)
    session.add(ModelRow(workspace=workspace, id=key, name=name, lineage="k", record={}, created_at=moment))


def test_an_id_wins_over_a_name_like_it_and_workspaces_are_apart(db):
    assert by_id_or_name(db, ModelRow, "ours", "m_0").name == "name 0"
    assert by_id_or_name(db, ModelRow, "ours", "name 3").id == "m_3"
    assert by_id_or_name(db, ModelRow, "theirs", "m_3") is None


@pytest.mark.parametrize("limit", [1, 2, 4, 6])
def test_pages_hold_every_row_once_newest_first_and_end(db, limit):
    seen, cursor = [], None
    while True:
        rows, cursor = newest_first(db, ModelRow, "ours", limit, cursor)
        assert 0 < len(rows) <= limit
        seen += [row.id for row in rows]
        if cursor is None:
            break
    assert seen == ["m_9", "m_3", "m_4", "m_1", "m_2", "m_0"]


def test_a_cursor_of_another_listing_is_refused(db):
    with pytest.raises(InvalidRequest, match="cursor"):
        newest_first(db, ModelRow, "ours", 2, "WzFd")
