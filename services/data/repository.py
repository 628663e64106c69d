"""Every SQL statement about datasets and uploads."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import and_, or_, select

from contracts.data import Dataset, Upload
from contracts.errors import Conflict, UnknownDataset, UnreadableSource
from services.data.rows import DatasetRow, UploadRow
from services.kit.db import ReadSession, WriteSession, upsert


def dataset_row(db: ReadSession, workspace: str, dataset: str) -> DatasetRow:
    """Return a dataset's row by id or name; one of another workspace is unknown."""
    wanted = or_(DatasetRow.id == dataset, DatasetRow.name == dataset)
    by_id_first = (DatasetRow.id != dataset, DatasetRow.name)  # a name may look like another dataset's id
    row = db.scalar(select(DatasetRow).where(DatasetRow.workspace == workspace, wanted).order_by(*by_id_first))
    if row is None:
        raise UnknownDataset(f"there is no dataset {dataset}", field="dataset")
    return row


def page_of_datasets(
    db: ReadSession, workspace: str, limit: int, before: tuple[datetime, str] | None
) -> list[DatasetRow]:
    """Return up to `limit` datasets, newest first, from behind (created_at, id)."""
    query = select(DatasetRow).where(DatasetRow.workspace == workspace)
    if before is not None:
        moment, last = before
        later = and_(DatasetRow.created_at == moment, DatasetRow.id > last)
        query = query.where(or_(DatasetRow.created_at < moment, later))
    return list(db.scalars(query.order_by(DatasetRow.created_at.desc(), DatasetRow.id).limit(limit)))


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
