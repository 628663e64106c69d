"""Localisation: how much of the evidence lies on the object. All figures are per sample, [B] float64.

Undefined is NaN, never a hit: an empty mask, a mask over everything for the AUC, a map without any evidence for shares.
Ties are resolved in expectation over random orders, so that a constant map scores what chance would.
Notation: attribution a in R^d, mask S, K = |S|.
"""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from services.model.attribution.evaluation.errors import BadMaps, BadMetricParameter
from services.model.attribution.evaluation.maps import Evidence, rows_and_masks, weighed

Maps = Tensor | ArrayLike
Masks = Tensor | ArrayLike


def pointing_game(maps: Maps, masks: Masks, *, evidence: Evidence = "signed", weighted: bool = False) -> Tensor:
    """Whether the largest attribution lies on the object: 1[argmax_i a_i ∈ S].

    Parameters
    ----------
    maps, masks : [B, ...] of equal shape.
    weighted : a hit counts 1 - K/d, so that large objects are worth less.

    Returns
    -------
    [B] in [0, 1]; among several maxima the share that lies on the object; NaN for an empty mask.

    Source: Zhang et al., Top-down Neural Attention by Excitation Backprop, without their 15 px tolerance.
    """
    flat, mask = _prepared(maps, masks, evidence)
    top = flat == flat.amax(1, keepdim=True)
    hit = (top & mask).sum(1) / top.sum(1)
    if weighted:
        hit = hit * (1 - mask.double().mean(1))
    return _defined(hit, mask.any(1))


def mass_accuracy(maps: Maps, masks: Masks, *, evidence: Evidence = "positive") -> Tensor:
    """Share of the evidence that lies on the object: Σ_S a / Σ a. With a = a⁺ also called attribution localisation.

    Returns
    -------
    [B] in [0, 1] for positive and absolute evidence. Signed evidence leaves that range and is refused.

    Raises
    ------
    BadMetricParameter : signed evidence, whose total may vanish.

    Source: Arras, Osman, Samek: CLEVR-XAI (relevance mass accuracy); Kohlbrenner et al. 2020 (μ).
    """
    if evidence == "signed":
        raise BadMetricParameter("a share of signed relevance leaves [0, 1]", field="evidence")
    flat, mask = _prepared(maps, masks, evidence)
    total = flat.sum(1)
    return _defined((flat * mask).sum(1) / total, mask.any(1) & (total > 0))


def attribution_localisation(
    maps: Maps, masks: Masks, *, evidence: Evidence = "positive", weighted: bool = False
) -> Tensor:
    """Return μ = Σ_S a⁺ / Σ a⁺, or μ_w = μ · d / K, which is 1 for evidence spread evenly.

    Source: Kohlbrenner et al. 2020, eqs. 7 and 8 (weight: total over object size).
    """
    share = mass_accuracy(maps, masks, evidence=evidence)
    if not weighted:
        return share
    _, mask = rows_and_masks(maps, masks)
    return share * mask.shape[1] / mask.sum(1)


def rank_accuracy(maps: Maps, masks: Masks, *, evidence: Evidence = "signed") -> Tensor:
    """Share of the K largest attributions that lies on the object: |top_K(a) ∩ S| / K, K the object's size.

    Source: Arras, Osman, Samek: CLEVR-XAI (relevance rank accuracy).
    """
    flat, mask = _prepared(maps, masks, evidence)
    return _in_top(flat, mask, mask.sum(1))


def top_k_intersection(
    maps: Maps, masks: Masks, *, k: int = 100, evidence: Evidence = "signed", concept_influence: bool = False
) -> Tensor:
    """Share of the k largest attributions that lies on the object: |top_k(a) ∩ S| / k.

    Parameters
    ----------
    k : 1 to d.
    concept_influence : multiply by d / K, the gain over chance.

    Source: Theiner et al. 2021.
    """
    flat, mask = _prepared(maps, masks, evidence)
    if not 1 <= k <= flat.shape[1]:
        raise BadMetricParameter(f"k = {k} of {flat.shape[1]} features", field="k", d=flat.shape[1])
    share = _in_top(flat, mask, torch.full((len(flat),), k, device=flat.device))
    return share * flat.shape[1] / mask.sum(1) if concept_influence else share


def auc(maps: Maps, masks: Masks, *, evidence: Evidence = "signed") -> Tensor:
    """Area under the ROC curve of a as a score for membership in S.

    The Mann-Whitney form with mid-ranks: (Σ_S rank - K(K+1)/2) / (K(d-K)). A constant map scores 0.5; NaN if the mask
    is empty or covers everything.
    """
    flat, mask = _prepared(maps, masks, evidence)
    size = mask.sum(1).double()
    rest = mask.shape[1] - size
    area = ((mid_ranks(flat) * mask).sum(1) - size * (size + 1) / 2) / (size * rest)
    return _defined(area, (size > 0) & (rest > 0))


def focus(maps: Maps, target_cells: Tensor | ArrayLike, *, evidence: Evidence = "positive") -> Tensor:
    """Share of the evidence in those quadrants of a 2 x 2 mosaic that show the target class.

    Parameters
    ----------
    maps : [B, H, W], H and W even.
    target_cells : [B, 2, 2] bool, which quadrants show the class.

    Source: Arias-Duart et al. 2022.
    """
    tensor = torch.as_tensor(maps)
    cells = torch.as_tensor(target_cells).bool()
    if tensor.ndim != 3 or tensor.shape[1] % 2 or tensor.shape[2] % 2 or cells.shape != (len(tensor), 2, 2):
        raise BadMaps("a mosaic is [B, H, W] with even sides and [B, 2, 2] cells", field="maps")
    masks = cells.repeat_interleave(tensor.shape[1] // 2, 1).repeat_interleave(tensor.shape[2] // 2, 2)
    return mass_accuracy(tensor, masks.to(tensor.device), evidence=evidence)


def mid_ranks(values: Tensor) -> Tensor:
    """Ranks from 1, equal values sharing their mean rank. [B, d] -> [B, d] float64."""
    ordered, order = values.sort(1)
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    d = values.shape[1]
    place = torch.arange(d, device=values.device).expand_as(values)
    first = torch.where(fresh, place, 0).cummax(1).values
    ends = torch.ones_like(fresh)
    ends[:, :-1] = fresh[:, 1:]
    last = torch.where(ends, place, d - 1).flip(1).cummin(1).values.flip(1)
    return torch.empty_like(values).scatter_(1, order, (first + last).to(values.dtype) / 2 + 1)


def _in_top(flat: Tensor, mask: Tensor, k: Tensor) -> Tensor:
    """Expected share of the k[b] largest that lies in the mask, ties broken at random."""
    place = (k.clamp(min=1) - 1).unsqueeze(1)
    threshold = flat.sort(1, descending=True).values.gather(1, place)
    above, level = flat > threshold, flat == threshold
    open_places = k - above.sum(1)
    of_level = (level & mask).sum(1) / level.sum(1)
    return _defined(((above & mask).sum(1) + open_places * of_level) / k, mask.any(1) & (k > 0))


def _prepared(maps: Maps, masks: Masks, evidence: Evidence) -> tuple[Tensor, Tensor]:
    flat, mask = rows_and_masks(maps, masks)
    return weighed(flat, evidence), mask


def _defined(values: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, values, torch.nan).double()


LOCALISATION = {
    "pointing_game": pointing_game,
    "mass_accuracy": mass_accuracy,
    "rank_accuracy": rank_accuracy,
    "auc": auc,
    "top_k_intersection": top_k_intersection,
}
