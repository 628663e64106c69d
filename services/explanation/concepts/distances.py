"""Concept-to-concept distances: one sort per pair of concepts instead of a sum over all pairs of points."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from contracts.errors import PointMismatch
from services.explanation.concepts.chance import expected_minimum
from services.explanation.concepts.memberships import require_memberships
from services.explanation.concepts.rand_index import sample_pairs

PAIR_SAMPLE = 20_000
ROUNDING = 1e-12
DENSE_SHARE = 0.3
DENSE_BLOCK = 32


def pair_spread(values: np.ndarray) -> np.ndarray:
    """S(v) = sum over i < j of |v_i - v_j|, along the last axis: [..., n] -> [...] float64.

    By one sort: with v ascending, v_(r) is added r times and subtracted n - 1 - r times. float32 is sorted as such,
    which takes half the time, and summed in float64.
    """
    given = np.asarray(values)
    ordered = np.sort(given if given.dtype == np.float32 else given.astype(np.float64), axis=-1)
    n = ordered.shape[-1]
    weights = 2.0 * np.arange(n) - n + 1
    if ordered.ndim == 1 or ordered.dtype == np.float64:
        return ordered.astype(np.float64, copy=False) @ weights
    return np.stack([row.astype(np.float64) @ weights for row in ordered])


def _spread_of_nonzero(values: np.ndarray, n: int) -> float:
    """S of a vector of length n whose entries outside `values` [m] are zero."""
    ordered = np.sort(values).astype(np.float64, copy=False)
    rank = np.arange(len(ordered), dtype=np.float64)
    rank[np.searchsorted(ordered, 0.0) :] += n - len(ordered)
    return float(ordered @ (2 * rank - n + 1))


@dataclass(frozen=True)
class ConceptDistances:
    """Distances between the concepts of two representations over the same points.

    Parameters
    ----------
    d : [kA, kB] float64, mean over pairs of points of 1/2 ||P_ia - P_ja| - |Q_ib - Q_jb||. Measures size as much as
        content: two unrelated small concepts are close.
    dt : [kA, kB] size-free distance in [0, 1] (Bray-Curtis of the pair differences); NaN if both are constant.
    chance : [kA, kB] expected d after the points of one side are permuted.
    kappa : [kA, kB] 1 - d / chance: 1 identical, 0 chance; NaN where a concept is constant.
    spread_ours, spread_theirs : [kA], [kB] S of each concept.
    n : number of points.
    """

    d: np.ndarray
    dt: np.ndarray
    chance: np.ndarray
    kappa: np.ndarray
    spread_ours: np.ndarray
    spread_theirs: np.ndarray
    n: int

    @property
    def ds(self) -> np.ndarray:
        """2 dt / (1 + dt): the form of dt that obeys the triangle inequality, for maps and linkage."""
        return 2 * self.dt / (1 + self.dt)


def crossed_spreads(ours: np.ndarray, theirs: np.ndarray, *, threads: int = 2) -> np.ndarray:
    """S(a - b) + S(a + b) for all columns a of `ours` and b of `theirs`: [kA, kB] float64.

    Concepts with small support are compared on the union of their supports, since zeros only shift ranks; others are
    sorted in blocks. Exact for float64; two float32 sides are added and sorted in float32, where rounding (6e-8 of a
    value, in either direction) stays below 1e-8 in a distance.

    Parameters
    ----------
    ours, theirs : [n, kA], [n, kB], not negative.
    threads : numpy's sort releases the interpreter lock, so rows run side by side.
    """
    kind = np.float32 if ours.dtype == theirs.dtype == np.float32 else np.float64
    a, b = np.ascontiguousarray(ours.T, kind), np.ascontiguousarray(theirs.T, kind)
    held_a, held_b = a > 0, b > 0
    few_a = held_a.mean(axis=1) <= DENSE_SHARE
    few_b = held_b.mean(axis=1) <= DENSE_SHARE

    def row(k: int) -> np.ndarray:
        out = np.empty(len(b))
        sparse = few_b & few_a[k]
        for column in np.flatnonzero(sparse):
            either = np.flatnonzero(held_a[k] | held_b[column])
            x, y = a[k, either], b[column, either]
            out[column] = _spread_of_nonzero(x - y, a.shape[1]) + _spread_of_nonzero(x + y, a.shape[1])
        dense = np.flatnonzero(~sparse)
        for start in range(0, len(dense), DENSE_BLOCK):
            columns = dense[start : start + DENSE_BLOCK]
            out[columns] = pair_spread(a[k] - b[columns]) + pair_spread(a[k] + b[columns])
        return out

    with ThreadPoolExecutor(max(1, threads)) as pool:
        return np.stack(list(pool.map(row, range(len(a)))))


def concept_distances(
    ours: np.ndarray, theirs: np.ndarray, *, seed: int = 0, threads: int = 2, sample: int = PAIR_SAMPLE
) -> ConceptDistances:
    """Distances between all concepts of two representations.

    ||x| - |y|| = |x - y| + |x + y| - |x| - |y| turns the sum over pairs of points into sorts: O(n log n) a pair of
    concepts instead of O(n^2), and exact.

    Parameters
    ----------
    ours, theirs : [n, kA], [n, kB] memberships over the same points.
    seed, sample : of the pairs of points from which the overlap expected by chance is taken.

    Raises
    ------
    PointMismatch, InvalidMembership, NoConcepts.

    Source: arXiv 2412.06639, eq. 4, for d.
    """
    ours, theirs = require_memberships(ours), require_memberships(theirs)
    if len(ours) != len(theirs):
        raise PointMismatch(f"one side has {len(ours)} points and the other {len(theirs)}", field="points")
    n = len(ours)
    crossed = crossed_spreads(ours, theirs, threads=threads)
    spread_a, spread_b = pair_spread(ours.T), pair_spread(theirs.T)
    d = distance_of_spreads(crossed, spread_a, spread_b, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        dt = np.clip(crossed / (spread_a[:, None] + spread_b[None, :]) - 1, 0, 1)
    chance = chance_distance(ours, theirs, spread_a, spread_b, seed=seed, sample=sample)
    return ConceptDistances(d, dt, chance, kappa_of(d, chance, spread_a, spread_b), spread_a, spread_b, n)


def distance_of_spreads(crossed: np.ndarray, spread_a: np.ndarray, spread_b: np.ndarray, n: int) -> np.ndarray:
    """Concept distance d [kA, kB] from the spreads of sums and differences; rounding below 0 is cut."""
    d = (crossed - spread_a[:, None] - spread_b[None, :]) / (n * (n - 1))
    d[(d < 0) & (d > -ROUNDING)] = 0
    return d


def kappa_of(d: np.ndarray, chance: np.ndarray, spread_a: np.ndarray, spread_b: np.ndarray) -> np.ndarray:
    """1 - d / chance, NaN where either concept is constant: [kA, kB] float64."""
    constant = (spread_a[:, None] <= 0) | (spread_b[None, :] <= 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(constant, np.nan, 1 - d / chance)


def chance_distance(
    ours: np.ndarray,
    theirs: np.ndarray,
    spread_ours: np.ndarray,
    spread_theirs: np.ndarray,
    *,
    seed: int = 0,
    sample: int = PAIR_SAMPLE,
) -> np.ndarray:
    """Expected d of each pair of concepts after the points of one side are permuted: [kA, kB] float64.

    1/2 E|x - y| = 1/2 (E x + E y) - E min(x, y) for independent pair differences x and y. The two means are exact, from
    the spreads; only the last term, small for rare concepts, is estimated from `sample` pairs of points.
    """
    n = len(ours)
    i, j = sample_pairs(n, sample, seed=seed)
    x = np.abs(ours[i].astype(np.float64) - ours[j]).T
    y = np.abs(theirs[i].astype(np.float64) - theirs[j]).T
    means = (spread_ours[:, None] + spread_theirs[None, :]) / (n * (n - 1))
    return means - expected_minimum(np.ascontiguousarray(x), np.ascontiguousarray(y))


def sum_of_columns_kappa(pair: tuple[np.ndarray, np.ndarray], other: np.ndarray, *, seed: int = 0) -> float:
    """Kappa of the union of two concepts (columns [n], [n]) with one concept `other` [n] of the other side."""
    union = np.minimum(pair[0].astype(np.float64) + pair[1], 1.0)
    rest = np.zeros_like(union)
    found = concept_distances(np.column_stack([union, rest]), np.column_stack([other, rest]), seed=seed, threads=1)
    return float(found.kappa[0, 0])
