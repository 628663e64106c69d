"""From z to p and q: tail shares of a pooled null, corrected for false discoveries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def tail_shares(z: NDArray[np.floating], pool: NDArray[np.floating]) -> Doubles:
    """Share of a null that reaches each value.

    Parameters
    ----------
    z : any shape; pool : [P] values under the null, in any order.

    Returns
    -------
    Shape of z, float64 in [1 / (1 + P), 1]: (1 + #{pool >= z}) / (1 + P). NaN for NaN.

    Source: ours; related words give heavy tails, so that Gaussian ones would promise too much.
    """
    ordered = np.sort(np.asarray(pool, dtype=np.float64), axis=None)
    values = np.asarray(z, dtype=np.float64)
    reached = len(ordered) - np.searchsorted(ordered, values, side="left")
    return np.where(np.isnan(values), np.nan, (1 + reached) / (1 + len(ordered)))


def q_values(p: Doubles) -> Doubles:
    """Smallest false-discovery rate at which each test would be rejected.

    Parameters
    ----------
    p : any shape, without NaN; all entries are one family of tests.

    Returns
    -------
    Shape of p, float64 in (0, 1].

    Source: Benjamini and Hochberg 1995.
    """
    flat = np.asarray(p, dtype=np.float64).ravel()
    order = np.argsort(flat, kind="stable")
    scaled = flat[order] * len(flat) / np.arange(1, len(flat) + 1)
    q = np.empty_like(flat)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q.reshape(np.shape(p))
