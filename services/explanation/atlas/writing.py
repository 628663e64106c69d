"""Write maps and directions: what to add to a residual stream so that an atlas latent rises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.atlas import NoSecondMoment, TooFewPositives
from contracts.steering import DegenerateDirection, WidthMismatch
from services.explanation.atlas.statistics import Doubles, Floats, PairStatistics, require_pair
from services.explanation.atlas.translators import Translator

SMALLEST_DIRECTION = 1e-8
SAME_DIRECTION = 0.9


def write_rows(stats: PairStatistics, latents: Sequence[int], *, rho: float = 1.0) -> Doubles:
    """Rows J of W = (C̃ᵀC̃ + λI)⁻¹C̃ᵀX̃ with λ = ρ·tr(C̃ᵀC̃)/d_c: one right-hand side per latent.

    Returns
    -------
    [len(J), d_s] float64.

    Raises
    ------
    NoSecondMoment : the statistics were collected without Σccᵀ; use `write_rows_dual`.
    """
    second = stats.cc
    if not second.size:
        raise NoSecondMoment(f"{stats.shape[1]} latents without a second moment", field="latents")
    damped = second + rho * np.trace(second) / len(second) * np.eye(len(second))
    chosen = np.eye(len(second))[:, list(latents)]
    return np.linalg.solve(damped, chosen).T @ stats.xc.T


def write_rows_dual(x: Floats, c: Floats, latents: Sequence[int], *, rho: float = 1.0) -> Doubles:
    """The same rows as C̃_Jᵀ(C̃C̃ᵀ + λI)⁻¹X̃, for more latents than windows; [N, N] float64 in memory."""
    x, c = require_pair(x, c)
    near_x, near_c = (side.astype(np.float64) - side.mean(axis=0, dtype=np.float64) for side in (x, c))
    kernel = near_c @ near_c.T
    damped = kernel + rho * np.trace(kernel) / near_c.shape[1] * np.eye(len(kernel))
    return np.linalg.solve(damped, near_c[:, list(latents)]).T @ near_x


def write_directions(stats: PairStatistics, latents: Sequence[int], *, rho: float = 1.0) -> Doubles:
    """σ_j W_j for each latent: [len(J), d_s], what one standard deviation of the latent adds."""
    return write_rows(stats, latents, rho=rho) * stats.sd_c[list(latents), None]


def covariance_directions(stats: PairStatistics, latents: Sequence[int]) -> Doubles:
    """T_j / σ_j of the covariance map: [len(J), d_s]; 0 for latents that never vary."""
    sd = stats.sd_c[list(latents)]
    rows = stats.xc[:, list(latents)].T / max(stats.n - 1, 1)
    return np.where(sd[:, None] > 0, rows / np.where(sd > 0, sd, 1)[:, None], 0)


def read_directions(translator: Translator, latents: Sequence[int]) -> Doubles:
    """Columns of a read map, each divided by its norm: [len(J), d_s]. A filter, not always a direction to add."""
    return translator.columns()[:, list(latents)].T


def difference_of_means(x: Floats, positive: NDArray[np.bool_]) -> Doubles:
    """Mean of x over positives minus its mean over the others: [d_s] float64.

    Raises
    ------
    TooFewPositives : all or none is positive.
    """
    if positive.all() or not positive.any():
        raise TooFewPositives(f"{int(positive.sum())} of {len(positive)} are positive", field="positive")
    return x[positive].mean(axis=0, dtype=np.float64) - x[~positive].mean(axis=0, dtype=np.float64)


@dataclass(frozen=True)
class Direction:
    """A unit vector to steer with, and how it came about.

    Attributes
    ----------
    vector : [d_s] float64, norm 1. norm : before division. kept : positions in J that were combined.
    merged : position -> the kept position whose direction it nearly equals (cosine > .9).
    cosines : [J, J] float64 between the latents' directions; 0 rows for zero directions.
    """

    vector: Doubles
    norm: float
    kept: tuple[int, ...]
    merged: dict[int, int]
    cosines: Doubles


def combine(rows: Doubles, weights: Sequence[float] | None = None) -> Direction:
    """Weighted sum of the latents' directions, divided by its norm; near-duplicates are merged first.

    Parameters
    ----------
    rows : [J, d_s], best latent first. weights : [J]; None: equal. A merged latent gives its weight to the kept one.

    Raises
    ------
    DegenerateDirection : the sum is shorter than 1e-8. WidthMismatch : one weight per direction is needed.
    """
    given = np.ones(len(rows)) / max(len(rows), 1) if weights is None else np.asarray(weights, np.float64)
    if len(given) != len(rows):
        raise WidthMismatch("one weight a latent", field="weights", expected=len(rows), given=len(given))
    norms = np.linalg.norm(rows, axis=1)
    unit = rows / np.where(norms > 0, norms, 1)[:, None]
    cosines = unit @ unit.T
    kept: list[int] = []
    merged: dict[int, int] = {}
    shares = given.astype(np.float64).copy()
    for place in range(len(rows)):
        twin = next((one for one in kept if cosines[place, one] > SAME_DIRECTION), None)
        if twin is None:
            kept.append(place)
        else:
            merged[place] = twin
            shares[twin] += shares[place]
    vector = shares[kept] @ rows[kept] if kept else np.zeros(rows.shape[1])
    norm = float(np.linalg.norm(vector))
    if not norm >= SMALLEST_DIRECTION:
        raise DegenerateDirection(f"the direction has norm {norm:.1e}", field="latents", norm=norm)
    return Direction(vector / norm, norm, tuple(kept), merged, cosines)
