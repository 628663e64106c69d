"""Layer-order sanity check: whether neighbouring layers of one model look most alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from contracts.errors import InvalidRequest

TIE = 1e-9


@dataclass(frozen=True)
class LayerOrder:
    """Sanity score of a similarity measure on one model.

    Parameters
    ----------
    score : share of layers whose most similar other layer is a neighbour; ties count fractionally.
    chance : 2 / L, that of a random partner averaged over layers, exactly. layers : L.
    correlation : Spearman correlation of similarity with minus the distance in layers, over all pairs.
    """

    score: float
    chance: float
    layers: int
    correlation: float | None


def layer_order(similarity: np.ndarray) -> LayerOrder:
    """Score a layer-by-layer similarity matrix.

    Parameters
    ----------
    similarity : [L, L] float64, larger is more alike, layers in their order; the diagonal is ignored. NaN counts as
        less alike than anything.

    Raises
    ------
    InvalidRequest : fewer than three layers, or not square.

    Source: arXiv 2412.06639 (released code); the chance level is ours: 2(L-1) of the L(L-1) ordered pairs are
    neighbours.
    """
    matrix = np.asarray(similarity, np.float64)
    count = len(matrix)
    if matrix.shape != (count, count) or count < 3:
        raise InvalidRequest(f"a matrix of shape {matrix.shape} has no layer order", field="similarity")
    place = np.arange(count)
    apart = np.abs(place[:, None] - place[None, :])
    filled = np.where(np.isfinite(matrix), matrix, -np.inf)
    hits = []
    for row in range(count):
        others = place != row
        best = filled[row, others].max()
        tied = others & (filled[row] >= best - TIE)
        hits.append(float((apart[row, tied] == 1).mean()))
    upper = np.triu_indices(count, 1)
    known = np.isfinite(matrix[upper])
    values = matrix[upper][known]
    rank = spearmanr(values, -apart[upper][known]).statistic if len(values) > 2 and np.ptp(values) > 0 else None
    return LayerOrder(float(np.mean(hits)), 2 / count, count, None if rank is None else float(rank))
