"""Sums over shared windows from which every linear translator follows; shards add up in any order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from contracts.atlas import WindowMismatch
from contracts.errors import NonFiniteActivation
from contracts.language import NoTokens
from contracts.steering import WidthMismatch

Doubles = NDArray[np.float64]
Floats = NDArray[np.floating]
BATCH = 1024
SMALLEST_NORM = 1e-8
LARGEST_SECOND_MOMENT = 8192
NOT_SUMMED = frozenset({"x0", "c0", "s0"})


@dataclass(frozen=True)
class Origin:
    """The shift and scale that all shards share, taken from the first one and then frozen.

    Attributes
    ----------
    x0 : [d_s], c0 : [d_c] float64, means. s0 : [d_s] float64, standard deviations; 1 for constant columns.
    """

    x0: Doubles
    c0: Doubles
    s0: Doubles

    @classmethod
    def of(cls, x: Floats, c: Floats) -> Origin:
        """Freeze the first shard's means and scales."""
        x, c = require_pair(x, c)
        spread = x.std(axis=0, dtype=np.float64)
        return cls(x.mean(axis=0, dtype=np.float64), c.mean(axis=0, dtype=np.float64), np.where(spread > 0, spread, 1))


@dataclass(frozen=True)
class PairStatistics:
    """Plain sums over windows, with x' = x - x0 and c' = c - c0 (rown: rows divided by their norm).

    Attributes
    ----------
    n : windows. x0, c0, s0 : the frozen origin. sx : [d_s] Σx'; sc : [d_c] Σc'; qc : [d_c] Σc'².
    gram : [d_s, d_s] Σx'x'ᵀ. cross : [d_s, d_c] Σx'c'ᵀ.
    m_raw, m_ctr, m_z : [d_s, d_c] Σrown(x)rown(c)ᵀ, Σrown(x')rown(c')ᵀ, Σrown(x'/s0)rown(c')ᵀ.
    second : [d_c, d_c] Σc'c'ᵀ, or empty. skipped : [3] rows too short to be normalised, of each of the three.

    All float64. Memory: 4 · d_s · d_c + d_s² (+ d_c²) doubles.
    """

    n: int
    x0: Doubles
    c0: Doubles
    s0: Doubles
    sx: Doubles
    sc: Doubles
    qc: Doubles
    gram: Doubles
    cross: Doubles
    m_raw: Doubles
    m_ctr: Doubles
    m_z: Doubles
    second: Doubles
    skipped: Doubles

    def __add__(self, other: PairStatistics) -> PairStatistics:
        """Merge two shards.

        Raises
        ------
        WindowMismatch : the shards were shifted by different origins, so their sums do not belong together.
        """
        for name in NOT_SUMMED:
            if not np.array_equal(getattr(self, name), getattr(other, name)):
                raise WindowMismatch(f"the shards have different origins ({name})", field=name)
        summed = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(self)
            if field.name not in NOT_SUMMED
        }
        return PairStatistics(**summed, x0=self.x0, c0=self.c0, s0=self.s0)

    @property
    def shape(self) -> tuple[int, int]:
        """Widths (d_s, d_c)."""
        return self.cross.shape[0], self.cross.shape[1]

    @property
    def mean_x(self) -> Doubles:
        """[d_s] mean of the subject's activations."""
        return self.x0 + self.sx / self.n

    @property
    def mean_c(self) -> Doubles:
        """[d_c] mean of the atlas codes."""
        return self.c0 + self.sc / self.n

    @property
    def xx(self) -> Doubles:
        """[d_s, d_s] X̃ᵀX̃ of centred activations."""
        return self.gram - np.outer(self.sx, self.sx) / self.n

    @property
    def xc(self) -> Doubles:
        """[d_s, d_c] X̃ᵀC̃."""
        return self.cross - np.outer(self.sx, self.sc) / self.n

    @property
    def cc(self) -> Doubles:
        """[d_c, d_c] C̃ᵀC̃; empty where the second moment was not kept."""
        return self.second - np.outer(self.sc, self.sc) / self.n if self.second.size else self.second

    @property
    def sd_x(self) -> Doubles:
        """[d_s] standard deviations (n - 1); exactly 0 for columns that do not vary beyond rounding."""
        return _deviation(np.diag(self.gram), self.sx, self.n)

    @property
    def sd_c(self) -> Doubles:
        """[d_c] standard deviations (n - 1); exactly 0 for constant columns."""
        return _deviation(self.qc, self.sc, self.n)


def _deviation(square: Doubles, total: Doubles, n: int) -> Doubles:
    varied = square - total**2 / n
    return np.sqrt(np.where(varied > 1e-12 * np.maximum(square, 1e-300), varied, 0) / max(n - 1, 1))


def require_pair(x: Floats, c: Floats, *, first: int = 0) -> tuple[Floats, Floats]:
    """Check that two sides belong together: [N, d_s] and [N, d_c], finite, N >= 1.

    Raises
    ------
    WindowMismatch; NoTokens; NonFiniteActivation : with the window's number (`first` is that of row 0) and the side.
    """
    if x.ndim != 2 or c.ndim != 2 or len(x) != len(c):
        raise WindowMismatch(f"the subject has shape {x.shape}, the atlas {c.shape}", field="windows")
    if not len(x):
        raise NoTokens("there are no windows to learn from", field="windows")
    for side, values in (("subject", x), ("atlas", c)):
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            window = first + int(np.flatnonzero(bad)[0])
            raise NonFiniteActivation(f"window {window} of the {side} is not finite", field=side, window=window)
    return x, c


def rows_to_unit(values: Doubles) -> tuple[Doubles, NDArray[np.bool_]]:
    """Rows divided by their norm, and which rows were long enough (1e-8); the others become 0."""
    norm = np.linalg.norm(values, axis=1, keepdims=True)
    long = norm > SMALLEST_NORM
    return np.where(long, values / np.where(long, norm, 1), 0), long[:, 0]


def collect(x: Floats, c: Floats, origin: Origin | None = None, *, second_moment: bool | None = None) -> PairStatistics:
    """Sums of one shard.

    Parameters
    ----------
    x : [N, d_s] pooled activations of the subject. c : [N, d_c] pooled atlas codes, rows of the same windows.
    origin : the first shard's; None: this is the first shard.
    second_moment : keep Σc'c'ᵀ for the primal write map; None: up to 8,192 latents.

    Returns
    -------
    Statistics in float64; `collect(A) + collect(B, origin of A)` equals `collect(A and B, origin of A)` to 1e-10.

    Raises
    ------
    NonFiniteActivation; NoTokens; WindowMismatch; WidthMismatch.

    Source: ours (Atlas-Alignment, arXiv 2510.27413, gives the idea and no code). Cost 8 · d_s · d_c per window.
    """
    x, c = require_pair(x, c)
    origin = origin or Origin.of(x, c)
    if (x.shape[1], c.shape[1]) != (len(origin.x0), len(origin.c0)):
        raise WidthMismatch(
            f"the origin was taken at {len(origin.x0)} and {len(origin.c0)} columns",
            field="origin", expected=[len(origin.x0), len(origin.c0)], given=[x.shape[1], c.shape[1]],
        )  # fmt: skip
    keep = c.shape[1] <= LARGEST_SECOND_MOMENT if second_moment is None else second_moment
    starts = range(0, len(x), BATCH)
    return reduce(_added, (_batch(x[at : at + BATCH], c[at : at + BATCH], origin, keep) for at in starts))


def _added(one: PairStatistics, other: PairStatistics) -> PairStatistics:
    """Add in place where the left side is ours: no copy of the large sums a batch."""
    for name in ("gram", "cross", "m_raw", "m_ctr", "m_z", "second"):
        np.add(getattr(one, name), getattr(other, name), out=getattr(one, name))
    small = {name: getattr(one, name) + getattr(other, name) for name in ("n", "sx", "sc", "qc", "skipped")}
    large = {name: getattr(one, name) for name in ("gram", "cross", "m_raw", "m_ctr", "m_z", "second")}
    return PairStatistics(**small, **large, x0=one.x0, c0=one.c0, s0=one.s0)


def _batch(x: Floats, c: Floats, origin: Origin, keep: bool) -> PairStatistics:
    raw_x, raw_c = x.astype(np.float64), c.astype(np.float64)
    near_x, near_c = raw_x - origin.x0, raw_c - origin.c0
    products, skipped = [], []
    for left, right in ((raw_x, raw_c), (near_x, near_c), (near_x / origin.s0, near_c)):
        (one, one_long), (other, other_long) = rows_to_unit(left), rows_to_unit(right)
        products.append(one.T @ other)
        skipped.append(float((~(one_long & other_long)).sum()))
    return PairStatistics(
        n=len(x), x0=origin.x0, c0=origin.c0, s0=origin.s0,
        sx=near_x.sum(axis=0), sc=near_c.sum(axis=0), qc=(near_c**2).sum(axis=0),
        gram=near_x.T @ near_x, cross=near_x.T @ near_c,
        m_raw=products[0], m_ctr=products[1], m_z=products[2],
        second=near_c.T @ near_c if keep else np.zeros((0, 0)), skipped=np.array(skipped),
    )  # fmt: skip


def prefixes(shards: Iterable[PairStatistics]) -> Iterator[PairStatistics]:
    """Merged statistics after each shard: the scaling curve without another look at the activations."""
    total: PairStatistics | None = None
    for shard in shards:
        total = shard if total is None else total + shard
        yield total
