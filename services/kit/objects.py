"""Blobs in an object store (S3 and what speaks its protocol), with a folder as cache in front."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from contracts.errors import CorruptArtifact, Unavailable
from services.kit.blobs import Blobs, storage_full_is_typed
from services.kit.keys import sha256_of_file
from services.kit.settings import Settings

YOUNG_SECONDS = 3600.0  # what somebody opened within the hour is not evicted


class ObjectBlobs(Blobs):
    """Immutable objects `<prefix>/<aa>/<sha256>`; each machine keeps what it used in a local folder.

    An object appears whole or not at all, and names are hashes, so the put is conditional: what is there is not
    written twice. After a put the store is asked for the size; after a fetch the bytes are checked against the name.

    Parameters
    ----------
    filesystem : fsspec file system with `put_file(mode="create")`, such as s3fs.
    prefix : bucket and folder.
    cache : local folder; `budget` bytes of it are kept.
    """

    def __init__(self, filesystem: Any, prefix: str, cache: Path, *, budget: int) -> None:
        super().__init__(cache)
        self._remote = filesystem
        self._prefix = prefix.rstrip("/")
        self._budget = budget

    def keep(self, path: Path) -> str:
        """Take a finished temporary file into the cache and the store."""
        sha = super().keep(path)
        self._upload(sha)
        return sha

    def has(self, sha: str) -> bool:
        """Whether the store has an object of that name; the cache alone does not count."""
        return bool(self._asked(lambda: self._remote.exists(self._address(sha))))

    def open(self, sha: str) -> Path:
        """Return the path of a blob in the cache, fetched if need be, whose bytes were checked in this process.

        Raises
        ------
        CorruptArtifact : missing in the store, or the bytes do not have this hash. Unavailable : no answer.
        """
        path = self.path(sha)
        if path.is_file():
            os.utime(path)  # recently used
            if super().check(sha):
                return path
        self._fetch(sha)
        return super().open(sha)

    def check(self, sha: str) -> bool:
        """Fetch the object again and hash it. A damaged one is moved to `quarantine/` in the store."""
        super().check(sha)
        self.path(sha).unlink(missing_ok=True)
        try:
            self._fetch(sha)
        except CorruptArtifact:
            return False
        return super().check(sha)

    def describe(self) -> str:
        """Say where the objects lie."""
        return f"s3://{self._prefix}, cache {super().describe()}"

    def sweep(self, *, older_than: float = 3600.0) -> int:
        """Remove stale temporary files, and from the cache what was not used longest beyond the budget."""
        removed = super().sweep(older_than=older_than)
        files = [(file.stat(), file) for file in self.root.glob("??/*") if file.is_file()]
        excess = sum(status.st_size for status, _ in files) - self._budget
        for status, file in sorted(files, key=lambda entry: entry[0].st_mtime):
            if excess <= 0 or status.st_mtime > time.time() - YOUNG_SECONDS:
                break
            file.unlink(missing_ok=True)  # whoever has it mapped keeps it until the mapping ends
            excess -= status.st_size
        return removed

    def _address(self, sha: str) -> str:
        return f"{self._prefix}/{sha[:2]}/{sha}"

    def _upload(self, sha: str) -> None:
        path, address = self.path(sha), self._address(sha)
        size = path.stat().st_size
        try:
            self._asked(lambda: self._remote.put_file(str(path), address, mode="create"))
        except FileExistsError:
            if self._size(address) == size:
                return
            self._asked(lambda: self._remote.put_file(str(path), address))  # a torn object of another making
        if self._size(address) != size:
            raise Unavailable(f"the store has not all bytes of {sha[:12]}", blob=sha)

    def _size(self, address: str) -> int:
        return int(self._asked(lambda: self._remote.info(address, refresh=True))["size"])

    def _fetch(self, sha: str) -> None:
        address, path = self._address(sha), self.temporary("fetched")
        try:
            with storage_full_is_typed():
                self._asked(lambda: self._remote.get_file(address, str(path)))
            if sha256_of_file(path) != sha:
                self._asked(lambda: self._remote.mv(address, f"{self._prefix}/quarantine/{sha}.{int(time.time())}"))
                raise CorruptArtifact(f"stored bytes of {sha[:12]} are damaged", blob=sha)
            super().keep(path)
        except FileNotFoundError as error:
            raise CorruptArtifact(f"stored bytes of {sha[:12]} are missing", blob=sha) from error
        finally:
            path.unlink(missing_ok=True)

    def _asked(self, ask: Any) -> Any:
        """Ask the store; a store that does not answer is `Unavailable`, not our mistake."""
        from botocore.exceptions import BotoCoreError

        try:
            return ask()
        except (FileNotFoundError, FileExistsError):
            raise
        except (BotoCoreError, ConnectionError, TimeoutError, PermissionError) as error:
            raise Unavailable(
                f"the object store does not answer ({type(error).__name__})", service="storage"
            ) from error


def open_blobs(settings: Settings) -> Blobs:
    """Open the store that the settings name: a folder, or a bucket with a folder as cache."""
    if settings.blob_url is None:
        return Blobs(settings.blob_folder)
    import s3fs

    endpoint = {} if settings.s3_endpoint is None else {"endpoint_url": settings.s3_endpoint}
    filesystem = s3fs.S3FileSystem(
        client_kwargs=endpoint,
        use_listings_cache=False,
        skip_instance_cache=True,
        config_kwargs={"connect_timeout": 3, "read_timeout": 30, "retries": {"max_attempts": 3}},
    )
    return ObjectBlobs(
        filesystem, settings.blob_url.removeprefix("s3://"), settings.blob_folder, budget=settings.blob_cache
    )
