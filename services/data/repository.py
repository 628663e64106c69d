"""Every SQL statement about datasets and uploads."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import select

from contracts.data import Dataset, Upload
from contracts.errors import Conflict, UnknownDataset, UnreadableSource
from services.data.rows import DatasetRow, UploadRow
from services.kit.artifacts import batched
from services.kit.db import ReadSession, WriteSession, upsert
from services.kit.named import by_id_or_name


def dataset_row(db: ReadSession, workspace: str, dataset: str) -> DatasetRow:
    """Return a dataset's row by id or name; one of another workspace is unknown."""
    row = by_id_or_name(db, DatasetRow, workspace, dataset)
    if row is None:
        raise UnknownDataset(f"there is no dataset {dataset}", field="dataset")
    return row


def publish_dataset(db: WriteSession, workspace: str, dataset: Dataset, *, manifest: str, rejected: str) -> None:
    """Write a dataset's row; the same content again changes nothing.

    Raises
    ------
    Conflict : the name belongs to a dataset with other content, or the content to a dataset with another name.
    """
    require_free_name(db, workspace, dataset.ref.name, dataset.ref.id)
    known = db.get(DatasetRow, (workspace, dataset.ref.id))
    if known is not None and known.name != dataset.ref.name:
        detail = f"these pictures are registered already, as {known.name}"
        raise Conflict(detail, field="name", dataset=known.id)
    if known is None:
        db.add(
            DatasetRow(
                workspace=workspace, id=dataset.ref.id, name=dataset.ref.name, manifest=manifest, rejected=rejected,
                dataset=dataset.model_dump(mode="json"), created_at=dataset.created_at,
            )
        )  # fmt: skip
        db.flush()


def require_free_name(db: ReadSession, workspace: str, name: str, dataset: str) -> None:
    """Refuse a name that another dataset has."""
    query = select(DatasetRow.id).where(DatasetRow.workspace == workspace, DatasetRow.name == name)
    holder = db.scalar(query)
    if holder is not None and holder != dataset:
        raise Conflict(f"the name {name} belongs to {holder}, which has other content", field="name", dataset=holder)


def datasets_behind(db: ReadSession, workspace: str, keys: Collection[str]) -> dict[str, Dataset]:
    """Return the datasets whose manifest is one of these artifacts."""
    found: dict[str, Dataset] = {}
    for some in batched(sorted(keys), 500):
        query = select(DatasetRow).where(DatasetRow.workspace == workspace, DatasetRow.manifest.in_(some))
        found |= {row.manifest: Dataset.model_validate(row.dataset) for row in db.scalars(query)}
    return found


def record_upload(db: WriteSession, workspace: str, upload: Upload) -> None:
    """Remember that a workspace sent an archive."""
    upsert(
        db, UploadRow, workspace=workspace, blob=upload.upload, bytes=upload.bytes, entries=upload.entries,
        created_at=datetime.now(UTC),
    )  # fmt: skip


def require_upload(db: ReadSession, workspace: str, blob: str) -> None:
    """Refuse an archive that this workspace did not send."""
    if db.get(UploadRow, (workspace, blob)) is None:
        raise UnreadableSource("there is no such upload; send it to POST /uploads first", field="source.upload")
