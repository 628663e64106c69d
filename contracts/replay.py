"""Asking again what was asked, and holding the answer against the record."""

from __future__ import annotations

import enum

from pydantic import Field

from contracts.base import Contract


class ReplayVerdict(enum.StrEnum):
    """`same`: as recorded. `refused`: it can no longer be asked. `nothing`: the event holds no answer to recompute."""

    SAME = "same"
    DIFFERS = "differs"
    REFUSED = "refused"
    NOTHING = "nothing"


class Replay(Contract):
    """One event of an analysis session, computed again. `differences` name what was recorded and what comes now."""

    session: str
    seq: int
    kind: str
    verdict: ReplayVerdict
    checked: list[str] = Field(description="what was compared")
    differences: list[str] = Field(default=[], description="the first twenty")
    detail: str = Field(default="", description="why there is nothing to compare, or the refusal")
