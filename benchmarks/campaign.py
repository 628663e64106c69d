"""A small job with known bytes, for fault campaigns and scaling: hashes in parts, then their sum."""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import dataclass

from contracts.base import Caller, Right
from orchestration.jobs.bell import CeleryBell
from orchestration.jobs.service import Jobs
from services.kit.artifacts import ArtifactRow
from services.kit.blobs import Blobs
from services.kit.db import Database, Table
from services.kit.keys import artifact_key
from services.kit.settings import Settings
from services.kit.stages import JobPlan, PartPlan, StageFunction, StagePlan, StageRegistry, Work

ME = Caller(user="campaign", workspace="campaign", rights=frozenset(Right))
WIRING = "benchmarks.campaign:build"
TABLES = (ArtifactRow.__tablename__,)  # imported, so that it is made


@dataclass(frozen=True)
class Wiring:
    """What a worker needs, and the jobs."""

    settings: Settings
    database: Database
    blobs: Blobs
    registry: StageRegistry
    core: Jobs


def hash_of(salt: str, number: int) -> bytes:
    """Bytes that part `number` has to put out."""
    return hashlib.sha256(f"{salt}/{number}".encode()).digest()


def sum_of(salt: str, parts: int) -> bytes:
    """Bytes that the last stage has to put out."""
    return hashlib.sha256(b"".join(hash_of(salt, number) for number in range(parts))).digest()


def hashing(work: Work) -> None:
    """Hash, in steps with pauses, so that there is time to be killed in."""
    for _ in range(int(str(work.spec["steps"]))):
        time.sleep(float(str(work.spec["pause"])))
        work.advance(1)
    with work.writing("digest") as path:
        path.write_bytes(hash_of(str(work.spec["salt"]), int(str(work.spec["number"]))))


def summing(work: Work) -> None:
    """Hash all digests together."""
    work.advance(0)
    together = b"".join(work.path(role).read_bytes() for role in sorted(work.inputs))
    with work.writing("sum") as path:
        path.write_bytes(hashlib.sha256(together).digest())


def skewed(settings: Settings) -> Wiring:
    """Build on a machine whose clock is five minutes ahead or behind."""
    offset, real = random.choice((-300.0, 300.0)), time.time
    time.time = lambda: real() + offset
    return build(settings)


def build(settings: Settings) -> Wiring:
    """Put the wiring together."""
    settings.home.mkdir(parents=True, exist_ok=True)
    database = Database(settings.resolved_database_url)
    Table.metadata.create_all(database.engine)
    blobs = Blobs(settings.blob_folder)
    registry = StageRegistry((StageFunction("hash", 1, hashing), StageFunction("sum", 1, summing)))
    return Wiring(settings, database, blobs, registry, Jobs(database, blobs, settings, CeleryBell(settings), registry))


def keys_of(salt: str, parts: int) -> tuple[list[str], str]:
    """Return the keys of the parts' artifacts, and of the sum."""
    keys = [
        artifact_key("hash", version=1, inputs=[], params={"salt": salt, "number": number}) for number in range(parts)
    ]
    return keys, artifact_key("sum", version=1, inputs=keys, params={})


def plan(salt: str, *, parts: int, steps: int = 3, pause: float = 0.03) -> JobPlan:
    """Plan a job whose bytes depend on the salt alone."""
    keys, total = keys_of(salt, parts)
    spec = {"salt": salt, "steps": steps, "pause": pause}
    hashes = tuple(
        PartPlan({**spec, "number": number}, {}, {"digest": key}, units=steps) for number, key in enumerate(keys)
    )
    roles = {f"digest/{number:04d}": key for number, key in enumerate(keys)}
    stages = (StagePlan("hash", hashes, unit="steps"), StagePlan("sum", (PartPlan({}, roles, {"sum": total}),)))
    return JobPlan("campaign", f"hash {salt}", stages, result=total[:16])
