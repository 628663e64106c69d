"""Callers who have gone: work that nobody waits for is not begun."""

from __future__ import annotations

import asyncio
import contextvars
import threading

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_WAITING = 4  # pieces of a body that are read ahead of whoever consumes them
_gone: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("caller_gone", default=None)


def departure() -> threading.Event | None:
    """Return an event that is set when the caller of what runs now hangs up; None outside of a request."""
    return _gone.get()


class Departures:
    """Middleware that goes on listening after the body is read, and notices when the client hangs up.

    A synchronous endpoint runs in a thread and cannot be interrupted, but what it is about to queue can be left out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        gone = threading.Event()
        messages: asyncio.Queue[Message] = asyncio.Queue(MOST_WAITING)

        async def listen() -> None:
            while not gone.is_set():
                message = await receive()
                if message["type"] == "http.disconnect":
                    gone.set()
                await messages.put(message)

        listening = asyncio.create_task(listen())
        token = _gone.set(gone)
        try:
            await self.app(scope, messages.get, send)
        finally:
            _gone.reset(token)
            listening.cancel()
