"""Where an intervention acts: masks over the places of a map or the tokens of a sequence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from contracts.steering import AllPlaces, KeptPlaces, Places, PlacesDoNotFit, Region, TokenPlaces

VECTOR, TOKENS, MAP = 2, 3, 4  # ranks


@dataclass(frozen=True)
class Frame:
    """What only the runner of a sequence model knows about one forward pass. All None: one pass over everything.

    Parameters
    ----------
    positions : [B, T] int64, absolute position of each token, counted from the first real one; padding is negative.
    kept : [B, T] bool, False for padding, beginning of sequence and chat template.
    prompt : [B] int64, tokens of each row's prompt: what comes after it was generated.
    """

    positions: Tensor | None = None
    kept: Tensor | None = None
    prompt: Tensor | None = None


def mask_of(places: Places, row: int, grid: torch.Size, frame: Frame, special: int) -> Tensor | None:
    """Mask of one row; None is everywhere.

    Parameters
    ----------
    grid : the layer's places: (), (T,) or (H, W).
    special : leading tokens that are no patches, for layers whose runner gives no frame.

    Returns
    -------
    Bool in the shape of `grid`.

    Raises
    ------
    PlacesDoNotFit : tokens of what is no sequence, a region of what has no area.
    """
    if isinstance(places, AllPlaces):
        return None
    if isinstance(places, KeptPlaces):
        return _kept(row, grid, frame, special)
    if isinstance(places, TokenPlaces):
        if len(grid) != 1:
            raise PlacesDoNotFit("the layer puts out no tokens", field="places")
        return torch.isin(positions_of(row, grid, frame), torch.tensor(places.at))
    return _region(places, grid, special)


def positions_of(row: int, grid: torch.Size, frame: Frame) -> Tensor:
    """Absolute positions of one row's tokens, [T] int64."""
    if frame.positions is None:
        return torch.arange(grid[0])
    return _of_row(frame.positions, row, grid, "positions").cpu()


def generated(row: int, grid: torch.Size, frame: Frame) -> Tensor:
    """How many generated tokens each place has seen, [T] int64: its own counts, the prompt's do not."""
    if frame.prompt is None:
        return torch.zeros(grid[0], dtype=torch.int64)
    prompt = int(frame.prompt[row if len(frame.prompt) > 1 else 0])
    return (positions_of(row, grid, frame) - prompt + 1).clamp(min=0)


def _kept(row: int, grid: torch.Size, frame: Frame, special: int) -> Tensor | None:
    if len(grid) != 1:
        return None
    if frame.kept is not None:
        return _of_row(frame.kept, row, grid, "kept").cpu()
    return torch.arange(grid[0]) >= special if special else None


def _of_row(values: Tensor, row: int, grid: torch.Size, name: str) -> Tensor:
    if values.shape[1:] != grid:
        raise PlacesDoNotFit(
            f"`{name}` is given for {list(values.shape[1:])} tokens, and the layer puts out {list(grid)}", field=name
        )
    return values[row if len(values) > 1 else 0]


def _region(region: Region, grid: torch.Size, special: int) -> Tensor:
    if len(grid) == 2:
        return _rectangle(region, grid[0], grid[1])
    side = math.isqrt(grid[0] - special) if len(grid) == 1 and grid[0] > special else 0
    if not side or side * side != grid[0] - special:
        raise PlacesDoNotFit(f"the layer puts out {list(grid)} places, which are no grid", field="places")
    return torch.cat([torch.zeros(special, dtype=torch.bool), _rectangle(region, side, side).flatten()])


def _rectangle(region: Region, height: int, width: int) -> Tensor:
    down = (torch.arange(height) + 0.5) / height
    across = (torch.arange(width) + 0.5) / width
    rows = (down >= region.top) & (down < region.bottom)
    columns = (across >= region.left) & (across < region.right)
    return rows[:, None] & columns[None, :]
