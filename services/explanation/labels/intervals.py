"""Bootstrap intervals: over components for means, over groups of samples for one component."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
DRAWS, SAMPLE_DRAWS = 10_000, 1_000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean with its percentile interval; `n` counts what was averaged."""

    value: float
    low: float
    high: float
    n: int


def group_weights(groups: Ints, draws: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Multinomial weights over groups, given to each member: [B, n] float32 for members' groups [n]."""
    names, place = np.unique(groups, return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return counts.astype(np.float32)[:, place]


def mean_interval(
    values: NDArray[np.floating], *, groups: Ints | None = None, draws: int = DRAWS, seed: int = 0
) -> Interval | None:
    """Percentile bootstrap of a mean over components; NaN is left out; None where nothing is left.

    Parameters
    ----------
    values : [C]; groups : [C], members of one group are drawn together (the two signs of one index, for example).
    """
    usable = np.isfinite(values)
    kept = np.asarray(values, np.float64)[usable]
    if not len(kept):
        return None
    of = np.arange(len(kept)) if groups is None else groups[usable]
    means = _resampled(kept, of, draws, seed)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(kept.mean()), float(low), float(high), len(kept))


def _resampled(values: Doubles, groups: Ints, draws: int, seed: int) -> Doubles:
    """Means of draws of whole groups, a thousand draws at a time so that memory stays bounded."""
    names, place = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(place, values), np.bincount(place).astype(np.float64)
    draw, share = np.random.default_rng(seed), np.full(len(names), 1 / len(names))
    means = []
    for start in range(0, draws, 1000):
        counts = draw.multinomial(len(names), share, size=min(1000, draws - start)).astype(np.float64)
        means.append((counts @ sums) / (counts @ sizes))
    return np.concatenate(means)


def paired_difference(
    one: NDArray[np.floating], other: NDArray[np.floating], *, draws: int = DRAWS, seed: int = 0
) -> Interval | None:
    """Interval of the mean difference on the components that both have; better means: it lies above 0."""
    return mean_interval(np.asarray(one, np.float64) - np.asarray(other, np.float64), draws=draws, seed=seed)


def difference_p(one: NDArray[np.floating], other: NDArray[np.floating], *, draws: int = DRAWS, seed: int = 0) -> float:
    """Two-sided bootstrap p of a mean difference of 0; NaN without pairs."""
    apart = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    apart = apart[np.isfinite(apart)]
    if not len(apart):
        return float("nan")
    means = _resampled(apart, np.arange(len(apart)), draws, seed)
    tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (draws + 1))


def holm(p: NDArray[np.floating]) -> Doubles:
    """Holm's adjusted p-values, in the order given."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    return adjusted
