"""An analysis session as server-sent events: its events by number, and who is here.

An event's id is its number, so that who reconnects with `Last-Event-ID` gets what came since: nothing is lost and
nothing comes twice. Presence has no id; the newest one is sent after each connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from contracts.base import Caller, Right
from contracts.errors import XsysError
from contracts.session_events import SessionEvent
from contracts.sessions import Present, SessionId, UnknownAnalysisSession
from orchestration.gateway.access import CanLook, Lasting
from orchestration.gateway.events import Streams
from orchestration.sessions.service import Sessions
from orchestration.sessions.sharing import Head
from services.kit.db import TRANSIENT
from services.kit.expose import documented_refusals
from services.kit.logging import logger

router = APIRouter(tags=["sessions"])

log = logger(__name__)

PULSE_SECONDS = 10.0  # how often presence is renewed and access checked again
PAGE = 200


@dataclass
class Looks:
    """One look at a session serves all streams of it that ask within `shared_seconds` of each other."""

    shared_seconds: float = 0.1
    known: dict[str, tuple[float, asyncio.Task[Head]]] = field(default_factory=dict)
    pages: dict[str, tuple[int, int, asyncio.Task[list[SessionEvent]]]] = field(default_factory=dict)

    async def head(self, sessions: Sessions, session: str) -> Head:
        """Look, or take part in a look that has just begun."""
        began, task = self.known.get(session, (0.0, None))
        if task is None or time.monotonic() - began > self.shared_seconds or task.get_loop().is_closed():
            task = asyncio.ensure_future(run_in_threadpool(sessions.head, session))
            self.known[session] = (time.monotonic(), task)
            task.add_done_callback(lambda done: self._forget(session, done))
        return await asyncio.shield(task)  # a viewer who leaves takes nobody's look away

    async def news(self, sessions: Sessions, session: str, last: int, until: int) -> list[SessionEvent]:
        """Read the events behind `last`, once for all streams that stand there and know of `until`."""
        place, seq, task = self.pages.get(session, (-1, -1, None))
        broken = task is not None and task.done() and (task.cancelled() or task.exception() is not None)
        if task is None or broken or (place, seq) != (last, until) or task.get_loop().is_closed():
            task = asyncio.ensure_future(run_in_threadpool(sessions.news, session, last, PAGE))
            self.pages[session] = (last, until, task)
            if len(self.pages) > 1000:
                self.pages.pop(next(iter(self.pages)))
        return await asyncio.shield(task)

    def _forget(self, session: str, done: asyncio.Task[Head]) -> None:
        if len(self.known) > 1000 and self.known.get(session, (0.0, None))[1] is done:
            del self.known[session]


@dataclass(frozen=True)
class Attendance:
    """A request to follow a session, checked before the stream begins: refusals are problem documents, not events."""

    session: str
    caller: Caller
    sessions: Sessions
    streams: Streams
    looks: Looks
    lasting: Lasting


def attendance_of(request: Request, caller: CanLook, session: SessionId) -> Attendance:
    """Check access and note that somebody is here."""
    streams: Streams = request.app.state.streams
    streams.refuse_too_many(caller)
    sessions: Sessions = request.app.state.wiring.sessions
    sessions.still_here(caller, session)
    lasting = Lasting(request, Right.LOOK, streams.check_seconds)
    return Attendance(session, caller, sessions, streams, request.app.state.looks, lasting)


async def told(at: Attendance, last: int) -> AsyncIterator[ServerSentEvent]:
    """Yield what is new until the stream is old enough. Between two looks no DB session and no thread is held."""
    ends = time.monotonic() + at.streams.life_seconds
    pulse = time.monotonic() + PULSE_SECONDS
    present: Present | None = None
    while True:
        head = await at.looks.head(at.sessions, at.session)
        while head.seq > last:
            page = await at.looks.news(at.sessions, at.session, last, head.seq)
            for event in page:
                last = event.seq
                yield ServerSentEvent(event="event", id=str(event.seq), data=event)
            if not page:
                break
        if head.present != present:
            present = head.present
            yield ServerSentEvent(event="presence", data=present)
        if time.monotonic() > ends:
            yield ServerSentEvent(event="reconnect", data={"session": at.session, "last": last})
            return
        await at.streams.pause(at.session)
        await at.lasting()
        if time.monotonic() > pulse:
            pulse = time.monotonic() + PULSE_SECONDS
            await run_in_threadpool(_pulse, at)


def _pulse(at: Attendance) -> None:
    """Renew presence. A database that is busy for a moment ends no stream."""
    try:
        at.sessions.still_here(at.caller, at.session)
    except TRANSIENT as error:
        log.warning("session.pulse_missed", session=at.session, reason=str(error)[:200])


@router.get(
    "/sessions/{session}/events",
    operation_id="sessions_events",
    summary="Follow an analysis session: its events by number, and who is here",
    response_class=EventSourceResponse,
    responses=documented_refusals(UnknownAnalysisSession),
    openapi_extra={"x-right": str(Right.LOOK)},
)
async def events(
    caller: CanLook,
    attendance: Annotated[Attendance, Depends(attendance_of)],
    after: Annotated[int, Query(ge=0, lt=2**53, description="the last event that is known")] = 0,
    last_event_id: Annotated[int | None, Header(ge=0, lt=2**53)] = None,
) -> AsyncIterator[ServerSentEvent]:
    """`event: event` for each event, `event: presence` when somebody comes, goes or looks elsewhere.

    `event: reconnect` comes after ten minutes, `event: refused` when access ends.
    """
    with attendance.streams.counted(caller):
        try:
            async for event in told(attendance, max(after, last_event_id or 0)):
                yield event
        except XsysError as error:  # membership ended while it was followed: headers are sent already
            yield ServerSentEvent(event="refused", data={"title": type(error).__name__, "detail": error.detail})
