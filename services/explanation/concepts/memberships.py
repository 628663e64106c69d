"""Memberships: how far each point belongs to each concept, and how far two points belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from scipy.spatial.distance import cdist

from contracts.errors import InvalidMembership, NoConcepts, PointMismatch, TooFewPoints

ROW_SUM_TOLERANCE = 1e-6
SMALLEST_POINTS = 200
GATHER_ROWS = 65_536
NoiseMode = Literal["asis", "noise_column", "exclude"]
NOISE_MODES: tuple[NoiseMode, ...] = ("asis", "noise_column", "exclude")
COVERED = 0.5


class Agreement(Protocol):
    """Anything that can say how far points i and j are together: E(i, j) in [0, 1]."""

    @property
    def n(self) -> int:
        """Number of points."""
        ...

    def pairs(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """E of the pairs (i[p], j[p]): [m] float64."""
        ...

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """E of all pairs i < j in blocks of `rows` points, always in the same order of pairs."""
        ...


def require_memberships(values: np.ndarray, *, smallest: int = 2) -> np.ndarray:
    """Check a membership matrix.

    Parameters
    ----------
    values : [n, k] floating; entry (i, a) is the share of point i in concept a.
    smallest : fewest points accepted. Comparisons that people read want `SMALLEST_POINTS`.

    Returns
    -------
    The same matrix as float32 or float64, C-contiguous.

    Raises
    ------
    NoConcepts : fewer than two concepts. TooFewPoints : fewer than `smallest` rows.
    InvalidMembership : NaN, a negative entry, or a row that sums to more than 1 + 1e-6; names the first such row.
    """
    matrix = np.asarray(values)
    matrix = np.ascontiguousarray(matrix, matrix.dtype if matrix.dtype in (np.float32, np.float64) else np.float64)
    if matrix.ndim != 2 or matrix.shape[1] < 2:
        found = matrix.shape[1] if matrix.ndim == 2 else 0
        raise NoConcepts(f"an alignment needs at least two concepts, here are {found}", field="concepts", found=found)
    if len(matrix) < smallest:
        raise TooFewPoints(f"{len(matrix)} points, at least {smallest} are needed", field="points", found=len(matrix))
    sums = matrix.sum(axis=1, dtype=np.float64)
    bad = ~(sums <= 1 + ROW_SUM_TOLERANCE) | (matrix.min(axis=1) < 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InvalidMembership(f"row {row} has NaN, a negative share, or sums to {sums[row]:.6g}", row=row)
    return matrix


@dataclass(frozen=True)
class Memberships:
    """A checked membership matrix as an `Agreement`: E(i, j) = 1 - 1/2 sum_a |P_ia - P_ja|.

    Parameters
    ----------
    values : [n, k] float32 or float64, rows summing to at most 1. Build it with `Memberships.of`.

    Source: Hüllermeier et al., IEEE TFS 20(3), 2012 (fuzzy Rand index); arXiv 2412.06639, eq. 2.
    """

    values: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Memberships:
        """Check and wrap a matrix; see `require_memberships`."""
        return cls(require_memberships(values))

    @property
    def n(self) -> int:
        """Number of points."""
        return len(self.values)

    def pairs(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """E of the pairs (i[p], j[p]): [m] float64."""
        together = np.empty(len(i))
        for start in range(0, len(i), GATHER_ROWS):
            part = slice(start, start + GATHER_ROWS)
            apart = np.abs(self.values[i[part]] - self.values[j[part]]).sum(axis=1, dtype=np.float64)
            together[part] = 1 - apart / 2
        return together

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """E of all pairs i < j in blocks of `rows` points."""
        exact = self.values.astype(np.float64, copy=False)
        for start in range(0, self.n, rows):
            apart = cdist(exact[start : start + rows], exact[start:], "cityblock")
            yield 1 - apart[_upper(apart.shape)] / 2


@dataclass(frozen=True)
class SeedAveraged:
    """The mean of several agreements over the same points: clusterings of several seeds, of one representation."""

    members: Sequence[Agreement]

    def __post_init__(self) -> None:
        if len({member.n for member in self.members}) != 1:
            raise PointMismatch("the seeds were run on different points", field="seeds")

    @property
    def n(self) -> int:
        """Number of points."""
        return self.members[0].n

    def pairs(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Mean E of the pairs (i[p], j[p]): [m] float64."""
        return np.mean([member.pairs(i, j) for member in self.members], axis=0)

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """Mean E of all pairs i < j in blocks of `rows` points."""
        for parts in zip(*(member.blocks(rows) for member in self.members), strict=True):
            yield np.mean(parts, axis=0)


def _upper(shape: tuple[int, ...]) -> np.ndarray:
    """Mask of the pairs i < j of a block whose first column is its first row's point."""
    return np.arange(shape[1])[None, :] > np.arange(shape[0])[:, None]


def noise_mass(values: np.ndarray) -> np.ndarray:
    """The share of each point that belongs to no concept: [n] float64 in [0, 1]."""
    return np.clip(1 - values.sum(axis=1, dtype=np.float64), 0, 1)


def with_noise_column(values: np.ndarray) -> np.ndarray:
    """Append the noise mass as one more concept, so that a noise point and a member are apart: [n, k + 1] float64."""
    return np.column_stack([values.astype(np.float64), noise_mass(values)])


def crisp_labels(values: np.ndarray) -> np.ndarray:
    """Each point's largest membership: [n] int64; a row of zeros is -1 (noise)."""
    return np.where(values.max(axis=1) > 0, values.argmax(axis=1), -1)


def one_hot(labels: np.ndarray) -> np.ndarray:
    """Memberships of a hard clustering.

    Parameters
    ----------
    labels : [n] integers; negative ones are noise and become rows of zeros.

    Returns
    -------
    [n, k] float32, one column per distinct label that is not negative, in ascending order.
    """
    names, column = np.unique(labels[labels >= 0], return_inverse=True)
    values = np.zeros((len(labels), len(names)), np.float32)
    values[np.flatnonzero(labels >= 0), column] = 1
    return values


def under_noise_mode(
    ours: np.ndarray, theirs: np.ndarray, mode: NoiseMode
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Apply one way of treating noise to two membership matrices over the same points.

    Two points without any membership count as together in the published index, which makes representations look aligned
    that only agree on what is noise; so the mode is always named beside the figure.

    Returns
    -------
    The two matrices, and for `exclude` the kept points [m] int64 (row sum >= 0.5 on both sides), else None.
    """
    if mode == "asis":
        return ours, theirs, None
    if mode == "noise_column":
        return with_noise_column(ours), with_noise_column(theirs), None
    kept = np.flatnonzero((noise_mass(ours) <= 1 - COVERED) & (noise_mass(theirs) <= 1 - COVERED))
    return ours[kept], theirs[kept], kept
