"""Analysis sessions: shared, ordered, replayable records of an inquiry, each pinned to a snapshot."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Literal, Protocol

from pydantic import Field

from contracts.audit import UnknownAudit
from contracts.base import Binary, Caller, Contract, Cursor, Limit, Name, Page, Right, operation
from contracts.errors import (
    Conflict,
    Forbidden,
    IdempotencyConflict,
    NotFound,
    UnknownComponent,
    UnknownLayer,
    UnknownSnapshot,
    XsysError,
)
from contracts.replay import Replay
from contracts.session_events import AuditSeen, EventDraft, NoteId, PagePath, Pinned, Seq, SessionEvent, Title
from contracts.snapshots import SnapshotId

SessionId = Annotated[str, Field(pattern=r"^as_[0-9a-f]{16}$")]
LinkId = Annotated[str, Field(pattern=r"^k_[0-9a-f]{16}$")]
IdempotencyKey = Annotated[str, Field(min_length=1, max_length=200)]


class UnknownAnalysisSession(NotFound):
    remedy = "List your analysis sessions with `xsys session list`, or ask a member for a share link."


class UnknownNote(NotFound):
    remedy = "`state.notes` of the analysis session names its notes."


class UnknownEvent(NotFound):
    remedy = "`xsys session show SESSION` lists the events."


class UnknownShareLink(NotFound):
    """Never made, revoked, ended, or of another workspace: which of these is not told."""

    remedy = "Ask a member of the analysis session for a new link."


class ReadOnlySession(Forbidden):
    remedy = "Ask a member for a link that lets you edit, or branch the analysis session and work on your own."


class NotUndoable(Conflict):
    remedy = "Pins, notes, moves to another snapshot and undos can be undone, each once; what was looked at stays told."


class OtherSnapshot(Conflict):
    """A session stays on its snapshot until it is told otherwise: evidence of two snapshots is never mixed silently."""

    remedy = "Move the analysis session to the other snapshot first, or begin a new one there."


class SessionFull(XsysError):
    status = 422
    remedy = "Branch the analysis session, or take pins and notes away that are not needed."


class Access(enum.StrEnum):
    """What a member may do in one analysis session. Owners manage members; they and editors add events and links."""

    VIEW = "view"
    EDIT = "edit"
    OWNER = "owner"


class Pin(Contract):
    """A pin in force; `seq` is the event that made it."""

    seq: Seq
    user: str
    at: datetime
    pinned: Pinned


class Note(Contract):
    """A note in force. `seq` is its version: the last event that changed it.

    `both` says that two people changed the same lines and both versions stand in it, until somebody writes it anew.
    """

    id: NoteId
    seq: Seq
    text: str
    both: bool
    users: list[str] = Field(description="everybody who wrote in it, in order")
    at: datetime


class Visit(Contract):
    """Where a member was last."""

    path: PagePath
    title: Title
    at: datetime


class SessionState(Contract):
    """What the events in force add up to, up to event `seq`. `places` holds each user's last page."""

    seq: Seq
    snapshot: str
    pins: list[Pin] = []
    notes: list[Note] = []
    audits: list[AuditSeen] = []
    places: dict[str, Visit] = {}
    undone: list[Seq] = Field(default=[], description="events that are not in force")


class Member(Contract):
    user: str
    name: str
    access: Access


class SessionRequest(Contract):
    """Begin an analysis session on a snapshot."""

    name: Name
    snapshot: SnapshotId


class SessionSummary(Contract):
    """A line of the list. `events` is the number of events, `parent` the session that it was branched from."""

    id: str
    name: str
    snapshot: str
    owner: str
    access: Access
    members: int
    events: int
    pins: int
    notes: int
    parent: str | None
    created_at: datetime
    changed_at: datetime


class AnalysisSession(Contract):
    """A session with its state; `access` is the caller's."""

    id: str
    name: str
    access: Access
    members: list[Member]
    state: SessionState
    parent: str | None
    parent_seq: int | None
    created_at: datetime
    changed_at: datetime


class BranchRequest(Contract):
    """A copy of the record up to event `at` (None: all of it) that goes its own way from there."""

    name: Name
    at: Seq | None = None


class LinkRequest(Contract):
    """Whoever of the workspace opens the link becomes a member with this access."""

    access: Literal[Access.VIEW, Access.EDIT] = Access.VIEW
    days: Annotated[int, Field(ge=1, le=366)] = 30


class ShareLink(Contract):
    """A link without its secret."""

    id: str
    access: Access
    created_by: str
    created_at: datetime
    expires_at: datetime


class NewShareLink(Contract):
    """A link with its secret, shown once. `path` opens it in the browser; the secret stands in the fragment."""

    link: ShareLink
    secret: str
    path: str


class JoinRequest(Contract):
    """The secret of a share link: what stands behind `#` in its address."""

    link: Annotated[str, Field(min_length=1, max_length=200)]


class Place(Contract):
    """Where the caller looks now. It is shown to the others and not recorded."""

    path: PagePath
    title: Title = ""


class Viewer(Contract):
    """Somebody who has the session open now."""

    user: str
    name: str
    access: Access
    path: PagePath | None
    title: Title


class Present(Contract):
    """Who has the session open now, by name."""

    session: str
    viewers: list[Viewer]


class MemberRemoved(Contract):
    session: str
    user: str


class LinkRevoked(Contract):
    id: str


SEEN = (UnknownAnalysisSession,)
EDITED = (UnknownAnalysisSession, ReadOnlySession)


class SessionService(Protocol):
    """What may be asked about analysis sessions. Only members see one; everybody else is told that there is none."""

    @operation("POST", "/sessions", right=Right.ANNOTATE, refuses=(UnknownSnapshot, IdempotencyConflict))
    def begin(
        self, caller: Caller, body: SessionRequest, idempotency_key: IdempotencyKey | None = None
    ) -> AnalysisSession:
        """Begin an analysis session on a snapshot; the caller owns it."""
        ...

    @operation("GET", "/sessions", right=Right.LOOK)
    def sessions(self, caller: Caller, limit: Limit = 50, cursor: Cursor | None = None) -> Page[SessionSummary]:
        """List the analysis sessions that the caller is a member of, last changed first."""
        ...

    @operation("POST", "/sessions/join", right=Right.LOOK, refuses=(UnknownShareLink, SessionFull), idempotent=True)
    def join(self, caller: Caller, body: JoinRequest) -> AnalysisSession:
        """Become a member by a share link. A link never takes access away that one has already."""
        ...

    @operation("GET", "/sessions/{session}", right=Right.LOOK, refuses=SEEN)
    def session(self, caller: Caller, session: SessionId) -> AnalysisSession:
        """Show an analysis session: members and what its events add up to."""
        ...

    @operation("GET", "/sessions/{session}/state", right=Right.LOOK, refuses=(*SEEN, UnknownEvent))
    def state_at(self, caller: Caller, session: SessionId, at: Seq) -> SessionState:
        """Rebuild the state as it was after event `at`, from the events."""
        ...

    @operation("GET", "/sessions/{session}/history", right=Right.LOOK, refuses=SEEN)
    def history(
        self,
        caller: Caller,
        session: SessionId,
        order: Literal["oldest", "newest"] = "oldest",
        limit: Limit = 50,
        cursor: Cursor | None = None,
    ) -> Page[SessionEvent]:
        """List the events of an analysis session in order."""
        ...

    @operation(
        "POST",
        "/sessions/{session}/history",
        right=Right.ANNOTATE,
        refuses=(
            *EDITED, UnknownNote, UnknownEvent, UnknownSnapshot, UnknownLayer, UnknownComponent, UnknownAudit,
            NotUndoable, OtherSnapshot, SessionFull, IdempotencyConflict,
        ),
    )  # fmt: skip
    def act(
        self, caller: Caller, session: SessionId, body: EventDraft, idempotency_key: IdempotencyKey | None = None
    ) -> SessionEvent:
        """Add an event: something searched, seen, steered, pinned, noted, moved or undone."""
        ...

    @operation(
        "POST",
        "/sessions/{session}/history/{seq}/replay",
        right=Right.AUDIT_LOG,
        refuses=(*SEEN, UnknownEvent),
        idempotent=True,
    )
    def replay(self, caller: Caller, session: SessionId, seq: Seq) -> Replay:
        """Compute what an event recorded once more and compare; refusals of what was asked are part of the answer."""
        ...

    @operation("POST", "/sessions/{session}/branches", right=Right.ANNOTATE, refuses=(*SEEN, UnknownEvent))
    def branch(self, caller: Caller, session: SessionId, body: BranchRequest) -> AnalysisSession:
        """Copy the record up to an event into a session of the caller's own."""
        ...

    @operation("GET", "/sessions/{session}/links", right=Right.LOOK, refuses=EDITED)
    def links(self, caller: Caller, session: SessionId) -> Page[ShareLink]:
        """List the share links that are in force."""
        ...

    @operation("POST", "/sessions/{session}/links", right=Right.ANNOTATE, refuses=(*EDITED, SessionFull))
    def share(self, caller: Caller, session: SessionId, body: LinkRequest) -> NewShareLink:
        """Make a share link, to view or to edit; its secret is in this answer and nowhere else."""
        ...

    @operation("DELETE", "/sessions/{session}/links/{link}", right=Right.ANNOTATE, refuses=(*EDITED, UnknownShareLink))
    def revoke_link(self, caller: Caller, session: SessionId, link: LinkId) -> LinkRevoked:
        """End a share link. Who came in by it stays a member."""
        ...

    @operation(
        "DELETE", "/sessions/{session}/members/{member}", right=Right.LOOK, refuses=(*EDITED, NotFound, Conflict)
    )
    def remove_member(self, caller: Caller, session: SessionId, member: str) -> MemberRemoved:
        """Take somebody out of an analysis session: owners anybody else, everybody themselves."""
        ...

    @operation("PUT", "/sessions/{session}/presence", right=Right.LOOK, refuses=SEEN)
    def appear(self, caller: Caller, session: SessionId, body: Place) -> Present:
        """Tell the others where the caller looks, and see where they do."""
        ...

    @operation("GET", "/sessions/{session}/report", right=Right.LOOK, refuses=SEEN)
    def report(self, caller: Caller, session: SessionId, format: Literal["html", "python", "json"] = "html") -> Binary:
        """Export: a page of its own with pictures and provenance, a Python script that repeats it, or its events."""
        ...
