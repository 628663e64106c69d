"""What a user can ask about datasets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from contracts.base import Binary, Caller, Page
from contracts.corpora import HoldsText, Passage, Split
from contracts.data import Dataset, RejectedFile, Sample, Upload
from contracts.errors import InvalidRequest, UploadTooLarge
from services.data.readers.archive import check_zip
from services.data.repository import dataset_row, record_upload, require_upload
from services.data.rows import DatasetRow
from services.kit.artifacts import find_artifacts, the_artifact
from services.kit.blobs import Blobs, storage_full_is_typed
from services.kit.cursors import decode_cursor, encode_cursor
from services.kit.db import Database
from services.kit.named import newest_first
from services.kit.pictures import Manifest, media_type_of
from services.kit.settings import Settings


class Data:
    """Implements `contracts.data.DataService`."""

    def __init__(self, database: Database, blobs: Blobs, settings: Settings) -> None:
        self.database = database
        self.blobs = blobs
        self.settings = settings

    def datasets(self, caller: Caller, limit: int = 50, cursor: str | None = None) -> Page[Dataset]:
        """List the datasets of the workspace, newest first."""
        with self.database.reading() as db:
            rows, more = newest_first(db, DatasetRow, caller.workspace, limit, cursor)
        return Page[Dataset](items=[Dataset.model_validate(row.dataset) for row in rows], next=more)

    def dataset(self, caller: Caller, dataset: str) -> Dataset:
        """Show one dataset."""
        with self.database.reading() as db:
            return Dataset.model_validate(dataset_row(db, caller.workspace, dataset).dataset)

    def samples(self, caller: Caller, dataset: str, limit: int = 50, cursor: str | None = None) -> Page[Sample]:
        """List the samples of a dataset in order."""
        manifest = self.manifest(caller, dataset)
        start = _start(cursor)
        stop = min(start + limit, manifest.n)
        items = [manifest.sample(index) for index in range(start, stop)]
        return Page[Sample](items=items, next=encode_cursor([stop]) if stop < manifest.n else None)

    def passages(
        self, caller: Caller, dataset: str, split: Split | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[Passage]:
        """List the windows of a text corpus in order."""
        from services.data.corpora import page_of

        return page_of(self, caller, dataset, split, limit, cursor)

    def rejected(self, caller: Caller, dataset: str, limit: int = 50, cursor: str | None = None) -> Page[RejectedFile]:
        """List the files that were skipped, with reasons."""
        with self.database.reading() as db:
            row = dataset_row(db, caller.workspace, dataset)
            blob = the_artifact(db, caller.workspace, row.rejected).blob
        files = json.loads(self.blobs.read(blob))["rejected"]
        start = _start(cursor)
        items = [RejectedFile.model_validate(file) for file in files[start : start + limit]]
        more = start + limit < len(files)
        return Page[RejectedFile](items=items, next=encode_cursor([start + limit]) if more else None)

    def sample(self, caller: Caller, dataset: str, index: int) -> Sample:
        """Show one sample."""
        return self.manifest(caller, dataset).sample(index)

    def thumbnail(self, caller: Caller, dataset: str, index: int) -> Binary:
        """Deliver a sample's thumbnail."""
        manifest = self.manifest(caller, dataset)
        return Binary(manifest.thumbnail_bytes(index), "image/webp", etag=f"{manifest.sample(index).sha256[:24]}-t")

    def picture(self, caller: Caller, dataset: str, index: int) -> Binary:
        """Deliver a sample's picture as stored."""
        manifest = self.manifest(caller, dataset)
        body = manifest.picture_bytes(index)
        return Binary(body, media_type_of(body), etag=manifest.sample(index).sha256[:24])

    def mask(self, caller: Caller, dataset: str, index: int, mask: str) -> Binary:
        """Deliver one of a sample's masks."""
        manifest = self.manifest(caller, dataset)
        body = manifest.mask_bytes(index, mask)
        return Binary(body, "image/png", etag=f"{manifest.sample(index).sha256[:24]}-{mask}")

    def upload(self, caller: Caller, body: bytes) -> Upload:
        """Receive a zip of pictures; it is checked before it is kept.

        Raises
        ------
        UploadTooLarge, UnsafeArchive.
        """
        if len(body) > self.settings.upload_limit:
            raise UploadTooLarge(f"{len(body):,} B", field="body", limit=self.settings.upload_limit)
        path = self.blobs.temporary("upload")
        try:
            with storage_full_is_typed():
                path.write_bytes(body)
            entries = check_zip(path)
            sha = self.blobs.keep(path)
        finally:
            path.unlink(missing_ok=True)
        received = Upload(upload=sha, bytes=len(body), entries=entries)
        with self.database.writing() as db:
            record_upload(db, caller.workspace, received)
        return received

    def upload_path(self, caller: Caller, upload: str) -> Path:
        """Find an archive that this workspace sent."""
        with self.database.reading() as db:
            require_upload(db, caller.workspace, upload)
        return self.blobs.open(upload)

    def registered(self, caller: Caller, key: str) -> str | None:
        """The dataset that an earlier registration with this key made."""
        with self.database.reading() as db:
            found = find_artifacts(db, caller.workspace, [key]).get(key)
        return str(json.loads(self.blobs.read(found.blob))["id"]) if found and self.blobs.has(found.blob) else None

    def manifest(self, caller: Caller, dataset: str) -> Manifest:
        """Open a dataset's manifest; the latest few stay in memory."""
        with self.database.reading() as db:
            row = dataset_row(db, caller.workspace, dataset)
            if row.dataset.get("kind") == "text":
                raise HoldsText(f"{row.name} holds text, no pictures", field="dataset")
            blob = the_artifact(db, caller.workspace, row.manifest).blob
        return Manifest.load(self.blobs.open(blob), self.blobs)


def _start(cursor: str | None) -> int:
    if cursor is None:
        return 0
    (place,) = decode_cursor(cursor, length=1)
    if not isinstance(place, int) or place < 0:
        raise InvalidRequest("this cursor belongs to another listing", field="cursor")
    return place


def digest_of(hashes: list[str]) -> str:
    """Hash an ordered list of hashes."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
