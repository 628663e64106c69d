"""Arrays as safetensors: typed, memory-mapped when read, never pickled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load, save, save_file

from contracts.base import Arrays
from services.kit.blobs import storage_full_is_typed

MEDIA_TYPE = "application/vnd.xsys.arrays"
_CODES = {
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "int8": "I8",
    "bool": "BOOL",
}


def pack_arrays(arrays: Arrays) -> bytes:
    """Serialise arrays for the wire (media type `application/vnd.xsys.arrays`)."""
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()})


def unpack_arrays(body: bytes) -> Arrays:
    """Read arrays from the wire. Raises `safetensors.SafetensorError` for anything malformed."""
    return load(body)


def save_arrays(path: Path, arrays: Arrays, facts: Mapping[str, object] | None = None) -> None:
    """Write arrays, and `facts` as JSON in the header. Equal arrays and facts give equal bytes."""
    header = {"facts": json.dumps(facts, sort_keys=True)} if facts is not None else None
    with storage_full_is_typed():
        save_file({name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}, path, metadata=header)


def load_arrays(path: Path, names: Iterable[str] | None = None) -> Arrays:
    """Read all arrays of a file, or the named ones only."""
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in (file.keys() if names is None else names)}


def array_names(path: Path) -> set[str]:
    """Names of the arrays in a file."""
    with safe_open(path, framework="numpy") as file:
        return set(file.keys())


def load_rows(path: Path, name: str, start: int, stop: int) -> np.ndarray:
    """Read rows `start:stop` of one array without reading the rest of it."""
    with safe_open(path, framework="numpy") as file:
        rows: np.ndarray = file.get_slice(name)[start:stop]
        return rows


def load_columns(path: Path, name: str, start: int, stop: int) -> np.ndarray:
    """Read columns `start:stop` of one two-dimensional array."""
    with safe_open(path, framework="numpy") as file:
        columns: np.ndarray = file.get_slice(name)[:, start:stop]
        return columns


def facts_of(path: Path) -> dict[str, object]:
    """Return the JSON facts that `save_arrays` put into the header."""
    with safe_open(path, framework="numpy") as file:
        return dict(json.loads((file.metadata() or {}).get("facts", "{}")))


class ArrayWriter:
    """Write arrays of known shape piece by piece, so that a file may be larger than memory.

    Arrays are written one after the other in the order of `shapes`; pieces are appended along the first axis.
    """

    def __init__(
        self,
        path: Path,
        shapes: Mapping[str, tuple[np.dtype, tuple[int, ...]]],
        facts: Mapping[str, object] | None = None,
    ) -> None:
        header: dict[str, object] = (
            {} if facts is None else {"__metadata__": {"facts": json.dumps(facts, sort_keys=True)}}
        )
        offset = 0
        self._left: list[tuple[str, np.dtype, int]] = []
        for name, (dtype, shape) in shapes.items():
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            header[name] = {"dtype": _CODES[dtype.name], "shape": list(shape), "data_offsets": [offset, offset + size]}
            self._left.append((name, dtype, size))
            offset += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._file = path.open("wb")
        with storage_full_is_typed():
            self._file.write(len(text).to_bytes(8, "little") + text)

    def append(self, name: str, piece: np.ndarray) -> None:
        """Append rows to `name`; an array must be complete before the next one begins."""
        while self._left and self._left[0][2] == 0:
            self._left.pop(0)
        expected, dtype, left = self._left[0]
        if name != expected or piece.dtype != dtype or piece.nbytes > left:
            raise ValueError(f"{name} {piece.dtype} {piece.nbytes} B; due is {expected} {dtype} with {left} B left")
        with storage_full_is_typed():
            self._file.write(np.asarray(piece, order="C").tobytes())
        self._left[0] = (expected, dtype, left - piece.nbytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with storage_full_is_typed():
            self._file.close()
        if kind is None and any(left for _, _, left in self._left):
            raise ValueError(f"incomplete arrays: {[name for name, _, left in self._left if left]}")
