"""Every SQL statement about analysis sessions. A session is only ever found together with the caller's membership."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import and_, delete, func, or_, select, update

from contracts.base import Caller
from contracts.session_events import Happened, SessionEvent
from contracts.sessions import Access, Member, UnknownAnalysisSession, Viewer
from orchestration.governance.rows import UserRow
from orchestration.sessions.rows import (
    AnalysisSessionRow,
    PresenceRow,
    SessionEventRow,
    SessionMemberRow,
    ShareLinkRow,
)
from orchestration.sessions.sentences import sentence
from services.kit.db import ReadSession, WriteSession, db_now, upsert

PRESENT_SECONDS = 25.0
HAPPENED: TypeAdapter[Happened] = TypeAdapter(Happened)


@dataclass(frozen=True)
class Seen:
    """A session as one of its members may see it."""

    row: AnalysisSessionRow
    access: Access


def new_id(prefix: str) -> str:
    """Return an id that cannot be guessed."""
    return f"{prefix}_{secrets.token_hex(8)}"


def visible(db: ReadSession, caller: Caller, session: str, *, lock: bool = False) -> Seen:
    """Find a session that the caller is a member of, in the caller's workspace.

    Raises
    ------
    UnknownAnalysisSession : there is none, it is another workspace's, or the caller is no member.
    """
    query = (
        select(AnalysisSessionRow, SessionMemberRow.access)
        .join(SessionMemberRow, SessionMemberRow.session == AnalysisSessionRow.id)
        .where(
            AnalysisSessionRow.workspace == caller.workspace,
            AnalysisSessionRow.id == session,
            SessionMemberRow.user == caller.user,
        )
    )
    found = db.execute(query.with_for_update(of=AnalysisSessionRow) if lock else query).one_or_none()
    if found is None:
        raise UnknownAnalysisSession("there is no such analysis session for you", field="session")
    return Seen(found[0], Access(found[1]))


def begun_with_key(db: ReadSession, caller: Caller, key: str) -> AnalysisSessionRow | None:
    """Find the session that the caller began with this idempotency key."""
    return db.scalars(
        select(AnalysisSessionRow).where(
            AnalysisSessionRow.workspace == caller.workspace,
            AnalysisSessionRow.owner == caller.user,
            AnalysisSessionRow.idempotency_key == key,
        )
    ).one_or_none()


def page_of_sessions(
    db: ReadSession, caller: Caller, limit: int, before: tuple[datetime, str] | None
) -> list[tuple[AnalysisSessionRow, str, int, str]]:
    """Return (session, access, number of members, owner's name), last changed first."""
    many = (
        select(func.count())
        .select_from(SessionMemberRow)
        .where(SessionMemberRow.session == AnalysisSessionRow.id)
        .correlate(AnalysisSessionRow)
        .scalar_subquery()
    )
    query = (
        select(AnalysisSessionRow, SessionMemberRow.access, many, UserRow.name)
        .join(SessionMemberRow, SessionMemberRow.session == AnalysisSessionRow.id)
        .join(UserRow, UserRow.id == AnalysisSessionRow.owner)
        .where(AnalysisSessionRow.workspace == caller.workspace, SessionMemberRow.user == caller.user)
        .order_by(AnalysisSessionRow.changed_at.desc(), AnalysisSessionRow.id)
        .limit(limit)
    )
    if before is not None:
        at, last = before
        query = query.where(
            or_(
                AnalysisSessionRow.changed_at < at,
                and_(AnalysisSessionRow.changed_at == at, AnalysisSessionRow.id > last),
            )
        )
    return [(row, access, count, name) for row, access, count, name in db.execute(query)]


# --- members --------------------------------------------------------------------------------------
def members_of(db: ReadSession, session: str) -> list[Member]:
    """Return a session's members by name."""
    found = db.execute(
        select(UserRow.id, UserRow.name, SessionMemberRow.access)
        .join(SessionMemberRow, SessionMemberRow.user == UserRow.id)
        .where(SessionMemberRow.session == session)
        .order_by(UserRow.name, UserRow.id)
    )
    return [Member(user=user, name=name, access=Access(access)) for user, name, access in found]


def count_members(db: ReadSession, session: str) -> int:
    """Count a session's members."""
    counted = select(func.count()).select_from(SessionMemberRow).where(SessionMemberRow.session == session)
    return int(db.scalar(counted) or 0)


def set_member(db: WriteSession, session: str, user: str, access: Access, now: datetime) -> None:
    """Make somebody a member, or change what they may do."""
    upsert(db, SessionMemberRow, session=session, user_id=user, access=str(access), joined_at=now)


def access_of(db: ReadSession, session: str, user: str) -> Access | None:
    """What a user may do in a session; None for who is no member."""
    row = db.get(SessionMemberRow, (session, user))
    return None if row is None else Access(row.access)


def forget_member(db: WriteSession, session: str, user: str) -> None:
    """Take somebody out of a session."""
    db.execute(delete(SessionMemberRow).where(SessionMemberRow.session == session, SessionMemberRow.user == user))
    db.execute(delete(PresenceRow).where(PresenceRow.session == session, PresenceRow.user == user))


# --- events ---------------------------------------------------------------------------------------
def events_of(
    db: ReadSession,
    session: str,
    *,
    after: int = 0,
    before: int | None = None,
    newest: bool = False,
    limit: int | None = None,
) -> list[SessionEvent]:
    """Return events with `after` < seq < `before`, by number."""
    query = (
        select(SessionEventRow, UserRow.name)
        .outerjoin(UserRow, UserRow.id == SessionEventRow.user)
        .where(SessionEventRow.session == session, SessionEventRow.seq > after)
        .order_by(SessionEventRow.seq.desc() if newest else SessionEventRow.seq)
    )
    if before is not None:
        query = query.where(SessionEventRow.seq < before)
    if limit is not None:
        query = query.limit(limit)
    return [event_of(row, name or row.user) for row, name in db.execute(query)]


def event_of(row: SessionEventRow, name: str) -> SessionEvent:
    """Read an event; `name` is its user's."""
    action = HAPPENED.validate_python(row.action)
    return SessionEvent(
        session=row.session,
        seq=row.seq,
        user=row.user,
        by=name,
        at=row.at,
        action=action,
        what=sentence(action),
        correlation=row.correlation,
    )


def event_with_key(db: ReadSession, session: str, user: str, key: str) -> SessionEventRow | None:
    """Find the event that a user added with this idempotency key."""
    return db.scalars(
        select(SessionEventRow).where(
            SessionEventRow.session == session,
            SessionEventRow.user == user,
            SessionEventRow.idempotency_key == key,
        )
    ).one_or_none()


def name_of(db: ReadSession, user: str) -> str:
    """Return a user's name."""
    return db.scalar(select(UserRow.name).where(UserRow.id == user)) or user


# --- links ----------------------------------------------------------------------------------------
def links_of(db: ReadSession, session: str, now: datetime) -> list[tuple[ShareLinkRow, str]]:
    """Return the links in force with their makers' names, newest first."""
    found = db.execute(
        select(ShareLinkRow, UserRow.name)
        .outerjoin(UserRow, UserRow.id == ShareLinkRow.created_by)
        .where(ShareLinkRow.session == session, ShareLinkRow.revoked_at.is_(None), ShareLinkRow.expires_at > now)
        .order_by(ShareLinkRow.created_at.desc(), ShareLinkRow.id)
    )
    return [(row, name or row.created_by) for row, name in found]


def link_by_digest(
    db: ReadSession, caller: Caller, digest: str, now: datetime
) -> tuple[ShareLinkRow, AnalysisSessionRow] | None:
    """Find a link in force, of the caller's workspace, by the digest of its secret."""
    found = db.execute(
        select(ShareLinkRow, AnalysisSessionRow)
        .join(AnalysisSessionRow, AnalysisSessionRow.id == ShareLinkRow.session)
        .where(
            AnalysisSessionRow.workspace == caller.workspace,
            ShareLinkRow.digest == digest,
            ShareLinkRow.revoked_at.is_(None),
            ShareLinkRow.expires_at > now,
        )
    ).one_or_none()
    return None if found is None else (found[0], found[1])


def revoke_link(db: WriteSession, session: str, link: str, now: datetime) -> bool:
    """End a link; False if there is none in force."""
    done = db.scalars(
        update(ShareLinkRow)
        .where(ShareLinkRow.session == session, ShareLinkRow.id == link, ShareLinkRow.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(ShareLinkRow.id)
    )
    return done.one_or_none() is not None


# --- who is here ----------------------------------------------------------------------------------
def note_presence(db: WriteSession, session: str, user: str, path: str | None, title: str) -> None:
    """Note that somebody has the session open; without a path, that they still have."""
    still = update(PresenceRow).where(PresenceRow.session == session, PresenceRow.user == user)
    changed = {"seen_at": db_now()} if path is None else {"seen_at": db_now(), "path": path, "title": title}
    if db.scalars(still.values(**changed).returning(PresenceRow.user)).one_or_none() is None:
        upsert(db, PresenceRow, session=session, user_id=user, path=path, title=title, seen_at=db_now())
    db.execute(delete(PresenceRow).where(PresenceRow.session == session, PresenceRow.seen_at < db_now() - 3600.0))


def viewers_of(db: ReadSession, session: str) -> list[Viewer]:
    """Return who has the session open, by name."""
    found = db.execute(
        select(UserRow.id, UserRow.name, SessionMemberRow.access, PresenceRow.path, PresenceRow.title)
        .join(PresenceRow, PresenceRow.user == UserRow.id)
        .join(
            SessionMemberRow,
            and_(SessionMemberRow.user == UserRow.id, SessionMemberRow.session == PresenceRow.session),
        )
        .where(PresenceRow.session == session, PresenceRow.seen_at > db_now() - PRESENT_SECONDS)
        .order_by(UserRow.name, UserRow.id)
    )
    return [
        Viewer(user=user, name=name, access=Access(access), path=path, title=title)
        for user, name, access, path, title in found
    ]


def last_seq(db: ReadSession, session: str) -> int:
    """Return the number of a session's last event."""
    return int(db.scalar(select(AnalysisSessionRow.seq).where(AnalysisSessionRow.id == session)) or 0)


def copy_events(db: WriteSession, events: Sequence[SessionEventRow], session: str) -> None:
    """Write events into another session, as they were."""
    for row in events:
        db.add(
            SessionEventRow(
                session=session,
                seq=row.seq,
                user=row.user,
                at=row.at,
                kind=row.kind,
                action=row.action,
                correlation=row.correlation,
            )
        )


def rows_until(db: ReadSession, session: str, seq: int) -> list[SessionEventRow]:
    """Return the rows of the events up to a number."""
    query = select(SessionEventRow).where(SessionEventRow.session == session, SessionEventRow.seq <= seq)
    return list(db.scalars(query.order_by(SessionEventRow.seq)))
