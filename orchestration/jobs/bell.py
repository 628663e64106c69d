"""Bells: tell workers that parts are waiting. A bell may be lost, doubled or late without harm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from orchestration.jobs.repository import resources_of
from services.kit.db import Database, WriteSession
from services.kit.logging import logger
from services.kit.settings import Settings

MOST_RINGS = 8  # workers go on to the next queued part by themselves: one bell a worker is enough to begin with


class Bell(Protocol):
    """Tells workers that parts are waiting."""

    def ring(self, parts: Mapping[str, str]) -> None:
        """Tell that these parts are queued: part -> what its stage needs (`cpu`, `gpu`, `io`, `reduce`)."""
        ...


class CeleryBell:
    """Rings by sending Celery's one task, with the part's id as its only argument."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def ring(self, parts: Mapping[str, str]) -> None:
        """Send one message a part; a broker that is gone is not an error, since the reaper rings again."""
        if not parts:
            return
        from kombu.exceptions import KombuError
        from redis.exceptions import RedisError

        from orchestration.jobs.celery_app import TASK, celery_app, queue_of

        app = celery_app(self._settings)
        try:
            with app.producer_or_acquire() as producer:
                for part, resource in parts.items():
                    queue = queue_of(self._settings, resource)
                    app.send_task(TASK, args=[part], queue=queue, producer=producer)
        except (KombuError, RedisError, OSError) as error:
            logger(__name__).warning("bell.not_heard", parts=len(parts), reason=str(error)[:200])


class SilentBell:
    """Rings nobody, for callers that work parts off themselves."""

    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring(self, parts: Mapping[str, str]) -> None:
        """Remember who would have been rung for."""
        self.rung.extend(parts)


class Transaction:
    """A write transaction that collects the parts to ring for."""

    def __init__(self, db: WriteSession) -> None:
        self.db = db
        self.queued: list[str] = []


@contextmanager
def unit_of_work(database: Database, bell: Bell) -> Iterator[Transaction]:
    """Open one write transaction. Leaving by exception rolls back, and then nobody is rung."""
    with database.writing() as db:
        transaction = Transaction(db)
        yield transaction
        waiting = resources_of(db, transaction.queued[:MOST_RINGS])
    bell.ring(waiting)
