"""Who may see an analysis session: members, share links, and who is looking now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts.base import Caller, Page
from contracts.errors import Conflict, NotFound
from contracts.session_events import SessionEvent
from contracts.sessions import (
    Access,
    AnalysisSession,
    JoinRequest,
    LinkRequest,
    LinkRevoked,
    MemberRemoved,
    NewShareLink,
    Place,
    Present,
    ReadOnlySession,
    SessionFull,
    SessionState,
    ShareLink,
    UnknownShareLink,
)
from orchestration.governance.audit_log import record
from orchestration.sessions import repository
from orchestration.sessions.repository import Seen
from orchestration.sessions.rows import AnalysisSessionRow, ShareLinkRow
from services.kit.db import Database, ReadSession
from services.kit.logging import logger
from services.kit.tokens import TokenKey, is_token, make_token

log = logger(__name__)

SHARE = "xsshare"
MOST_MEMBERS, MOST_LINKS = 500, 20
RANK = {Access.VIEW: 0, Access.EDIT: 1, Access.OWNER: 2}


@dataclass(frozen=True)
class Head:
    """What a live stream compares: the last event's number, and who is here."""

    seq: int
    present: Present


class Sharing:
    """The part of the sessions that is about people."""

    def __init__(self, database: Database, key: TokenKey, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._key = key
        self._clock = clock

    # --- links ----------------------------------------------------------------------------------
    def links(self, caller: Caller, session: str) -> Page[ShareLink]:
        """List the share links that are in force."""
        with self._database.reading() as db:
            self._editable(db, caller, session)
            return Page(items=[_link(row, name) for row, name in repository.links_of(db, session, self._clock())])

    def share(self, caller: Caller, session: str, body: LinkRequest) -> NewShareLink:
        """Make a share link, to view or to edit; its secret is in this answer and nowhere else."""
        now, secret = self._clock(), make_token(SHARE)
        with self._database.writing() as db:
            self._editable(db, caller, session, lock=True)
            if len(repository.links_of(db, session, now)) >= MOST_LINKS:
                raise SessionFull(f"{MOST_LINKS} links are in force already: revoke one", limit=MOST_LINKS)
            row = ShareLinkRow(
                id=repository.new_id("k"),
                session=session,
                digest=self._key.digest(secret, SHARE),
                access=str(body.access),
                created_by=caller.user,
                created_at=now,
                expires_at=now + timedelta(days=body.days),
            )
            db.add(row)
            record(db, caller, "session.shared", session, link=row.id, access=row.access, days=body.days)
            name = repository.name_of(db, caller.user)
        log.info("session.shared", session=session, link=row.id, access=row.access, user=caller.user)
        return NewShareLink(link=_link(row, name), secret=secret, path=f"/sessions/join#{secret}")

    def revoke_link(self, caller: Caller, session: str, link: str) -> LinkRevoked:
        """End a share link. Who came in by it stays a member."""
        with self._database.writing() as db:
            self._editable(db, caller, session)
            done = repository.revoke_link(db, session, link, self._clock())
            if done:
                record(db, caller, "session.link_revoked", session, link=link)
        if not done:
            raise UnknownShareLink("no such link is in force", field="link")
        log.info("session.link_revoked", session=session, link=link, user=caller.user)
        return LinkRevoked(id=link)

    def join(self, caller: Caller, body: JoinRequest) -> AnalysisSession:
        """Become a member by a share link. A link never takes access away that one has already."""
        refused = UnknownShareLink("the link was revoked, has ended, or is not one of this workspace", field="link")
        if not is_token(body.link, SHARE):
            raise refused
        now = self._clock()
        with self._database.writing() as db:
            found = repository.link_by_digest(db, caller, self._key.digest(body.link, SHARE), now)
            if found is None:
                raise refused
            link, row = found
            held, given = repository.access_of(db, row.id, caller.user), Access(link.access)
            if held is None and repository.count_members(db, row.id) >= MOST_MEMBERS:
                raise SessionFull(f"the analysis session has {MOST_MEMBERS} members already", limit=MOST_MEMBERS)
            if held is None or RANK[held] < RANK[given]:
                repository.set_member(db, row.id, caller.user, given, now)
                db.announce(row.id)
            shown = self._shown(db, repository.visible(db, caller, row.id))
        log.info("session.joined", session=row.id, user=caller.user, access=str(shown.access))
        return shown

    def remove_member(self, caller: Caller, session: str, member: str) -> MemberRemoved:
        """Take somebody out of an analysis session: owners anybody else, everybody themselves."""
        with self._database.writing() as db:
            seen = repository.visible(db, caller, session, lock=True)
            if member != caller.user and seen.access is not Access.OWNER:
                raise ReadOnlySession("only the owner takes others out", field="member", access=str(seen.access))
            if member == seen.row.owner:
                raise Conflict("the owner stays a member: the record would belong to nobody", field="member")
            if repository.access_of(db, session, member) is None:
                raise NotFound("no such member", field="member")
            repository.forget_member(db, session, member)
            db.announce(session)
        log.info("session.member_removed", session=session, user=member, by=caller.user)
        return MemberRemoved(session=session, user=member)

    # --- who is here ----------------------------------------------------------------------------
    def appear(self, caller: Caller, session: str, body: Place) -> Present:
        """Tell the others where the caller looks, and see where they do."""
        with self._database.writing() as db:
            repository.visible(db, caller, session)
            repository.note_presence(db, session, caller.user, body.path, body.title)
            db.announce(session)
            return Present(session=session, viewers=repository.viewers_of(db, session))

    def still_here(self, caller: Caller, session: str) -> None:
        """Note that the caller has the session open; whoever is no member any more is told so."""
        with self._database.writing() as db:
            repository.visible(db, caller, session)
            repository.note_presence(db, session, caller.user, None, "")

    def head(self, session: str) -> Head:
        """Look whether anything changed. No access is checked: streams check it themselves and share this look."""
        with self._database.reading() as db:
            return Head(
                repository.last_seq(db, session), Present(session=session, viewers=repository.viewers_of(db, session))
            )

    def news(self, session: str, last: int, limit: int) -> list[SessionEvent]:
        """Read the events behind `last`. No access is checked: streams check it themselves and share this look."""
        with self._database.reading() as db:
            return repository.events_of(db, session, after=last, limit=limit)

    # --- shared ---------------------------------------------------------------------------------
    def _editable(self, db: ReadSession, caller: Caller, session: str, *, lock: bool = False) -> AnalysisSessionRow:
        seen = repository.visible(db, caller, session, lock=lock)
        if seen.access is Access.VIEW:
            raise ReadOnlySession("you may look at this analysis session but not add to it", field="session")
        return seen.row

    def _shown(self, db: ReadSession, seen: Seen) -> AnalysisSession:
        row = seen.row
        return AnalysisSession(
            id=row.id,
            name=row.name,
            access=seen.access,
            members=repository.members_of(db, row.id),
            state=SessionState.model_validate(row.state),
            parent=row.parent,
            parent_seq=row.parent_seq,
            created_at=row.created_at,
            changed_at=row.changed_at,
        )


def _link(row: ShareLinkRow, name: str) -> ShareLink:
    return ShareLink(
        id=row.id,
        access=Access(row.access),
        created_by=name,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
