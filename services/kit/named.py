"""Rows that have an id and a name within a workspace: found by either, listed newest first."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import and_, or_, select

from services.kit.cursors import decode_moment, encode_cursor
from services.kit.db import ReadSession

Row = TypeVar("Row")


def by_id_or_name(db: ReadSession, row: type[Row], workspace: str, wanted: str) -> Row | None:
    """Return the row with this id, or else this name; None for what is not there or belongs to another workspace."""
    table: Any = row
    query = select(row).where(table.workspace == workspace, or_(table.id == wanted, table.name == wanted))
    return db.scalar(query.order_by((table.id == wanted).desc()).limit(1))  # a name may look like another row's id


def newest_first(
    db: ReadSession, row: type[Row], workspace: str, limit: int, cursor: str | None
) -> tuple[list[Row], str | None]:
    """Return up to `limit` rows of a workspace, newest first, and the cursor of the next page if there is one.

    Raises
    ------
    InvalidRequest : a cursor that was not made here.
    """
    table: Any = row
    query = select(row).where(table.workspace == workspace)
    if cursor is not None:
        moment, last = decode_moment(cursor)
        at_once = and_(table.created_at == moment, table.id > last)
        query = query.where(or_(table.created_at < moment, at_once))
    rows = list(db.scalars(query.order_by(table.created_at.desc(), table.id).limit(limit + 1)))
    if len(rows) <= limit:
        return rows, None
    end: Any = rows[limit - 1]
    return rows[:limit], encode_cursor([end.created_at.isoformat(), end.id])
