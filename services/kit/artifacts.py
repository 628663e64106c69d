"""Artifacts: which key has which bytes, and what it was computed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Integer, String, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from contracts.base import ArtifactKey
from contracts.errors import StaleArtifact
from services.kit.db import ReadSession, Table, Utc, WriteSession, upsert


class ArtifactRow(Table):
    """A stored result. The key says what it is of, `blob` which bytes it has."""

    __tablename__ = "artifact"
    workspace: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(80))
    blob: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(Utc)


class LineageRow(Table):
    """One edge of the graph of keys: `key` was computed from `input` in the role `role`."""

    __tablename__ = "lineage"
    workspace: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[str] = mapped_column(String(120), primary_key=True)
    input: Mapped[str] = mapped_column(String(64), index=True)


@dataclass(frozen=True)
class Artifact:
    """A stored result: its key, its kind (stage/output) and where its bytes are."""

    key: ArtifactKey
    kind: str
    blob: str
    size: int


def find_artifacts(db: ReadSession, workspace: str, keys: Iterable[str]) -> dict[str, Artifact]:
    """Return the artifacts of a workspace that exist under these keys, by key."""
    wanted = list(dict.fromkeys(keys))
    found: dict[str, Artifact] = {}
    for start in range(0, len(wanted), 500):  # SQLite takes a bounded number of parameters
        rows = db.scalars(
            select(ArtifactRow).where(
                ArtifactRow.workspace == workspace, ArtifactRow.key.in_(wanted[start : start + 500])
            )
        )
        found.update({row.key: Artifact(ArtifactKey(row.key), row.kind, row.blob, row.size) for row in rows})
    return found


def the_artifact(db: ReadSession, workspace: str, key: str) -> Artifact:
    """Return one artifact; a missing one is `StaleArtifact`."""
    artifact = find_artifacts(db, workspace, [key]).get(key)
    if artifact is None:
        raise StaleArtifact(f"nothing is stored under the key {key[:12]}", key=key)
    return artifact


def record_artifact(db: WriteSession, workspace: str, artifact: Artifact, inputs: Mapping[str, str]) -> None:
    """Write an artifact row and its lineage. The same key again, with newly computed bytes, replaces the row."""
    upsert(
        db,
        ArtifactRow,
        workspace=workspace,
        key=artifact.key,
        kind=artifact.kind,
        blob=artifact.blob,
        size=artifact.size,
        created_at=datetime.now(UTC),
    )
    for role, key in sorted(inputs.items()):
        upsert(db, LineageRow, workspace=workspace, key=artifact.key, role=role, input=key)


def forget_artifacts(db: WriteSession, workspace: str, keys: Iterable[str]) -> None:
    """Remove artifact rows (their lineage stays), so that the next job computes them again."""
    db.execute(delete(ArtifactRow).where(ArtifactRow.workspace == workspace, ArtifactRow.key.in_(list(keys))))


def inputs_of(db: ReadSession, workspace: str, key: str) -> dict[str, ArtifactKey]:
    """Return what an artifact was computed from: role -> key."""
    rows = db.scalars(select(LineageRow).where(LineageRow.workspace == workspace, LineageRow.key == key))
    return {row.role: ArtifactKey(row.input) for row in rows}


def ancestry(db: ReadSession, workspace: str, key: str) -> set[str]:
    """Return all keys that `key` depends on, itself included."""
    seen: set[str] = set()
    front = [key]
    while front:
        current = front.pop()
        if current not in seen:
            seen.add(current)
            front.extend(inputs_of(db, workspace, current).values())
    return seen
