"""How near components lie to concepts, and how far that is from what unrelated names reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.explanation.semantics.nulls import bank_moments
from services.explanation.semantics.significance import q_values, tail_shares

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
POOLED_ROWS = 5000
CHUNK = 2048


@dataclass(frozen=True)
class Calibrator:
    """What scores are compared with.

    Parameters
    ----------
    bank : [R, d] float32 unit mean vectors of random sets of samples.
    background : [B, d] float32 unit directions of names that have nothing to do with the concepts.
    """

    bank: Floats
    background: Floats


@dataclass(frozen=True)
class Aligned:
    """Rows (prototypes of components) against concepts.

    Parameters
    ----------
    alignment : [P, Q] float32 cosines. z : [P, Q] float32, NaN where there is no null.
    pool : [K] float32, z of the rows against the background: the null of all of them together.
    """

    alignment: Floats
    z: Floats
    pool: Floats


def align(rows: Floats, concepts: Floats, calibrator: Calibrator, *, pooled: int = POOLED_ROWS) -> Aligned:
    """Cosines of rows with concepts, standardised by column and by row.

    x[k, p] = (<r_k, q_p> - mean_p) / deviation_p over random sets of samples, so that no prompt scores high everywhere;
    z[k, p] = (x[k, p] - median_b x[k, b]) / (1.4826 MAD_b x[k, b]) over the background b.

    Parameters
    ----------
    rows : [P, d] float32 unit vectors; concepts : [Q, d] float32 unit directions.
    pooled : how many rows, evenly spread, give the pool.

    Source: ours.
    """
    mean, deviation = bank_moments(calibrator.bank, calibrator.background)
    usable = np.flatnonzero(np.isfinite(deviation))
    background, mean, deviation = calibrator.background[usable], mean[usable], deviation[usable]
    of_concept = bank_moments(calibrator.bank, concepts)
    chosen = np.zeros(len(rows), dtype=bool)
    chosen[np.linspace(0, len(rows) - 1, min(pooled, len(rows))).round().astype(np.int64)] = True
    alignment, z, pool = [], [], [np.zeros(0, np.float32)]
    for start in range(0, len(rows), CHUNK):
        block = rows[start : start + CHUNK]
        null = (block @ background.T - mean) / deviation
        middle, spread = _robust(null)
        scores = block @ concepts.T
        alignment.append(scores)
        z.append(((scores - of_concept[0]) / of_concept[1] - middle) / spread)
        drawn = (null - middle) / spread
        pool.append(drawn[chosen[start : start + CHUNK] & np.isfinite(spread[:, 0])].ravel())
    empty = np.zeros((0, len(concepts)), np.float32)
    return Aligned(np.concatenate([empty, *alignment]), np.concatenate([empty, *z]), np.concatenate(pool))


def _robust(values: Floats) -> tuple[Floats, Floats]:
    """Median and 1.4826 MAD of each row, as columns; a spread of 0, and rows without values, are NaN."""
    if not values.shape[1]:
        nothing = np.full((len(values), 1), np.nan, np.float32)
        return nothing, nothing
    middle = np.median(values, axis=1, keepdims=True)
    spread = 1.4826 * np.median(np.abs(values - middle), axis=1, keepdims=True)
    return middle.astype(np.float32), np.where(spread > 0, spread, np.nan).astype(np.float32)


@dataclass(frozen=True)
class Tested:
    """p and q of each row against each concept; NaN where there was no z.

    Parameters
    ----------
    p, q : one [P, Q] float64 array for each layer. tests : size of the one family. smallest_p : the attainable one.
    """

    p: list[Doubles]
    q: list[Doubles]
    tests: int
    smallest_p: float


def tested(layers: Sequence[Aligned]) -> Tested:
    """Shares of the pooled null that reach each z, corrected for false discoveries over all layers and concepts.

    Source: Benjamini and Hochberg 1995 over an empirical null; pooling all rows is ours.
    """
    pool = np.concatenate([np.zeros(0, np.float32), *(layer.pool for layer in layers)])
    flat = np.concatenate([np.zeros(0, np.float32), *(layer.z.ravel() for layer in layers)])
    known = np.isfinite(flat)
    p, q = np.full(len(flat), np.nan), np.full(len(flat), np.nan)
    if known.any() and len(pool):
        p[known] = tail_shares(flat[known], pool)
        q[known] = q_values(p[known])
    ends = np.cumsum([layer.z.size for layer in layers])[:-1]
    shapes = [layer.z.shape for layer in layers]

    def divided(values: Doubles) -> list[Doubles]:
        return [part.reshape(shape) for part, shape in zip(np.split(values, ends), shapes, strict=True)]

    return Tested(divided(p), divided(q), int(known.sum()), 1 / (1 + len(pool)))


def strongest(z: Floats, component: NDArray[np.int64], components: int) -> NDArray[np.int64]:
    """Row of the prototype with the largest z, for each component and concept.

    Parameters
    ----------
    z : [P, Q]; component : [P] int64, the component of each row, ascending.

    Returns
    -------
    [components, Q] int64; -1 for a component without rows, and where no row has a z.
    """
    best = np.full((components, z.shape[1]), -1, np.int64)
    height = np.full((components, z.shape[1]), -np.inf)
    for row, owner in enumerate(component.tolist()):
        higher = np.nan_to_num(z[row], nan=-np.inf) > height[owner]
        best[owner, higher] = row
        height[owner, higher] = z[row, higher]
    return best


def of_components(values: NDArray[np.floating], best: NDArray[np.int64]) -> Doubles:
    """Values [P, Q] of the chosen rows, by component: [C, Q] float64, NaN where no row was chosen."""
    if not len(values):
        return np.full(best.shape, np.nan)
    taken = np.take_along_axis(np.asarray(values, np.float64), np.maximum(best, 0), axis=0)
    return np.where(best >= 0, taken, np.nan)
