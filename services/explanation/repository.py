"""Every SQL statement about snapshots."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select

from contracts.errors import Conflict, UnknownLabels, UnknownSnapshot
from contracts.labels import LabelSet
from contracts.snapshots import Snapshot
from services.explanation.rows import LabelSetRow, SnapshotRow
from services.kit.db import ReadSession, WriteSession
from services.kit.named import by_id_or_name


def snapshot_row(db: ReadSession, workspace: str, snapshot: str) -> SnapshotRow:
    """Return a snapshot's row by id or name; one of another workspace is unknown."""
    row = by_id_or_name(db, SnapshotRow, workspace, snapshot)
    if row is None:
        raise UnknownSnapshot(f"there is no snapshot {snapshot}", field="snapshot")
    return row


def newest_encoder(db: ReadSession) -> str | None:
    """Return the name of the encoder of the newest snapshot of all workspaces; nothing else of it is told."""
    record = db.scalar(select(SnapshotRow.snapshot).order_by(SnapshotRow.created_at.desc()).limit(1))
    return None if record is None else str(record["encoder"]["name"])


def publish_snapshot(db: WriteSession, workspace: str, snapshot: Snapshot, artifacts: Mapping[str, str]) -> None:
    """Write a snapshot's row; the same snapshot again changes nothing.

    A name is a pointer to the newest snapshot of one request: after an upgrade that computes it anew, the name moves,
    and the older snapshot stays under its name with its id behind it.

    Raises
    ------
    Conflict : the name belongs to a snapshot of another request.
    """
    query = select(SnapshotRow).where(SnapshotRow.workspace == workspace, SnapshotRow.name == snapshot.name)
    holder = db.scalar(query)
    if holder is not None and holder.id != snapshot.id:
        if holder.snapshot["request"] != snapshot.request.model_dump(mode="json"):
            raise Conflict(f"the name {snapshot.name} belongs to {holder.id}", field="name", snapshot=holder.id)
        holder.name = f"{snapshot.name[:60]} {holder.id}"
        holder.snapshot = {**holder.snapshot, "name": holder.name}
        db.flush()
    if db.get(SnapshotRow, (workspace, snapshot.id)) is None:
        db.add(
            SnapshotRow(
                workspace=workspace, id=snapshot.id, name=snapshot.name, snapshot=snapshot.model_dump(mode="json"),
                artifacts=dict(artifacts), created_at=snapshot.created_at,
            )
        )  # fmt: skip
        db.flush()


def label_sets(db: ReadSession, workspace: str, snapshot: str) -> list[LabelSetRow]:
    """Return the label sets of a snapshot (by its id), newest first."""
    query = select(LabelSetRow).where(LabelSetRow.workspace == workspace, LabelSetRow.snapshot == snapshot)
    return list(db.scalars(query.order_by(LabelSetRow.created_at.desc(), LabelSetRow.id)))


def label_set_row(db: ReadSession, workspace: str, snapshot: str, labels: str | None) -> LabelSetRow:
    """Return one label set of a snapshot, or its newest.

    Raises
    ------
    UnknownLabels : there is none, or none with this id.
    """
    for row in label_sets(db, workspace, snapshot):
        if labels is None or row.id == labels:
            return row
    raise UnknownLabels(f"{snapshot} has no labels {labels or ''}".rstrip(), field="labels")


def publish_label_set(db: WriteSession, workspace: str, labels: LabelSet, artifacts: Mapping[str, str]) -> None:
    """Write a label set's row; the same set again changes nothing."""
    if db.get(LabelSetRow, (workspace, labels.id)) is None:
        db.add(
            LabelSetRow(
                workspace=workspace, id=labels.id, snapshot=labels.snapshot, record=labels.model_dump(mode="json"),
                artifacts=dict(artifacts), created_at=labels.created_at,
            )
        )  # fmt: skip
        db.flush()
