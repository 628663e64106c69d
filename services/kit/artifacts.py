"""Artifacts: which key has which bytes, and what it was computed from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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


def artifact_rows(db: ReadSession, workspace: str, keys: Iterable[str]) -> dict[str, ArtifactRow]:
    """Return the rows of a workspace that exist under these keys, by key."""
    found: dict[str, ArtifactRow] = {}
    for some in batched(list(dict.fromkeys(keys)), 500):
        query = select(ArtifactRow).where(ArtifactRow.workspace == workspace, ArtifactRow.key.in_(some))
        found.update({row.key: row for row in db.scalars(query)})
    return found


def find_artifacts(db: ReadSession, workspace: str, keys: Iterable[str]) -> dict[str, Artifact]:
    """Return the artifacts of a workspace that exist under these keys, by key."""
    rows = artifact_rows(db, workspace, keys)
    return {key: Artifact(ArtifactKey(key), row.kind, row.blob, row.size) for key, row in rows.items()}


def batched(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Cut keys into pieces: SQLite takes a bounded number of parameters."""
    return (keys[start : start + size] for start in range(0, len(keys), size))


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


def ancestors(
    db: ReadSession, workspace: str, keys: Iterable[str], known: Collection[str] = ()
) -> dict[str, dict[str, str]]:
    """Return all keys that `keys` depend on, themselves included, with their inputs by role; not what is `known`."""
    seen: dict[str, dict[str, str]] = {}
    front = sorted(set(keys) - set(known))
    while front:
        seen.update({key: {} for key in front})
        following: set[str] = set()
        for some in batched(front, 500):
            query = select(LineageRow).where(LineageRow.workspace == workspace, LineageRow.key.in_(some))
            for row in db.scalars(query.order_by(LineageRow.key, LineageRow.role)):
                seen[row.key][row.role] = row.input
                following.add(row.input)
        front = sorted(following - seen.keys() - set(known))
    return seen


def ancestry(db: ReadSession, workspace: str, key: str) -> set[str]:
    """Return all keys that `key` depends on, itself included."""
    return set(ancestors(db, workspace, [key]))
