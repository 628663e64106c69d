"""Which reader lists and reads which kind of source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from contracts.data import (
    DemoSource,
    FolderSource,
    ParquetSource,
    ScenesSource,
    Source,
    UploadSource,
    WebDatasetSource,
)
from contracts.errors import UnreadableSource
from services.data.readers.archive import list_zip, read_zip
from services.data.readers.demo import list_demo, read_demo
from services.data.readers.folder import list_folder, read_files
from services.data.readers.parquet import list_parquet, read_parquet
from services.data.readers.port import Listing, Read
from services.data.readers.scenes import list_scenes, read_scenes
from services.data.readers.webdataset import list_webdataset, read_tar

READERS: dict[str, Read] = {
    "folder": read_files,
    "parquet": read_parquet,
    "webdataset": read_tar,
    "upload": read_zip,
    "demo": read_demo,
    "scenes": read_scenes,
}


def list_source(source: Source, upload_path: Callable[[str], Path]) -> Listing:
    """List any source. `upload_path` finds an uploaded archive by its hash."""
    match source:
        case FolderSource():
            listing = list_folder(Path(source.path))
        case ParquetSource():
            listing = list_parquet(source)
        case WebDatasetSource():
            listing = list_webdataset(Path(source.path))
        case UploadSource():
            listing = list_zip(upload_path(source.upload), f"upload {source.upload[:12]}")
        case DemoSource():
            listing = list_demo(source)
        case ScenesSource():
            listing = list_scenes(source)
        case _:
            raise UnreadableSource(f"{source.kind} holds no pictures", field="source")
    if not listing.entries:
        raise UnreadableSource("there is not a single file that looks like a picture", field="source")
    return listing
