"""Bytes on disk, named by their own hash, so that nothing published can be overwritten or mistaken."""

from __future__ import annotations

import copy
import errno
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from contracts.errors import CorruptArtifact, StorageFull
from services.kit.keys import sha256_of_file

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
TEMPORARY = ".part"


@contextmanager
def storage_full_is_typed() -> Iterator[None]:
    """Turn 'no space left', an exceeded quota or a file-size limit into `StorageFull`; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull(f"the disk refused to take more: {error.strerror}") from error
        raise


class Blobs:
    """A folder of immutable files `<aa>/<sha256>`.

    A file is written under a temporary name, synced and renamed, so a reader sees all of it or nothing. Bytes are
    checked against their name the first time that a process opens them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified: set[str] = set()
        self._lock = threading.Lock()
        self._before_keep: Callable[[], None] = _nothing
        (root / "tmp").mkdir(parents=True, exist_ok=True)

    def watched(self, before_keep: Callable[[], None]) -> Self:
        """Return the same store, which tells `before_keep` when bytes are about to get their name."""
        same = copy.copy(self)
        same._before_keep = before_keep
        return same

    def temporary(self, stem: str = "blob") -> Path:
        """Return an unused name in the folder's temporary area, for a file that `keep` will take."""
        return self.root / "tmp" / f"{stem}.{uuid.uuid4().hex}{TEMPORARY}"

    def keep(self, path: Path) -> str:
        """Take a finished temporary file into the store and return its sha256; the temporary name is gone."""
        self._before_keep()
        with storage_full_is_typed():
            with path.open("rb") as file:
                os.fsync(file.fileno())
            sha = sha256_of_file(path)
            target = self.path(sha)
            target.parent.mkdir(exist_ok=True)
            os.replace(path, target)  # same bytes if it was there: nobody can tell the difference
            _sync_folder(target.parent)
        with self._lock:
            self._verified.add(sha)
        return sha

    def put(self, data: bytes) -> str:
        """Store bytes and return their sha256."""
        path = self.temporary()
        try:
            with storage_full_is_typed():
                path.write_bytes(data)
            return self.keep(path)
        finally:
            path.unlink(missing_ok=True)

    def path(self, sha: str) -> Path:
        """Where a blob lies or would lie; neither existence nor content is checked."""
        return self.root / sha[:2] / sha

    def has(self, sha: str) -> bool:
        """Whether a file of that name is there (its bytes are checked by `open`)."""
        return self.path(sha).is_file()

    def open(self, sha: str) -> Path:
        """Return the path of a blob whose bytes were checked in this process.

        Raises
        ------
        CorruptArtifact : missing, or the bytes do not have this hash. A damaged file is moved aside.
        """
        with self._lock:
            known = sha in self._verified
        path = self.path(sha)
        if known and path.is_file():
            return path
        if not self.check(sha):
            raise CorruptArtifact(f"stored bytes of {sha[:12]} are missing or damaged", blob=sha)
        return path

    def read(self, sha: str) -> bytes:
        """Return a blob's bytes, checked."""
        return self.open(sha).read_bytes()

    def check(self, sha: str) -> bool:
        """Hash the file again. A damaged one is moved to `quarantine/` so that it can be rebuilt and looked at."""
        path = self.path(sha)
        intact = path.is_file() and sha256_of_file(path) == sha
        with self._lock:
            if intact:
                self._verified.add(sha)
            else:
                self._verified.discard(sha)
        if not intact and path.is_file():
            quarantine = self.root / "quarantine"
            quarantine.mkdir(exist_ok=True)
            os.replace(path, quarantine / f"{sha}.{int(time.time())}")
        return intact

    def describe(self) -> str:
        """Say how much lies where."""
        count = sum(file.stat().st_size for file in self.root.rglob("*") if file.is_file())
        return f"{count / 1e6:,.0f} MB of artifacts"

    def sweep(self, *, older_than: float = 3600.0) -> int:
        """Remove temporary files that nobody touched for `older_than` seconds; return how many."""
        limit = time.time() - older_than
        stale = [path for path in (self.root / "tmp").iterdir() if path.stat().st_mtime < limit]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)


def _nothing() -> None:
    return None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
