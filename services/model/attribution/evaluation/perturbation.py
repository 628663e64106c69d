"""Perturbing pictures in the order of a map, and the score along the way. Batched over samples and steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad

from services.model.attribution.evaluation.errors import BadMaps, BadMetricParameter
from services.model.attribution.evaluation.maps import rows

Order = Literal["most", "least"]


@dataclass(frozen=True)
class Scorer:
    """The score of one output a sample, without gradients and in batches.

    Parameters
    ----------
    probability : softmax over the outputs instead of the raw output.
    batch : rows of one forward pass.
    """

    model: nn.Module
    probability: bool = False
    batch: int = 64

    def __call__(self, inputs: Tensor, target: Tensor) -> Tensor:
        """Score f_c(x). [N, ...], [N] int64 -> [N]."""
        scores = []
        with torch.no_grad():
            for some, of in zip(inputs.split(self.batch), target.split(self.batch), strict=True):
                output = self.model(some)
                output = output.softmax(1) if self.probability else output
                scores.append(output.gather(1, of.unsqueeze(1)).squeeze(1))
        return torch.cat(scores)

    def each(self, versions: Iterator[Tensor], target: Tensor, count: int) -> Tensor:
        """Score `count` versions of the same B inputs, as many at once as fit a batch. -> [B, count]."""
        at_once = max(1, self.batch // len(target))
        scores: list[Tensor] = []
        waiting: list[Tensor] = []
        for number, version in enumerate(versions, 1):
            waiting.append(version)
            if len(waiting) == at_once or number == count:
                found = self(torch.cat(waiting), target.repeat(len(waiting)))
                scores.extend(found.split(len(target)))
                waiting = []
        return torch.stack(scores, 1)


def ranks(maps: Tensor, *, order: Order = "most", seed: int = 0) -> Tensor:
    """Place of each feature in the order of removal, 0 first; ties in a seeded random order. [B, ...] -> [B, d]."""
    if order not in ("most", "least"):
        raise BadMetricParameter(f"order is most or least, not {order!r}", field="order")
    flat = rows(maps)
    mixed = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed)).to(flat.device)
    sequence = mixed[flat[:, mixed].argsort(dim=1, descending=order == "most", stable=True)]
    places = torch.arange(flat.shape[1], device=flat.device).expand_as(sequence)
    return torch.empty_like(sequence).scatter_(1, sequence, places)


def step_sizes(d: int, steps: int) -> list[int]:
    """How many features are gone after each step: 0, ..., d in `steps` nearly equal steps."""
    if not 1 <= steps <= d:
        raise BadMetricParameter(f"{steps} steps over {d} features", field="steps", d=d)
    return [round(step * d / steps) for step in range(steps + 1)]


def on_inputs(selection: Tensor, maps: Tensor, inputs: Tensor) -> Tensor:
    """Lay a selection of features over the inputs' shape. [B, d] bool -> broadcastable to `inputs`.

    A map has the inputs' shape, or lacks the channel axis of pictures, or has one value a patch.
    """
    grid = selection.view(maps.shape)
    if maps.shape == inputs.shape:
        return grid
    if maps.ndim == 3 and inputs.ndim == 4 and len(maps) == len(inputs):
        height, width = inputs.shape[-2:]
        if height % maps.shape[1] == 0 and width % maps.shape[2] == 0:
            return interpolate(grid.unsqueeze(1).float(), size=(height, width), mode="nearest").bool()
    raise BadMaps(f"maps {tuple(maps.shape)} do not lie on inputs {tuple(inputs.shape)}", field="maps")


def curve(
    score: Scorer, inputs: Tensor, maps: Tensor, target: Tensor, *, goal: Tensor | float = 0.0,
    start_at_goal: bool = False, order: Order = "most", steps: int = 32, seed: int = 0,
) -> Tensor:  # fmt: skip
    """Score while features are replaced in the order of a map.

    Parameters
    ----------
    inputs : [B, C, H, W], or any [B, ...].
    maps : [B, H, W], [B, h, w] with one value a patch, or of the inputs' shape.
    target : [B] int64.
    goal : what features are replaced with: a value, or a tensor that broadcasts to the inputs.
    start_at_goal : begin with everything replaced and bring features back (insertion).

    Returns
    -------
    [B, steps + 1]; column 0 before any change, the last one after all.
    """
    place = ranks(maps, order=order, seed=seed)
    sizes = step_sizes(place.shape[1], steps)
    replaced = torch.as_tensor(goal, dtype=inputs.dtype, device=inputs.device).expand_as(inputs)
    first, second = (replaced, inputs) if start_at_goal else (inputs, replaced)
    versions = (torch.where(on_inputs(place < size, maps, inputs), second, first) for size in sizes)
    return score.each(versions, target, len(sizes))


def area(curves: Tensor) -> Tensor:
    """Mean height of a curve by trapezoids, the x axis scaled to [0, 1]. [B, steps + 1] -> [B] float64."""
    return torch.trapezoid(curves.double(), dim=1) / (curves.shape[1] - 1)


def blurred(inputs: Tensor, *, sigma: float) -> Tensor:
    """Gaussian blur, mirrored edges. [B, C, H, W], sigma in px."""
    if sigma <= 0:
        raise BadMetricParameter(f"sigma = {sigma}", field="sigma")
    reach = min(int(3 * sigma + 0.5), min(inputs.shape[-2:]) - 1)
    offsets = torch.arange(-reach, reach + 1, dtype=inputs.dtype, device=inputs.device)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (weights / weights.sum()).expand(inputs.shape[1], 1, -1)
    wide = pad(inputs, (reach, reach, reach, reach), mode="reflect")
    along = conv2d(wide, kernel.unsqueeze(2), groups=inputs.shape[1])
    return conv2d(along, kernel.unsqueeze(3), groups=inputs.shape[1])
