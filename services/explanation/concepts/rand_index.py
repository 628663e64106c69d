"""Global alignment: the generalised Rand index, its chance level, and the chance-corrected index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import PointMismatch
from services.explanation.concepts.chance import WeightedDifference, expected_difference
from services.explanation.concepts.memberships import (
    SMALLEST_POINTS,
    Agreement,
    Memberships,
    NoiseMode,
    crisp_labels,
    require_memberships,
    under_noise_mode,
)

EXACT_POINTS = 6000
BLOCK = 1000
SAMPLED_PAIRS = 1_000_000
BOOTSTRAP_PAIRS = 100_000
REPLICATES = 100
DEGENERATE = 1e-9


@dataclass(frozen=True)
class GlobalAlignment:
    """How far two representations agree on which points belong together.

    Parameters
    ----------
    gri : generalised Rand index in [0, 1]. Far from 0 for unrelated representations: read `aci`.
    chance : the index expected after the points of one side are permuted.
    aci : (gri - chance) / (1 - chance); 1 identical, 0 chance, may be negative. None if both sides are trivial.
    interval : 95 % bootstrap interval of `aci` over groups, or None.
    error : standard error of `gri` from sampling pairs; 0 when all pairs were used.
    pairs : how many pairs were used. coverage : share of points that were compared.
    """

    gri: float
    chance: float
    aci: float | None
    error: float
    pairs: int
    coverage: float = 1.0
    interval: tuple[float, float] | None = None

    @property
    def degenerate(self) -> bool:
        """Whether chance alone explains everything, as when each side puts all points into one concept."""
        return self.aci is None


def corrected(gri: float, chance: float) -> float | None:
    """(gri - chance) / (1 - chance), or None if chance reaches 1."""
    return None if 1 - chance < DEGENERATE else (gri - chance) / (1 - chance)


def require_same_points(ours: Agreement, theirs: Agreement) -> None:
    """Refuse two sides with different numbers of points.

    Raises
    ------
    PointMismatch.
    """
    if ours.n != theirs.n:
        raise PointMismatch(f"one side has {ours.n} points and the other {theirs.n}", field="points")


def sample_pairs(n: int, m: int, *, seed: int = 0, group: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Draw `m` ordered pairs i != j uniformly; with `group` [n], only pairs from different groups.

    Returns
    -------
    i, j : [m] int64.
    """
    draw = np.random.default_rng(seed)
    if group is not None and len(np.unique(group)) < 2:
        raise PointMismatch("all points come from one sample, so no pair lies across samples", field="group")
    kept: list[np.ndarray] = []
    missing = m
    while missing > 0:
        i = draw.integers(0, n, missing)
        j = (i + draw.integers(1, n, missing)) % n
        pair = np.stack([i, j])
        pair = pair if group is None else pair[:, group[i] != group[j]]
        kept.append(pair)
        missing -= pair.shape[1]
    i, j = np.concatenate(kept, axis=1)
    return i, j


def exact_alignment(ours: Agreement, theirs: Agreement, *, block: int = BLOCK) -> GlobalAlignment:
    """Generalised Rand index and chance level over all n(n-1)/2 pairs, computed in blocks of rows.

    Memory is 16 bytes a pair, which the chance level needs; above 6,000 points take `sampled_alignment`.

    Raises
    ------
    PointMismatch.

    Source: arXiv 2412.06639, eq. 2-3; the chance level is exact under permutation of one side's points.
    """
    require_same_points(ours, theirs)
    x = np.concatenate(list(ours.blocks(block)))
    y = np.concatenate(list(theirs.blocks(block)))
    gri, chance = 1 - float(np.abs(x - y).mean()), 1 - expected_difference(x, y)
    return GlobalAlignment(gri, chance, corrected(gri, chance), 0.0, len(x))


def sampled_alignment(
    ours: Agreement,
    theirs: Agreement,
    *,
    pairs: int = SAMPLED_PAIRS,
    seed: int = 0,
    group: np.ndarray | None = None,
) -> GlobalAlignment:
    """The same from `pairs` random pairs; `error` is the standard error of the index, at most 0.5 / sqrt(pairs).

    Parameters
    ----------
    group : [n] sample of each point; when given, only pairs across samples count, since points of one picture agree
        trivially.

    Raises
    ------
    PointMismatch.
    """
    require_same_points(ours, theirs)
    i, j = sample_pairs(ours.n, pairs, seed=seed, group=group)
    return alignment_of_pairs(ours.pairs(i, j), theirs.pairs(i, j))


def alignment_of_pairs(x: np.ndarray, y: np.ndarray) -> GlobalAlignment:
    """Alignment from E on the same sampled pairs: x, y [m] float64."""
    apart = np.abs(x - y)
    gri, chance = 1 - float(apart.mean()), 1 - expected_difference(x, y)
    error = float(apart.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else 0.0
    return GlobalAlignment(gri, chance, corrected(gri, chance), error, len(x))


def bootstrap_interval(
    x: np.ndarray,
    y: np.ndarray,
    of_i: np.ndarray,
    of_j: np.ndarray,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Percentile interval of the chance-corrected index over resampled groups.

    Parameters
    ----------
    x, y : [m] float64, E of the same pairs on both sides.
    of_i, of_j : [m] integers, the group (picture, document) of each pair's two points. A pair's weight in a replicate
        is the product of how often its two groups were drawn.

    Returns
    -------
    (low, high), or None if fewer than two thirds of the replicates are defined.
    """
    names, index = np.unique(np.concatenate([of_i, of_j]), return_inverse=True)
    first, second = index[: len(of_i)], index[len(of_i) :]
    apart, difference = np.abs(x - y), WeightedDifference(x, y)
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(replicates):
        drawn = np.bincount(draw.integers(0, len(names), len(names)), minlength=len(names)).astype(np.float64)
        weights = drawn[first] * drawn[second]
        if weights.sum() > 0:
            value = corrected(1 - float(np.average(apart, weights=weights)), 1 - difference(weights))
            found += [] if value is None else [value]
    if 3 * len(found) < 2 * replicates:
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def align(
    ours: np.ndarray,
    theirs: np.ndarray,
    *,
    mode: NoiseMode = "asis",
    group: np.ndarray | None = None,
    pairs: int = SAMPLED_PAIRS,
    seed: int = 0,
    across_groups: bool = False,
    interval: bool = True,
) -> GlobalAlignment | None:
    """Compare two membership matrices over the same points: what most callers want.

    All pairs are used up to 6,000 points unless `across_groups`; above that `pairs` random ones.

    Parameters
    ----------
    ours, theirs : [n, kA] and [n, kB] memberships.
    mode : how noise counts; see `under_noise_mode`.
    group : [n] sample of each point, the unit that the interval resamples; default: each point is its own.
    across_groups : count only pairs from different samples.

    Returns
    -------
    None if `exclude` leaves fewer than 200 points.

    Raises
    ------
    PointMismatch, InvalidMembership, NoConcepts.
    """
    ours, theirs = require_memberships(ours), require_memberships(theirs)
    require_same_points(Memberships(ours), Memberships(theirs))
    n = len(ours)
    ours, theirs, kept = under_noise_mode(ours, theirs, mode)
    if kept is not None and len(kept) < SMALLEST_POINTS:
        return None
    of = np.arange(n) if group is None else np.asarray(group)
    of = of if kept is None else of[kept]
    return compare(
        Memberships(ours), Memberships(theirs), group=of, pairs=pairs, seed=seed,
        across_groups=across_groups, interval=interval, coverage=len(ours) / n,
    )  # fmt: skip


def compare(
    ours: Agreement,
    theirs: Agreement,
    *,
    group: np.ndarray,
    pairs: int = SAMPLED_PAIRS,
    seed: int = 0,
    across_groups: bool = False,
    interval: bool = True,
    coverage: float = 1.0,
) -> GlobalAlignment:
    """`align` for any two agreements, such as seed averages; parameters as there."""
    if ours.n <= EXACT_POINTS and not across_groups:
        found = exact_alignment(ours, theirs)
    else:
        found = sampled_alignment(ours, theirs, pairs=pairs, seed=seed, group=group if across_groups else None)
    span = None
    if interval:
        within = group if across_groups else None
        i, j = sample_pairs(ours.n, min(pairs, BOOTSTRAP_PAIRS), seed=seed + 1, group=within)
        span = bootstrap_interval(ours.pairs(i, j), theirs.pairs(i, j), group[i], group[j], seed=seed)
    return GlobalAlignment(found.gri, found.chance, found.aci, found.error, found.pairs, coverage, span)


def crisp_alignment(ours: np.ndarray, theirs: np.ndarray) -> GlobalAlignment:
    """Rand index and adjusted Rand index of two hard clusterings, from their contingency table.

    Parameters
    ----------
    ours, theirs : [n] integer labels, or [n, k] memberships of which the largest counts. Noise (-1) is one label more.

    Source: Hubert and Arabie, J. Classification 2, 1985; equal to the fuzzy indices of one-hot memberships.
    """
    a, b = (crisp_labels(side) if np.ndim(side) == 2 else np.asarray(side) for side in (ours, theirs))
    if len(a) != len(b):
        raise PointMismatch(f"one side has {len(a)} points and the other {len(b)}", field="points")
    _, a = np.unique(a, return_inverse=True)
    _, b = np.unique(b, return_inverse=True)
    cells = np.bincount(a * (b.max() + 1) + b).astype(np.float64)
    total = len(a) * (len(a) - 1) / 2
    both, of_a, of_b = (float((c * (c - 1) / 2).sum()) for c in (cells, np.bincount(a), np.bincount(b)))
    gri = 1 - (of_a + of_b - 2 * both) / total
    chance = 1 - (of_a + of_b - 2 * of_a * of_b / total) / total
    return GlobalAlignment(gri, chance, corrected(gri, chance), 0.0, int(total))


def mean_self_alignment(seeds: Sequence[np.ndarray], **how: int) -> float | None:
    """Mean chance-corrected index between the seeds of one representation: the ceiling of any comparison with it.

    Parameters
    ----------
    seeds : memberships [n, k_s] of each seed over the same points; at least two.
    **how : `pairs` and `seed`, as for `align`.
    """
    found = [
        value.aci
        for place, one in enumerate(seeds)
        for other in seeds[place + 1 :]
        if (value := align(one, other, interval=False, **how)) is not None and value.aci is not None
    ]
    return float(np.mean(found)) if found else None
