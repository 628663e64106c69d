"""From the map of a component to a square of the original picture."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from contracts.data import Box
from contracts.model import Layer, LayerKind, Preprocessing
from services.model.attribution.evaluation import blurred

Rectangle = tuple[int, int, int, int]
BLUR_SIGMA, BLUR_SIDE = 8.0, 224
SMALLEST = 1e-12
SMALLEST_SIDE = 32


def component_map(output: Tensor, layer: Layer, index: int, sign: int, *, special_tokens: int = 0) -> Tensor | None:
    """Where a component is active.

    Parameters
    ----------
    output : what the layer puts out for a batch. index, sign : the component. special_tokens : before the patches.

    Returns
    -------
    [B, H, W] float32, sign * a where positive, else 0; None for layers without places, or tokens not on a square grid.
    """
    if layer.kind is LayerKind.MAP:
        found = output[:, index]
    elif layer.kind is LayerKind.MAP_LAST:
        found = output[..., index]
    elif layer.kind is LayerKind.TOKENS and output.ndim == 3:
        patches = output[:, special_tokens:, index]
        side = math.isqrt(patches.shape[1])
        if side * side != patches.shape[1]:
            return None
        found = patches.unflatten(1, (side, side))
    else:
        return None
    return (sign * found.float()).clamp(min=0) if found.ndim == 3 else None


def box_of(heat: Tensor, side: int, threshold: float) -> Rectangle | None:
    """Square around what is active.

    Parameters
    ----------
    heat : [H, W] >= 0, enlarged bilinearly to side x side and blurred (sigma 8 px at 224, scaled with the side).
    threshold : of the largest value; what lies above is inside.

    Returns
    -------
    (top, bottom, left, right) in pixels of the model's input, bottom and right exclusive; None where nothing is active.

    Source: SemanticLens 0.2.1 and zennit-crp for the rule, the threshold for activation maps is ours.
    """
    if not torch.isfinite(heat).all() or float(heat.max()) <= SMALLEST:
        return None
    large = interpolate(heat[None, None], size=(side, side), mode="bilinear", align_corners=False)
    return around(blurred(large / large.max(), sigma=BLUR_SIGMA * side / BLUR_SIDE)[0, 0], threshold)


def relevance_heat(relevance: Tensor) -> Tensor | None:
    """|blurred relevance| of the pixels, its largest value 1.

    Parameters
    ----------
    relevance : [C, side, side], signed; summed over the colours, then blurred (sigma 8 px at 224), so that what is for
        and against cancels where it lies side by side.

    Returns
    -------
    [side, side] float32; None where nothing reached the pixels, or what did is not finite.

    Source: zennit-crp and SemanticLens 0.2.1.
    """
    heat = relevance.float().sum(0)
    largest = float(heat.abs().max())
    if not math.isfinite(largest) or largest <= SMALLEST:
        return None
    smooth = blurred((heat / largest)[None, None], sigma=BLUR_SIGMA * heat.shape[-1] / BLUR_SIDE)[0, 0].abs()
    return smooth / smooth.max() if float(smooth.max()) > SMALLEST else None


def around(smooth: Tensor, threshold: float) -> Rectangle:
    """Square around what lies above `threshold` of the largest value; as `box_of`, without blurring."""
    inside = smooth > threshold * smooth.max()
    rows, columns = inside.any(dim=1).nonzero().flatten(), inside.any(dim=0).nonzero().flatten()
    edges = (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
    return square(*edges, *smooth.shape)


def square(top: int, bottom: int, left: int, right: int, height: int, width: int) -> Rectangle:
    """The square around a rectangle that stays within height x width: its side is the longer edge, at most the shorter.

    Source: ours; SemanticLens 0.2.1 cuts it at the right and lower edge.
    """
    side = min(max(bottom - top, right - left), height, width)
    up = min(max((top + bottom - side) // 2, 0), height - side)
    along = min(max((left + right - side) // 2, 0), width - side)
    return up, up + side, along, along + side


def in_picture(box: Rectangle, size: tuple[int, int], how: Preprocessing) -> Box:
    """Bring a box from the model's input to the original picture, at least 32 px wide where the picture is.

    Parameters
    ----------
    size : (width, height) of the original. how : the preprocessing, whose geometry is undone.
    """
    top, bottom, left, right = box
    spans = []
    for begin, end, original in ((left, right, size[0]), (top, bottom, size[1])):
        resized = int(how.resize * original / min(size))
        start = round((resized - how.crop) / 2)
        low, high = (begin + start) * original / resized, (end + start) * original / resized
        missing = max(SMALLEST_SIDE - (high - low), 0) / 2
        low, high = math.floor(low - missing), math.ceil(high + missing)
        shift = max(0, -low) - max(0, high - original)
        spans.append((max(low + shift, 0), min(high + shift, original)))
    return Box(left=spans[0][0], right=spans[0][1], top=spans[1][0], bottom=spans[1][1])
