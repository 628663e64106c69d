"""The log of who did what, whose entries are chained by hashes."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated

from pydantic import Field, JsonValue

from contracts.base import Contract

HEAD = r"^[0-9]{1,15}:[0-9a-f]{64}$"
Head = Annotated[str, Field(pattern=HEAD)]


class AuditLogEntry(Contract):
    """One act. `hash` covers everything here but `actor_name`, and the hash of the entry before."""

    seq: int
    at: datetime
    actor: str
    actor_name: str | None
    action: str
    subject: str
    facts: dict[str, JsonValue]
    correlation: str
    previous: str
    hash: str


class Tampering(enum.StrEnum):
    """What was done to an entry."""

    CHANGED = "changed"
    REMOVED = "removed"
    REORDERED = "reordered"
    REWRITTEN = "rewritten"


class BrokenEntry(Contract):
    """The first entry that is not as it was written."""

    seq: int
    reason: Tampering
    detail: str


class AuditLogReport(Contract):
    """Whether the log is as it was written.

    Whoever owns the database can cut its end or write all of it anew. Only a `head` that was kept elsewhere shows that.
    """

    workspace: str
    intact: bool
    entries: int
    head: str
    broken: BrokenEntry | None = None
