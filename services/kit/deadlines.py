"""Deadlines that travel: what a request has left is what the calls made for it may take."""

from __future__ import annotations

import contextvars
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from contracts.errors import DeadlinePassed

HEADER = "X-Deadline"
LONGEST_SECONDS = 600.0
_ends: contextvars.ContextVar[float | None] = contextvars.ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give what runs inside at most `seconds`; an outer deadline that ends earlier stays in force."""
    ends, outer = time.monotonic() + seconds, _ends.get()
    token = _ends.set(ends if outer is None else min(ends, outer))
    try:
        yield
    finally:
        _ends.reset(token)


def seconds_left() -> float | None:
    """Seconds until the deadline of what runs now, negative if it has passed; None without one."""
    ends = _ends.get()
    return None if ends is None else ends - time.monotonic()


def refuse_late() -> None:
    """Begin nothing that nobody waits for any more."""
    left = seconds_left()
    if left is not None and left <= 0:
        raise DeadlinePassed("the request waited longer than its caller does")


def seconds_of(header: str | None) -> float | None:
    """Read the header's seconds; what is no positive number is as good as none."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return min(seconds, LONGEST_SECONDS) if math.isfinite(seconds) and seconds > 0 else None


class Deadlines:
    """Middleware: the deadline of a request is the one that its caller sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        seconds = seconds_of(Headers(scope=scope).get(HEADER)) if scope["type"] == "http" else None
        if seconds is None:
            await self.app(scope, receive, send)
            return
        with within(seconds):
            await self.app(scope, receive, send)
