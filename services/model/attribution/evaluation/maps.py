"""Maps and masks as the metrics want them: channels summed, one row a sample, at pixel or patch resolution."""

from __future__ import annotations

from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import avg_pool2d

from services.model.attribution.evaluation.errors import BadMaps, BadMetricParameter

Evidence = Literal["positive", "absolute", "signed"]


def pixel_maps(relevance: Tensor) -> Tensor:
    """Relevance of pixels: the sum over their channels. [B, C, H, W] -> [B, H, W]; other ranks stay as they are."""
    return relevance.sum(1) if relevance.ndim == 4 else relevance


def weighed(maps: Tensor, evidence: Evidence) -> Tensor:
    """Which part of a signed map counts: a⁺, |a|, or a itself.

    Raises
    ------
    BadMetricParameter : another word.
    """
    if evidence == "positive":
        return maps.clamp(min=0)
    if evidence == "absolute":
        return maps.abs()
    if evidence != "signed":
        raise BadMetricParameter(f"evidence is positive, absolute or signed, not {evidence!r}", field="evidence")
    return maps


def patch_maps(maps: Tensor, side: int) -> Tensor:
    """Relevance of patches: the sum over side x side pixels. [B, H, W] -> [B, H/side, W/side].

    Sign is applied before or after by choice of the caller: pooled signed relevance cancels inside a patch.
    """
    _require_divisible(maps, side)
    return avg_pool2d(maps.unsqueeze(1), side).squeeze(1) * side**2


def patch_masks(masks: Tensor, side: int, *, share: float = 0.5) -> Tensor:
    """Patches of which at least `share` lies in the mask. [B, H, W] bool -> [B, H/side, W/side] bool.

    A small object may cover no patch that far; the mask is then empty and localisation undefined (NaN).
    """
    if not 0 < share <= 1:
        raise BadMetricParameter(f"a share lies in (0, 1], not {share}", field="share")
    _require_divisible(masks, side)
    return avg_pool2d(masks.double().unsqueeze(1), side).squeeze(1) >= share - 1e-12


def _require_divisible(maps: Tensor, side: int) -> None:
    if maps.ndim != 3 or side < 1 or maps.shape[-1] % side or maps.shape[-2] % side:
        raise BadMaps(f"{tuple(maps.shape)} is no [B, H, W] that divides into patches of {side}", field="side")


def rows(maps: Tensor | ArrayLike) -> Tensor:
    """Flatten to [B, d] float64.

    Raises
    ------
    BadMaps : no sample axis, no features, or a value that is not finite (the sample is named).
    """
    tensor = torch.as_tensor(maps).detach()
    if tensor.ndim < 2 or tensor[0:1].numel() == 0:
        raise BadMaps(f"a map of shape {tuple(tensor.shape)} has no samples or no features", field="maps")
    flat = tensor.flatten(1).double()
    finite = flat.isfinite().all(1)
    if not bool(finite.all()):
        sample = int((~finite).nonzero()[0])
        raise BadMaps(f"the map of sample {sample} is not finite", field="maps", sample=sample)
    return flat


def rows_and_masks(maps: Tensor | ArrayLike, masks: Tensor | ArrayLike) -> tuple[Tensor, Tensor]:
    """Flatten both: [B, d] float64 and [B, d] bool.

    Raises
    ------
    BadMaps : other shapes, or masks with anything else than 0 and 1.
    """
    flat = rows(maps)
    mask = torch.as_tensor(masks).to(flat.device)
    if mask.shape != torch.as_tensor(maps).shape:
        raise BadMaps(
            f"masks {tuple(mask.shape)} do not lie on maps {tuple(torch.as_tensor(maps).shape)}", field="masks"
        )
    if mask.dtype != torch.bool:
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise BadMaps("masks hold 0 and 1 only", field="masks")
        mask = mask.bool()
    return flat, mask.flatten(1)
