"""How near components lie to concepts, and how far that is from what unrelated names reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.explanation.semantics.nulls import bank_moments
from services.explanation.semantics.significance import q_values

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
    null : [K, B'] float32, z of some rows against the background. background : [B'] places of the usable names.
    """

    alignment: Floats
    z: Floats
    null: Floats
    background: NDArray[np.int64]


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
    alignment, z, drawn = [], [], [np.zeros((0, len(usable)), np.float32)]
    for start in range(0, len(rows), CHUNK):
        block = rows[start : start + CHUNK]
        null = (block @ background.T - mean) / deviation
        middle, spread = _robust(null)
        scores = block @ concepts.T
        alignment.append(scores)
        z.append(((scores - of_concept[0]) / of_concept[1] - middle) / spread)
        drawn.append(((null - middle) / spread)[chosen[start : start + CHUNK] & np.isfinite(spread[:, 0])])
    empty = np.zeros((0, len(concepts)), np.float32)
    return Aligned(np.concatenate([empty, *alignment]), np.concatenate([empty, *z]), np.concatenate(drawn), usable)


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
    p, q : one [P, Q] float64 array for each layer. tests : size of the one family. pool : the smallest of the pools.
    smallest_p : the smallest attainable one, 1 / (1 + largest pool).
    """

    p: list[Doubles]
    q: list[Doubles]
    tests: int
    pool: int
    smallest_p: float


def significances(layers: Sequence[Aligned], related: NDArray[np.bool_]) -> Tested:
    """Shares of the pooled null that reach each z, corrected for false discoveries over all layers and concepts.

    Parameters
    ----------
    layers : aligned with the same concepts and the same calibrator.
    related : [Q, B] bool; what a name reaches is no null for a concept that it is related to.

    Source: Benjamini and Hochberg 1995 over an empirical null; pooling all rows, and who is left out, are ours.
    """
    z = np.concatenate([layer.z for layer in layers])
    null = np.concatenate([layer.null for layer in layers])
    related = related[:, layers[0].background]
    known = np.isfinite(z)
    p, q = np.full(z.shape, np.nan), np.full(z.shape, np.nan)
    everything = np.sort(null, axis=None)
    sizes = []
    for left_out, concepts in _alike(related):
        some = null[:, left_out].ravel()
        reached = _reaching(everything, z[:, concepts]) - _reaching(np.sort(some), z[:, concepts])
        sizes.append(len(everything) - len(some))
        if sizes[-1]:
            p[:, concepts] = (1 + reached) / (1 + sizes[-1])
    p = np.where(known, p, np.nan)
    known = np.isfinite(p)
    if known.any():
        q[known] = q_values(p[known])
    ends = np.cumsum([len(layer.z) for layer in layers])[:-1]
    return Tested(
        np.split(p, ends), np.split(q, ends), int(known.sum()), min(sizes, default=0), 1 / (1 + max(sizes, default=0))
    )


def _alike(related: NDArray[np.bool_]) -> list[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
    """Concepts with the same related names share a pool: pairs of related names [B] and places of concepts."""
    if not len(related):
        return []
    kinds, kind = np.unique(related, axis=0, return_inverse=True)
    return [(kinds[number], np.flatnonzero(kind.ravel() == number)) for number in range(len(kinds))]


def _reaching(ordered: NDArray[np.floating], values: Floats) -> NDArray[np.int64]:
    """How many of the ascending `ordered` are at least as large as each value. NaN is the caller's."""
    return np.asarray(len(ordered) - np.searchsorted(ordered, values, side="left"), dtype=np.int64)


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
