"""Ranking quality: how well a value separates two groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def auroc(values: NDArray[np.floating], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Area under the ROC curve of each column: P(positive > negative) + ½ P(tie), the Mann–Whitney statistic.

    Parameters
    ----------
    values : [N, C].
    positive : [N].

    Returns
    -------
    [C] in [0, 1]; NaN if a group is empty.

    Raises
    ------
    ValueError : other shapes.
    """
    from scipy.stats import rankdata  # takes a second, and every command imports this module

    if values.ndim != 2 or positive.shape != values.shape[:1]:
        raise ValueError(f"values {values.shape} and positive {positive.shape} are not [N, C] and [N]")
    inside, outside = int(positive.sum()), int((~positive).sum())
    if not inside or not outside:
        return np.full(values.shape[1], np.nan)
    ranks = rankdata(values, axis=0)[positive].sum(axis=0)
    area: NDArray[np.float64] = (ranks - inside * (inside + 1) / 2) / (inside * outside)
    return area


def auroc_error(area: NDArray[np.float64], inside: int, outside: int) -> NDArray[np.float64]:
    """Standard error of an AUROC (Hanley & McNeil 1982, Radiology 143, eq. 1–3); [C]."""
    above, below = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (inside - 1) * (above - area**2) + (outside - 1) * (below - area**2)
    error: NDArray[np.float64] = np.sqrt(np.maximum(spread, 0) / (inside * outside))
    return error
