"""How much of the input one place of a map can see, measured: which input pixels have a gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from contracts.model import Layer, LayerKind
from services.model.capture.boxes import Rectangle, square
from services.model.capture.hooks import first_tensor

Run = Callable[[Tensor], Tensor]
DRAWS = 4
SMALLEST_SHARE = 0.25  # of the input's side


@dataclass(frozen=True)
class ReceptiveField:
    """What the places of a map see along one axis; maps and inputs are square.

    Attributes
    ----------
    first, size : the place in the middle sees [first, first + size) of the input. middle : its number.
    step : how far the next place's field lies beside it, in pixels of the input.
    places, side : of the map, and of the input.
    """

    first: float
    size: int
    middle: int
    step: float
    places: int
    side: int

    def box(self, position: int) -> Rectangle:
        """Square around the field of a flat position: (top, bottom, left, right), at least a quarter of the side."""
        width = round(min(max(self.size, SMALLEST_SHARE * self.side), self.side))
        edges = []
        for place in divmod(position, self.places):
            centre = self.first + self.size / 2 + (place - self.middle) * self.step
            begin = round(min(max(centre - width / 2, 0), self.side - width))
            edges += [begin, begin + width]
        return square(edges[0], edges[1], edges[2], edges[3], self.side, self.side)


def receptive_field(model: nn.Module, layer: Layer, side: int) -> ReceptiveField | None:
    """Measure the receptive field of a layer that puts out maps [B, C, H, W] of square inputs [B, 3, side, side].

    A copy of the model has its weights replaced by positive ones of the size 1 / fan-in and its normalisations undone,
    so that on positive inputs no path is cut off by an activation; the field is where the input has a gradient, over
    several random inputs because of max pooling. Gates over the whole picture make it the whole picture.

    Returns
    -------
    None for layers without maps, or maps that are not square.
    """
    if layer.kind is not LayerKind.MAP:
        return None
    probe = _positive(copy.deepcopy(model).double().eval())
    run = _map_of(probe, layer)
    places = run(torch.ones(1, 3, side, side, dtype=torch.float64)).shape[-2:]
    if places[0] != places[1]:
        return None
    middle = places[0] // 2
    seen = [_seen(run, place, middle, side) for place in (middle, min(middle + 1, places[0] - 1))]
    (first, last), (next_first, next_last) = seen
    step = float(next_first - first or next_last - last) or side / places[0]
    return ReceptiveField(first, last - first, middle, step, places[0], side)


def _seen(run: Run, row: int, column: int, side: int) -> tuple[int, int]:
    """First and last + 1 row of the input that a place sees."""
    found = torch.zeros(side, dtype=torch.bool)
    for draw in range(DRAWS):
        noise = torch.Generator().manual_seed(draw)
        x = torch.rand(1, 3, side, side, dtype=torch.float64, generator=noise).add(0.5).requires_grad_()
        (gradient,) = torch.autograd.grad(run(x)[0, :, row, column].sum(), x)
        found |= (gradient[0] != 0).any(dim=0).any(dim=1)
    rows = found.nonzero().flatten()
    return (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, side)


def _map_of(model: nn.Module, layer: Layer) -> Run:
    """A function from inputs to what the layer puts out for them."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, given: object, output: object) -> None:
        kept.append(first_tensor(layer.name, output))

    dict(model.named_modules())[layer.name].register_forward_hook(keep)

    def run(x: Tensor) -> Tensor:
        kept.clear()
        model(x)
        return kept[-1]

    return run


def _positive(model: nn.Module) -> nn.Module:
    """Make every weight positive and of the size 1 / fan-in, every bias 0, every normalisation the identity."""
    with torch.no_grad():
        for module in model.modules():
            for name, part in module.named_parameters(recurse=False):
                if part.ndim > 1:
                    part.fill_(1 / max(1, part[0].numel()))
                else:
                    part.fill_(1.0 if name == "weight" else 0.0)
            for name, buffer in module.named_buffers(recurse=False):
                if name in ("running_mean", "running_var"):
                    buffer.fill_(float(name == "running_var"))
    return model
