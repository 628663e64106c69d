"""An analysis session from a script or notebook."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, Literal

import httpx

from contracts.session_events import Action, EventDraft, Move, PinComponent, SessionEvent, Undo, Unpin, WriteNote
from contracts.sessions import Access, AnalysisSession, BranchRequest, LinkRequest, NewShareLink, Note, SessionState
from xsys_client.display import number, table

PAUSE_SECONDS = 1.0


class Session:
    """One analysis session. Its record grows by what is done here and by what others do meanwhile."""

    def __init__(self, service: Any, http: httpx.Client, session: str) -> None:
        self._service = service
        self._http = http
        self.id = session

    def read(self) -> AnalysisSession:
        """Members, and what the events add up to now."""
        found: AnalysisSession = self._service.session(self.id)
        return found

    @property
    def state(self) -> SessionState:
        """Pins, notes, snapshot, and where everybody was last."""
        return self.read().state

    def act(self, action: Action) -> SessionEvent:
        """Add an event; sent again after a lost answer it is added once."""
        added: SessionEvent = self._service.act(self.id, EventDraft(action=action), idempotency_key=uuid.uuid4().hex)
        return added

    def pin(self, layer: str, index: int, sign: Literal[1, -1] = 1) -> SessionEvent:
        """Keep a component of the session's snapshot."""
        return self.act(PinComponent(layer=layer, index=index, sign=sign))

    def unpin(self, layer: str, index: int, sign: Literal[1, -1] = 1) -> SessionEvent:
        """Take a pin away."""
        return self.act(Unpin(layer=layer, index=index, sign=sign))

    def note(self, text: str) -> SessionEvent:
        """Write a new note."""
        return self.act(WriteNote(text=text))

    def edit(self, note: Note, text: str) -> SessionEvent:
        """Change a note that was read before; what others wrote in it since is kept."""
        return self.act(WriteNote(note=note.id, text=text, base=note.seq))

    def move(self, snapshot: str) -> SessionEvent:
        """Go on with another snapshot."""
        return self.act(Move(snapshot=snapshot))

    def undo(self, event: int | None = None) -> SessionEvent:
        """Take an event back; without a number your last one."""
        return self.act(Undo(event=event))

    def events(self) -> Iterator[SessionEvent]:
        """Read the whole record, oldest first."""
        cursor = None
        while True:
            page = self._service.history(self.id, "oldest", 200, cursor)
            yield from page.items
            cursor = page.next
            if cursor is None:
                return

    def follow(self, after: int = 0) -> Iterator[SessionEvent]:
        """Yield events as they happen, from the one behind `after` on, without end and across lost connections.

        Raises
        ------
        httpx.HTTPStatusError : the server refuses, such as after one was taken out of the session.
        """
        last = after
        while True:
            try:
                with self._http.stream(
                    "GET", f"/sessions/{self.id}/events", params={"after": last}, timeout=httpx.Timeout(30.0)
                ) as answer:
                    answer.raise_for_status()
                    for event in _events_in(answer):
                        last = event.seq
                        yield event
            except httpx.TransportError:
                time.sleep(PAUSE_SECONDS)

    def branch(self, name: str, at: int | None = None) -> Session:
        """Copy the record up to an event into a session of your own."""
        made: AnalysisSession = self._service.branch(self.id, BranchRequest(name=name, at=at))
        return Session(self._service, self._http, made.id)

    def share(self, access: Literal["view", "edit"] = "view", days: int = 30) -> NewShareLink:
        """Make a link for others of the workspace; its secret is shown once."""
        made: NewShareLink = self._service.share(self.id, LinkRequest(access=Access(access), days=days))
        return made

    def export(self, path: str | Path, format: Literal["html", "python", "json"] = "html") -> Path:
        """Write the report, the script that repeats the session, or its events; return the path."""
        target = Path(path)
        target.write_bytes(self._service.report(self.id, format).body)
        return target

    def __repr__(self) -> str:
        return f"Session({self.id!r})"

    def _repr_html_(self) -> str:
        found = self.read()
        names = {member.user: member.name for member in found.members}
        pins = (
            (
                escape(f"{pin.pinned.component.layer} · {pin.pinned.component.index}"),
                number(pin.pinned.clarity),
                escape(names.get(pin.user, pin.user)),
            )
            for pin in found.state.pins
        )
        notes = "".join(f"<pre>{escape(note.text)}</pre>" for note in found.state.notes)
        return f"<h4>{escape(found.name)}</h4>{table(('pinned', 'clarity', 'by'), pins)}{notes}"


def _events_in(answer: httpx.Response) -> Iterator[SessionEvent]:
    kind = ""
    for line in answer.iter_lines():
        name, _, value = line.partition(":")
        if name == "event":
            kind = value.strip()
        elif name == "data" and kind == "event":
            yield SessionEvent.model_validate(json.loads(value))
