"""A wiring with tiny stages, for tests of the machinery alone: the worker is told `--wiring tests.jobs.tiny:build`."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from contracts.base import Caller, Right
from contracts.errors import NonFiniteActivation
from orchestration.jobs.bell import CeleryBell
from orchestration.jobs.service import Jobs
from services.kit.artifacts import ArtifactRow
from services.kit.blobs import Blobs
from services.kit.db import Database, Table
from services.kit.keys import artifact_key
from services.kit.settings import Settings
from services.kit.stages import JobPlan, PartPlan, StageFunction, StagePlan, StageRegistry, Work

ME = Caller(user="me", workspace="ours", rights=frozenset(Right))
OTHER = Caller(user="you", workspace="theirs", rights=frozenset(Right))
assert ArtifactRow.__tablename__ == "artifact"


@dataclass(frozen=True)
class Wiring:
    settings: Settings
    database: Database
    blobs: Blobs
    registry: StageRegistry
    core: Jobs


def note(work: Work, text: str) -> None:
    """Leave a mark outside the database: how often a part really ran."""
    log = Path(str(work.spec["log"]))
    with log.open("a") as file:
        file.write(text + "\n")


def hashing(work: Work) -> None:
    """Hash a number slowly: a thousand times per step, with a pause, in `steps` steps."""
    note(work, f"begin {work.spec['number']}")
    digest = str(work.spec["number"]).encode()
    for _ in range(int(work.spec["steps"])):
        digest = hashlib.sha256(digest).digest()
        time.sleep(float(work.spec["pause"]))
        work.advance(1)
    with work.writing("digest") as path:
        path.write_bytes(digest * int(work.spec.get("repeat", 1)))
    note(work, f"end {work.spec['number']}")


def joining(work: Work) -> None:
    """Hash all digests together."""
    note(work, "begin join")
    together = hashlib.sha256(b"".join(work.path(role).read_bytes() for role in sorted(work.inputs))).hexdigest()
    work.emit_record("sum", {"sum": together})
    work.result = together[:16]
    work.advance(1)
    note(work, "end join")


def poisoned(work: Work) -> None:
    """Fail for odd numbers: with a bug, or with a refusal."""
    number = int(work.spec["number"])
    note(work, f"begin {number}")
    if number % 2:
        if work.spec["how"] == "refusal":
            raise NonFiniteActivation("a NaN", layer="x", sample=number)
        if work.spec["how"] == "death":
            os.kill(os.getpid(), 9)
        raise KeyError(f"no {number}")
    work.emit_record("digest", {"number": number})
    work.advance(1)


def build(settings: Settings) -> Wiring:
    settings.home.mkdir(parents=True, exist_ok=True)
    database = Database(settings.resolved_database_url)
    Table.metadata.create_all(database.engine)
    blobs = Blobs(settings.blob_folder)
    registry = StageRegistry(
        (StageFunction("hash", 1, hashing), StageFunction("join", 1, joining), StageFunction("poison", 1, poisoned))
    )
    return Wiring(settings, database, blobs, registry, Jobs(database, blobs, settings, CeleryBell(settings), registry))


def hash_plan(log: Path, *, parts: int = 6, steps: int = 4, pause: float = 0.05, repeat: int = 1) -> JobPlan:
    """`parts` slow hashes, then their sum."""
    spec = {"log": str(log), "steps": steps, "pause": pause, "repeat": repeat}
    keys = [
        artifact_key("hash", version=1, inputs=[], params={"n": n, "steps": steps, "r": repeat}) for n in range(parts)
    ]
    hashes = tuple(
        PartPlan({**spec, "number": number}, {}, {"digest": key}, units=steps) for number, key in enumerate(keys)
    )
    roles = {f"digest/{number:03d}": key for number, key in enumerate(keys)}
    total = artifact_key("join", version=1, inputs=keys, params={})
    stages = (
        StagePlan("hash", hashes, unit="steps"),
        StagePlan("join", (PartPlan({"log": str(log)}, roles, {"sum": total}),)),
    )
    return JobPlan("tiny", "hash and join", stages, result=total[:16])


def poison_plan(log: Path, *, how: str, parts: int = 4) -> JobPlan:
    """Parts of which every second one cannot succeed."""
    keys = [artifact_key("poison", version=1, inputs=[], params={"n": n, "how": how}) for n in range(parts)]
    specs = ({"log": str(log), "number": number, "how": how} for number in range(parts))
    made = tuple(PartPlan(spec, {}, {"digest": key}) for spec, key in zip(specs, keys, strict=True))
    return JobPlan("tiny", f"poison by {how}", (StagePlan("poison", made),))
