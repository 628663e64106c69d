"""Hashes of checkpoint files, computed once a process for each state of a file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from services.kit.keys import sha256_of, sha256_of_file


def file_hash(path: Path) -> str:
    """The sha256 of a file; a second call reads only size and time of the file, unless they changed."""
    state = path.stat()
    return _hash(path.absolute(), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash(path: Path, size: int, modified: int) -> str:
    return sha256_of_file(path)


def fingerprint_of(files: dict[str, Path], constants: dict[str, object]) -> str:
    """The identity of an encoder: role -> checkpoint file, and all constants that change an embedding."""
    return sha256_of({"files": {role: file_hash(path) for role, path in files.items()}, "constants": constants})
