"""What several gateways share through Redis: rate limits, counts of open streams, and wake-ups of live events.

Login sessions need nothing here: they are rows. If Redis is gone every gateway counts for itself and looks at the
database on its own, so nothing stops.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from contracts.base import Caller
from contracts.errors import TooManyRequests
from orchestration.gateway.events import Streams
from services.kit.logging import logger

log = logger(__name__)
CHANNEL = "xsys.job."
STREAMS = "xsys.streams."
SOCKET_SECONDS = 1.0
FALLBACK_POLL_SECONDS = 2.0


class Announcer:
    """Tells all gateways which jobs changed, after the change was committed."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS)
        self._quiet_until = 0.0

    def __call__(self, jobs: frozenset[str]) -> None:
        """Publish; a Redis that is gone is left alone for a while, since gateways poll as well."""
        if time.monotonic() < self._quiet_until:
            return
        try:
            for job in jobs:
                self._client.publish(CHANNEL + job, b"")
        except redis.RedisError as error:
            self._quiet_until = time.monotonic() + FALLBACK_POLL_SECONDS
            log.warning("announcement.not_sent", reason=str(error)[:200])


class SharedStreams(Streams):
    """Open streams counted over all gateways, and woken by what workers announce."""

    def __init__(self, url: str) -> None:
        # a look that began before it was told of a change may not have seen it: none is shared
        super().__init__(poll_seconds=FALLBACK_POLL_SECONDS, shared_seconds=0.0)
        self._client = redis.Redis.from_url(url, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS)
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening = threading.Event()

    def refuse_too_many(self, caller: Caller) -> None:
        """Refuse a stream beyond the limit, wherever the others are open."""
        key = STREAMS + caller.user
        try:
            self._client.zremrangebyscore(key, 0, time.time())
            count = int(self._client.zcard(key))
        except redis.RedisError:
            super().refuse_too_many(caller)
            return
        if count >= self.most:
            raise TooManyRequests(f"{self.most} event streams are open already", limit=self.most, retry_after=5)

    @contextmanager
    def counted(self, caller: Caller) -> Iterator[None]:
        """Count a stream for as long as it lives; one whose gateway died stops counting at its longest life."""
        key, name = STREAMS + caller.user, uuid.uuid4().hex
        with super().counted(caller):
            try:
                self._client.zadd(key, {name: time.time() + self.life_seconds})
                self._client.expire(key, int(self.life_seconds) + 1)
            except redis.RedisError as error:
                log.warning("streams.not_shared", reason=str(error)[:200])
            try:
                yield
            finally:
                try:
                    self._client.zrem(key, name)
                except redis.RedisError as error:
                    log.warning("streams.not_shared", reason=str(error)[:200])

    async def pause(self, job: str) -> None:
        """Wait until the job is said to have changed, or for the polling period."""
        self._listen()
        woken = asyncio.Event()
        self._waiting[job].add(woken)
        try:
            await asyncio.wait_for(woken.wait(), self.poll_seconds)
        except TimeoutError:
            pass
        finally:
            self._waiting[job].discard(woken)
            if not self._waiting[job]:
                del self._waiting[job]

    def _listen(self) -> None:
        self._loop = asyncio.get_running_loop()
        if not self._listening.is_set():
            self._listening.set()
            threading.Thread(target=self._hear, name="announcements", daemon=True).start()

    def _hear(self) -> None:
        while True:
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]
                    heard.psubscribe(f"{CHANNEL}*")
                    while True:
                        message = heard.get_message(timeout=SOCKET_SECONDS / 2)
                        if message is not None:
                            self._wake(message["channel"].decode().removeprefix(CHANNEL))
            except redis.RedisError as error:
                log.warning("announcements.not_heard", reason=str(error)[:200])
                time.sleep(FALLBACK_POLL_SECONDS)

    def _wake(self, job: str) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._set, job)

    def _set(self, job: str) -> None:
        for woken in self._waiting.get(job, ()):
            woken.set()
