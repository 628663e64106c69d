"""Where a result comes from: the graph of keys, back to weights and pictures."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Contract
from contracts.errors import NotFound

LineageKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class UnknownArtifact(NotFound):
    remedy = "Ask for the `lineage` of a snapshot, a model, a label set or another answer, as it stands there."


class LineageEdge(Contract):
    """What a step was computed from: another step's number in the list, and how many inputs that were."""

    step: int
    inputs: int


class LineageStep(Contract):
    """Artifacts of one kind (`stage/output`) on the way. `gone` ones are known, and their bytes are not kept any more.

    `level` counts the steps from the result, which has 0; every edge leads to a higher level, but for a step that
    comes again and again, such as an epoch.
    """

    kind: str
    level: int
    artifacts: int
    gone: int
    bytes: int
    keys: list[str] = Field(description="the first twenty, sorted")
    first_at: datetime | None
    last_at: datetime | None
    computed_from: list[LineageEdge]


class LineageOrigin(Contract):
    """A registered model or dataset that a step is, or was computed from."""

    kind: Literal["model", "dataset"]
    id: str
    name: str
    sha256: str = Field(description="of the model (weights, architecture, preprocessing), or of the dataset's manifest")
    step: int


class Lineage(Contract):
    """All that one artifact depends on, by kind, from the result to the origins."""

    of: str
    artifacts: int
    bytes: int
    steps: list[LineageStep]
    origins: list[LineageOrigin]
