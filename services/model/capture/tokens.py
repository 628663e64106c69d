"""Points: single vectors of a layer at random places, the same places for every layer and every model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from contracts.errors import LayoutError
from contracts.model import Layer, LayerKind
from services.model.capture.pooling import flat_places

if TYPE_CHECKING:
    from torch import Tensor

    from contracts.alignment import PointsPlan

WHOLE = -1


def draw_cells(samples: range, plan: PointsPlan) -> np.ndarray:
    """Cells of the grid at which each sample is looked at: [len(samples), p] int32, row-major; -1 is the whole picture.

    Drawn without replacement from the seed and the sample's number alone, so that shards, layers and models agree.
    """
    if plan.tokens != "spatial":
        return np.full((len(samples), 1), WHOLE, np.int32)
    cells = plan.grid**2
    drawn = [np.random.default_rng([plan.seed, s]).permutation(cells)[: plan.per_sample] for s in samples]
    return np.array(drawn, np.int32).reshape(len(samples), plan.per_sample)


def take_points(output: Tensor, layer: Layer, cells: Tensor, plan: PointsPlan, *, special_tokens: int = 0) -> Tensor:
    """Cut the points out of one batch of a layer's output.

    Parameters
    ----------
    output : see `flat_places`; any floating dtype.
    cells : [B, p] int64 from `draw_cells`.

    Returns
    -------
    [B, p, C] float32. `spatial` averages the map over a grid x grid of equal areas first, so that layers of different
    resolution are compared at the same relative places.

    Raises
    ------
    LayoutError : patch tokens that form no square.
    """
    places = flat_places(output, layer.kind).float() if layer.kind is not LayerKind.VECTOR else output.float()
    if layer.kind is LayerKind.VECTOR:
        return places[:, None]
    if plan.tokens == "cls":
        return places[:, :1]
    patches = places[:, special_tokens:] if layer.kind is LayerKind.TOKENS else places
    if plan.tokens == "pooled":
        return patches.mean(dim=1, keepdim=True)
    height, width = _sides(output, layer, patches.shape[1])
    grid = adaptive_avg_pool2d(patches.transpose(1, 2).unflatten(2, (height, width)), plan.grid)
    return torch.take_along_dim(grid.flatten(2).transpose(1, 2), cells[:, :, None], dim=1)


def _sides(output: Tensor, layer: Layer, count: int) -> tuple[int, int]:
    if layer.kind is LayerKind.MAP:
        return output.shape[2], output.shape[3]
    if layer.kind is LayerKind.MAP_LAST:
        return output.shape[1], output.shape[2]
    side = math.isqrt(count)
    if side * side != count:
        raise LayoutError(f"{count} patch tokens of {layer.name} form no square", layer=layer.name)
    return side, side
