"""Live progress of a job as server-sent events.

An event is the whole job, and its id is the job's version: who reconnects with `Last-Event-ID` gets the newest state
if it is newer, so nothing is lost and nothing comes twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from contracts.base import Caller, Right
from contracts.errors import TooManyRequests, UnknownJob, XsysError
from contracts.jobs import Job, JobId, JobService
from orchestration.gateway.access import CanLook, Lasting
from services.kit.expose import documented_refusals

router = APIRouter(tags=["jobs"])

POLL_SECONDS = 0.5
LONGEST_STREAM_SECONDS = 600.0
MOST_STREAMS = 6
CHECK_SECONDS = 10.0  # how often a stream asks whether its login or token still holds
SHARED_SECONDS = 0.1  # streams that look at one thing within this time share the look


@dataclass
class Streams:
    """The open streams, counted per user: a browser that leaks streams is refused, not the server slowed."""

    poll_seconds: float = POLL_SECONDS
    life_seconds: float = LONGEST_STREAM_SECONDS
    most: int = MOST_STREAMS
    check_seconds: float = CHECK_SECONDS
    shared_seconds: float = SHARED_SECONDS
    open: Counter[str] = field(default_factory=Counter)

    def refuse_too_many(self, caller: Caller) -> None:
        """Refuse a stream beyond the limit."""
        if self.open[caller.user] >= self.most:
            raise TooManyRequests(f"{self.most} event streams are open already", limit=self.most, retry_after=5)

    @contextmanager
    def counted(self, caller: Caller) -> Iterator[None]:
        """Count a stream for as long as it lives, however it ends."""
        self.open[caller.user] += 1
        try:
            yield
        finally:
            self.open[caller.user] -= 1
            if self.open[caller.user] <= 0:
                del self.open[caller.user]

    async def pause(self, job: str) -> None:
        """Wait until it is worth looking at the job, or the session, again: all streams at once, to look together."""
        period = self.poll_seconds
        await asyncio.sleep(period - time.monotonic() % period if period > 0 else 0)


@dataclass(frozen=True)
class Watch:
    """A request to watch a job, checked before the stream begins: refusals are problem documents, not events."""

    job: Job
    caller: Caller
    jobs: JobService
    streams: Streams
    lasting: Lasting


def watch_of(request: Request, caller: CanLook, job: JobId) -> Watch:
    """Check access and find the job."""
    jobs: JobService = request.app.state.jobs
    streams: Streams = request.app.state.streams
    streams.refuse_too_many(caller)
    lasting = Lasting(request, Right.LOOK, streams.check_seconds)
    return Watch(jobs.job(caller, job), caller, jobs, streams, lasting)


async def states(watch: Watch, last: int) -> AsyncIterator[Job]:
    """Yield the job whenever its version grew, until it has ended or the stream is old enough.

    No DB session is open between two polls, and no thread is held.
    """
    ends = time.monotonic() + watch.streams.life_seconds
    job = watch.job
    while True:
        if job.version > last:
            last = job.version
            yield job
        if job.ended_at is not None or time.monotonic() > ends:
            return
        await watch.streams.pause(job.id)
        await watch.lasting()
        job = await run_in_threadpool(watch.jobs.job, watch.caller, job.id)


@router.get(
    "/jobs/{job}/events",
    operation_id="jobs_events",
    summary="Watch a job: one event for every change, with the whole job as data",
    response_class=EventSourceResponse,
    responses=documented_refusals(UnknownJob),
    openapi_extra={"x-right": str(Right.LOOK)},
)
async def events(
    caller: CanLook,
    watch: Annotated[Watch, Depends(watch_of)],
    last_event_id: Annotated[int | None, Header(ge=0, lt=2**63)] = None,
) -> AsyncIterator[ServerSentEvent]:
    """`event: job` for every change, `event: end` when the job has ended, `event: reconnect` after ten minutes."""
    with watch.streams.counted(caller):
        last, ended = last_event_id or 0, watch.job.ended_at is not None
        try:
            async for job in states(watch, last):
                last, ended = job.version, job.ended_at is not None
                yield ServerSentEvent(event="job", id=str(job.version), data=job)
        except XsysError as error:  # the job vanished or access ended while it was watched: headers are sent already
            yield ServerSentEvent(event="refused", data={"title": type(error).__name__, "detail": error.detail})
            return
        yield ServerSentEvent(event="end" if ended else "reconnect", data={"job": watch.job.id, "last": last})
