"""Chance levels in closed form: what two samples of pair values would differ by if they were independent."""

from __future__ import annotations

import numpy as np

GRID = 4096
GRID_POWER = 3


def expected_difference(x: np.ndarray, y: np.ndarray) -> float:
    """Mean |x_p - y_q| over all p and q: the expected L1 distance after one side's points are permuted at random.

    Permuting points at random makes the two samples of pair values independent, so this is exact and needs no
    permutation. O(M log M) by sorting both sides.

    Parameters
    ----------
    x, y : [M] and [N] float64.
    """
    x, y = np.sort(x), np.sort(y)
    prefix = np.concatenate([[0.0], np.cumsum(y)])
    below = np.searchsorted(y, x)
    total = x * below - prefix[below] + (prefix[-1] - prefix[below]) - x * (len(y) - below)
    return float(total.sum() / (len(x) * len(y)))


class WeightedDifference:
    """`expected_difference` under many sets of weights over the same values, as a bootstrap needs it.

    Parameters
    ----------
    x, y : [m] float64, values of the same m pairs on both sides.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self._x_order, self._y_order = np.argsort(x), np.argsort(y)
        self._x, self._y = x[self._x_order], y[self._y_order]
        self._below = np.searchsorted(self._y, self._x)

    def __call__(self, weights: np.ndarray) -> float:
        """Mean |x_p - y_q| with pair p and pair q weighted by `weights` [m], which need not sum to 1."""
        of_x, of_y = weights[self._x_order], weights[self._y_order]
        mass = np.concatenate([[0.0], np.cumsum(of_y)])
        prefix = np.concatenate([[0.0], np.cumsum(of_y * self._y)])
        below = self._below
        inner = self._x * (2 * mass[below] - mass[-1]) - 2 * prefix[below] + prefix[-1]
        return float((of_x * inner).sum() / mass[-1] ** 2)


def survival_means(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the survival function 1 - F over the cells of a grid on [0, 1] that is fine near 0.

    Parameters
    ----------
    samples : [k, m] float64 in [0, 1].

    Returns
    -------
    means [k, 4096] float64, and the cells' widths [4096]. Each cell's integral is exact.
    """
    edges = np.linspace(0, 1, GRID + 1) ** GRID_POWER
    widths = np.diff(edges)
    means = np.empty((len(samples), GRID))
    for row, sample in enumerate(np.sort(samples, axis=1)):
        prefix = np.concatenate([[0.0], np.cumsum(sample)])
        below = np.searchsorted(sample, edges)
        integral_of_cdf = (edges * below - prefix[below]) / len(sample)
        means[row] = 1 - np.diff(integral_of_cdf) / widths
    return means, widths


def expected_minimum(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """E min(x, y) for independent x from a row of `ours` and y from a row of `theirs`: [kA, kB] float64.

    E min(x, y) is the integral of the product of the survival functions. Within a cell of the grid the product of means
    stands for the mean of products; for values in {0, 1} that is exact.

    Parameters
    ----------
    ours, theirs : [kA, m] and [kB, m] float64 in [0, 1].
    """
    of_ours, widths = survival_means(ours)
    of_theirs, _ = survival_means(theirs)
    return (of_ours * widths) @ of_theirs.T
