"""Complexity and completeness: how concentrated a map is, and whether it adds up. Per sample, [B] float64."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from services.model.attribution.evaluation.errors import BadMaps
from services.model.attribution.evaluation.maps import rows

Maps = Tensor | ArrayLike


def gini(maps: Maps) -> Tensor:
    """Gini index of |a|: Σ_i (2i - d - 1)|a|_(i) / (d Σ|a|), |a|_(i) ascending.

    Returns
    -------
    [B] in [0, 1 - 1/d]: 0 for an even map, near 1 for a single spike; NaN for a map of zeros.

    Source: Chalasani et al. 2020 (sparseness).
    """
    size = rows(maps).abs().sort(1).values
    d = size.shape[1]
    weight = 2 * torch.arange(1, d + 1, dtype=size.dtype, device=size.device) - d - 1
    total = size.sum(1)
    return torch.where(total > 0, (size @ weight) / (d * total), torch.nan)


def entropy(maps: Maps) -> Tensor:
    """Entropy in nats of |a| / Σ|a|: 0 for a single spike, log d for an even map; NaN for a map of zeros.

    Source: Bhatt et al. 2020 (complexity).
    """
    size = rows(maps).abs()
    total = size.sum(1, keepdim=True)
    share = size / total
    return torch.where(total.squeeze(1) > 0, torch.special.entr(share).sum(1), torch.nan)


def effective_complexity(maps: Maps, *, eps: float = 1e-5) -> Tensor:
    """Return the number of features with |a| > eps, after scaling the largest |a| to 1.

    Source: Nguyen and Martínez 2020; the scaling makes the figure independent of the score's unit.
    """
    size = rows(maps).abs()
    largest = size.amax(1, keepdim=True)
    return (size > eps * largest).sum(1).double()


def completeness_gap(maps: Maps, score: Tensor, *, baseline: Tensor | float = 0.0) -> Tensor:
    """How far a map is from adding up: |Σ a - (f(x) - f(x'))| / |f(x) - f(x')|.

    Parameters
    ----------
    maps : [B, ...] signed attributions.
    score, baseline : [B] f(x), and f(x') at the reference; 0 where the method promises the whole score.

    Returns
    -------
    [B], 0 for a complete attribution; inf where there was nothing to explain and the map says otherwise.

    Source: Sundararajan et al. 2017 (axiom); as a relative residual, since float equality can never hold.
    """
    flat = rows(maps)
    if score.shape != (len(flat),):
        raise BadMaps(f"{tuple(score.shape)} scores for {len(flat)} maps", field="score")
    explained = (score - baseline).double()
    gap = (flat.sum(1) - explained).abs()
    return torch.where(gap == 0, 0.0, gap / explained.abs())


COMPLEXITY = {"gini": gini, "entropy": entropy, "effective_complexity": effective_complexity}
