"""What can be done in an analysis session, and what is recorded of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.base import Contract, FiniteFloat, Sha256
from contracts.corrections import AuditId
from contracts.data import SampleIndex
from contracts.explanation import PictureTerm, SearchQuery
from contracts.model import LayerName, ModelId
from contracts.snapshots import ComponentIndex, ComponentRef, Sign, SnapshotId
from contracts.steering import SteeringRequest

NoteId = Annotated[str, Field(pattern=r"^n_[0-9a-f]{16}$")]
Seq = Annotated[int, Field(ge=0, lt=2**53)]
PagePath = Annotated[
    str, Field(pattern=r"^/([^/\\\x00-\x1f][^\\\x00-\x1f]*)?$", max_length=2000, description="a page of the workbench")
]
Title = Annotated[str, Field(pattern=r"^[^\x00-\x1f]*$", max_length=200)]
NoteText = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=20_000)]


# --- what can be done in a session ----------------------------------------------------------------
class Search(Contract):
    """What was searched for, and what was found first. Pictures that were sent along are kept by hash only."""

    kind: Literal["search"] = "search"
    query: SearchQuery | None
    pictures: Annotated[list[Sha256], Field(max_length=8)] = []
    hits: Annotated[list[ComponentRef], Field(max_length=50)] = []
    lineage: Annotated[str, Field(max_length=80)] | None = None

    @model_validator(mode="after")
    def no_pictures(self) -> Self:
        """Refuse bytes, and a search for nothing."""
        if self.query is not None and any(isinstance(term, PictureTerm) for term in self.query.terms):
            raise ValueError("pictures are not kept: name their SHA-256 in `pictures`")
        if self.query is None and not self.pictures:
            raise ValueError("give a query, pictures, or both")
        return self


class View(Contract):
    """A page that was looked at: where its reader can come back to."""

    kind: Literal["view"] = "view"
    path: PagePath
    title: Title = ""


class Steer(Contract):
    """A steering of one prediction, with samples by number: pictures that were sent along are not kept."""

    kind: Literal["steer"] = "steer"
    model: ModelId
    request: SteeringRequest
    flipped: bool | None = None
    variation: FiniteFloat | None = None

    @model_validator(mode="after")
    def no_picture(self) -> Self:
        """Refuse bytes."""
        if self.request.picture is not None:
            raise ValueError("pictures are not kept: steer a sample of a dataset")
        return self


class PinComponent(Contract):
    """Keep a component of the session's snapshot. `snapshot` is what the reader sees; None trusts the session's."""

    kind: Literal["pin"] = "pin"
    snapshot: SnapshotId | None = None
    layer: LayerName
    index: ComponentIndex
    sign: Sign = 1


class Unpin(Contract):
    kind: Literal["unpin"] = "unpin"
    layer: LayerName
    index: ComponentIndex
    sign: Sign = 1


class WriteNote(Contract):
    """Write a note, or change one. `base` is the `seq` of the state that the writer changed.

    Where others changed the note since, both changes are merged line by line; lines that both changed are both kept.
    An empty text takes the note away, unless somebody else wrote in it meanwhile.
    """

    kind: Literal["note"] = "note"
    note: NoteId | None = Field(default=None, description="None writes a new one")
    text: NoteText
    base: Seq = 0


class SeeAudit(Contract):
    """An audit that was looked at as part of the inquiry."""

    kind: Literal["audit"] = "audit"
    audit: AuditId


class Move(Contract):
    """Go on with another snapshot. Pins stay; each names the snapshot that it was made on."""

    kind: Literal["move"] = "move"
    snapshot: SnapshotId


class Undo(Contract):
    """Take an event back; None takes the caller's last one. Undoing an undo brings its event back."""

    kind: Literal["undo"] = "undo"
    event: Seq | None = None


Action = Annotated[
    Search | View | Steer | PinComponent | Unpin | WriteNote | SeeAudit | Move | Undo, Field(discriminator="kind")
]


class EventDraft(Contract):
    """One thing to add to the record."""

    action: Action


# --- what has happened -----------------------------------------------------------------------------
class Pinned(Contract):
    """A component that was kept, with what it was computed from and the samples that show it."""

    kind: Literal["pin"] = "pin"
    snapshot: str
    component: ComponentRef
    dataset: str
    lineage: str
    state: str
    clarity: FiniteFloat | None
    examples: list[SampleIndex]


class NoteWritten(Contract):
    """`before`: what the writer saw; `text`: what they sent; `after`: what the note said then, others' changes merged.

    `merge` is `clean` where others' changes were merged in, `both` where the same lines were changed and both kept.
    """

    kind: Literal["note"] = "note"
    note: NoteId
    before: NoteText
    text: NoteText
    after: str
    merge: Literal["none", "clean", "both"]


class AuditSeen(Contract):
    kind: Literal["audit"] = "audit"
    audit: AuditId
    snapshot: str
    passed: bool


class Moved(Contract):
    kind: Literal["move"] = "move"
    snapshot: str
    name: str


class Undone(Contract):
    kind: Literal["undo"] = "undo"
    event: Seq


Happened = Annotated[
    Search | View | Steer | Pinned | Unpin | NoteWritten | AuditSeen | Moved | Undone, Field(discriminator="kind")
]


class SessionEvent(Contract):
    """One event. `seq` numbers a session's events without gaps from 1; `by` is the user's name."""

    session: str
    seq: Seq
    user: str
    by: str
    at: datetime
    action: Happened
    what: str = Field(description="the action in words, to stand behind the user's name")
    correlation: str | None = None
