"""The embeddings of a dataset's samples: float16 shards on disk, float32 unit rows when used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.explanation.errors import NotUnitNorm
from services.kit.arrays import load_arrays

Floats = NDArray[np.float32]
UNIT_TOLERANCE = 1e-3


def unit_rows(rows: NDArray[np.floating]) -> Floats:
    """Normalise rows [B, d] in float32; zero rows stay zero."""
    wide = np.asarray(rows, dtype=np.float32)
    return wide / np.maximum(np.linalg.norm(wide, axis=-1, keepdims=True), np.float32(1e-12))


def require_unit_rows(rows: Floats) -> None:
    """Refuse rows whose length differs from 1 by more than 1e-3."""
    worst = float(np.abs(np.linalg.norm(rows, axis=-1) - 1).max(initial=0.0))
    if worst > UNIT_TOLERANCE:
        raise NotUnitNorm(f"row lengths differ from 1 by up to {worst:.2g}", field="embeddings")


class Embeddings:
    """Unit embeddings ê of all N samples, read shard by shard.

    Parameters
    ----------
    shards : files with the array `unit` [n_s, d] float16, in order of samples.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self._shards = list(shards)
        self._sizes = [len(load_arrays(path, ["unit"])["unit"]) for path in self._shards]
        self.n = sum(self._sizes)
        self.starts = np.concatenate([[0], np.cumsum(self._sizes)[:-1]]).astype(np.int64)

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """Yield (first sample, [n_s, d] float32 unit rows) of each shard."""
        for start, path in zip(self.starts, self._shards, strict=True):
            yield int(start), unit_rows(load_arrays(path, ["unit"])["unit"])

    def rows(self, ids: NDArray[np.int64]) -> Floats:
        """Unit rows of samples: ids of any shape [...] -> [..., d] float32. Every id must be a sample's."""
        flat = np.unique(ids)
        if len(flat) and (flat[0] < 0 or flat[-1] >= self.n):
            raise IndexError(f"sample {flat[0] if flat[0] < 0 else flat[-1]} of {self.n}")
        found: list[Floats] = []
        for start, size, path in zip(self.starts, self._sizes, self._shards, strict=True):
            inside = flat[(flat >= start) & (flat < start + size)]
            if len(inside):
                found.append(unit_rows(load_arrays(path, ["unit"])["unit"][inside - start]))
        table = np.concatenate(found) if found else np.zeros((0, 1), np.float32)
        return table[np.searchsorted(flat, ids)]
