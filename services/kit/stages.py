"""Offline work: stages are functions from artifacts to artifacts; leases, progress and storage wrap them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from contracts.base import Arrays, ArtifactKey
from services.kit.arrays import load_arrays, save_arrays
from services.kit.blobs import Blobs, storage_full_is_typed
from services.kit.db import WriteSession


@dataclass(frozen=True)
class PartPlan:
    """The smallest unit that a worker claims.

    Parameters
    ----------
    spec : everything the stage function needs to know that is not bytes; JSON.
    inputs : role -> key of an artifact that an earlier stage makes, or that exists.
    outputs : name -> key of each artifact that the part makes; planned ahead, so that what exists is not redone.
    units : how much progress the part is worth, in the stage's unit.
    """

    spec: dict[str, JsonValue]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    units: int = 1


@dataclass(frozen=True)
class StagePlan:
    """All parts of one stage of a job. Parts of one stage may run at once; stages run one after the other."""

    stage: str
    parts: tuple[PartPlan, ...]
    unit: str = "parts"
    queue: str = "cpu"
    title: str = ""


@dataclass(frozen=True)
class JobPlan:
    """What a job consists of. `result` names what it makes, known beforehand where keys decide it."""

    kind: str
    title: str
    stages: tuple[StagePlan, ...]
    result: str | None = None


@dataclass
class Work:
    """What a stage function is given: its part's spec, its inputs, and a place to put its outputs.

    Parameters
    ----------
    workspace : the tenant for whom the part runs.
    inputs : role -> sha256 of the input's bytes.
    missing : the outputs that do not exist yet; only these have to be made.
    tick : called with the units done by `advance`; raises `LeaseLost` or `Cancelled` when the part must stop.
    """

    workspace: str
    spec: dict[str, JsonValue]
    inputs: Mapping[str, str]
    missing: frozenset[str]
    blobs: Blobs
    tick: Callable[[int], None]
    keys: Mapping[str, str] = field(default_factory=dict)
    emitted: dict[str, str] = field(default_factory=dict)
    at_publish: list[Callable[[WriteSession], None]] = field(default_factory=list)
    result: str | None = None

    def path(self, role: str) -> Path:
        """Path of an input's bytes, checked against their hash."""
        return self.blobs.open(self.inputs[role])

    def arrays(self, role: str) -> Arrays:
        """Read an input that was emitted as arrays."""
        return load_arrays(self.path(role))

    def record(self, role: str) -> dict[str, JsonValue]:
        """Read an input that was emitted as a JSON object."""
        return dict(json.loads(self.path(role).read_bytes()))

    def advance(self, units: int = 1) -> None:
        """Report progress and stop here, by exception, if the part was cancelled or taken over."""
        self.tick(units)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Open a temporary path for output `name`; when the block ends well the file is kept."""
        path = self.blobs.temporary(name.replace("/", "_")[:60])
        try:
            with storage_full_is_typed():
                yield path
            self.emitted[name] = self.blobs.keep(path)
        finally:
            path.unlink(missing_ok=True)

    def emit_arrays(self, name: str, arrays: Arrays, facts: Mapping[str, object] | None = None) -> None:
        """Put out arrays, with JSON facts in the header."""
        with self.writing(name) as path:
            save_arrays(path, arrays, facts)

    def emit_record(self, name: str, record: Mapping[str, object]) -> None:
        """Put out a JSON object, canonically written."""
        with self.writing(name) as path:
            path.write_text(
                json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
            )

    def when_published(self, move: Callable[[WriteSession], None]) -> None:
        """Have `move` run in the transaction that publishes the part: all of it happens, or none."""
        self.at_publish.append(move)


@dataclass(frozen=True)
class StageFunction:
    """A registered stage: name, version (raised by hand when its bytes change) and the function itself."""

    name: str
    version: int
    run: Callable[[Work], None]


class StageRegistry:
    """All stages that a worker can run, by name. Filled by bootstrap from each service's `stages.py`."""

    def __init__(self, stages: tuple[StageFunction, ...] = ()) -> None:
        self._stages: dict[str, StageFunction] = {}
        for stage in stages:
            if stage.name in self._stages:
                raise ValueError(f"two stages are named {stage.name}")
            self._stages[stage.name] = stage

    def __getitem__(self, name: str) -> StageFunction:
        return self._stages[name]

    @property
    def names(self) -> frozenset[str]:
        """All stage kinds."""
        return frozenset(self._stages)

    def version(self, name: str) -> int:
        """Version of a stage, for its artifacts' keys."""
        return self._stages[name].version


__all__ = ["ArtifactKey", "JobPlan", "PartPlan", "StageFunction", "StagePlan", "StageRegistry", "Work"]
