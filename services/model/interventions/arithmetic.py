"""The arithmetic of interventions: a batch in which every row may have another direction, change and strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from contracts.steering import ConditionNotSeen, NonFiniteSteering, PlacesDoNotFit
from services.model.interventions.places import Frame, generated, mask_of
from services.model.interventions.steps import Step

Seen = Mapping[tuple[str, int], Tensor]  # (layer, component) -> its activations [B, ...] in this forward pass
SMALL = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Slot:
    """The k-th step of every row at one layer; None where a row has none. One row stands for the whole batch."""

    rows: tuple[Step | None, ...]

    def picked(self, indices: Sequence[int]) -> Slot:
        """The same for a choice of rows."""
        return self if len(self.rows) == 1 else Slot(tuple(self.rows[index] for index in indices))


def slots_of(plans: Sequence[Sequence[Step]]) -> dict[str, list[Slot]]:
    """Sort the steps of all rows by layer; steps of one row keep their order. Neutral steps are left out."""
    kept = [[step for step in plan if not step.neutral] for plan in plans]
    slots: dict[str, list[Slot]] = {}
    for layer in dict.fromkeys(step.layer for plan in kept for step in plan):
        at = [[step for step in plan if step.layer == layer] for plan in kept]
        most = max(map(len, at))
        slots[layer] = [Slot(tuple(plan[k] if k < len(plan) else None for plan in at)) for k in range(most)]
    return slots


def steer(h: Tensor, axis: int, slot: Slot, *, layer: str, frame: Frame, seen: Seen, special: int = 0) -> Tensor:
    """Change one layer's activations.

    Parameters
    ----------
    h : [B, d], [B, T, d], [B, d, H, W] or [B, H, W, d]; any floating dtype. `axis` is where d lies.
    seen : activations that conditions read.

    Returns
    -------
    A new tensor like h. Rows without a step and places outside the mask keep every bit. Computed in float32 for the
    16-bit dtypes.

    Raises
    ------
    NonFiniteSteering : names layer and row. ConditionNotSeen, PlacesDoNotFit.

    Source: additive and projection forms as in `atlas.md` section 7: h += a v, h -= <h, v> v, h += (c - <h, v>) v.
    """
    work = h.float() if h.dtype in SMALL else h
    steps = slot.rows
    v = _along(_directions(steps).to(work), work, axis)
    moved = _coefficients(work, v, axis, steps) * v
    fade = _fade(steps, work, axis, frame)
    changed = work + (moved if fade is None else moved * fade)
    if any(step is not None and step.keep_norm for step in steps):
        changed = _as_long(changed, work, axis, steps)
    mask = _mask(steps, work, axis, frame, seen, special)
    if mask is not None:
        changed = torch.where(mask, changed, work)
    require_finite(changed, layer)
    return changed.to(h.dtype)


def require_finite(changed: Tensor, layer: str) -> None:
    """Refuse NaN and infinity. Raises `NonFiniteSteering`."""
    if bool(torch.isfinite(changed.detach().sum())):  # one reduction for the common case
        return
    bad = (~torch.isfinite(changed.detach())).flatten(1).any(1).nonzero()
    if len(bad):
        rows = bad.flatten().tolist()
        raise NonFiniteSteering(f"{layer} is not finite in row {rows[0]}", field="strength", layer=layer, rows=rows)


def _directions(steps: Sequence[Step | None]) -> Tensor:
    width = next(len(step.direction) for step in steps if step is not None)
    return torch.stack([torch.zeros(width) if step is None else step.direction for step in steps])


def _along(rows: Tensor, h: Tensor, axis: int) -> Tensor:
    """[R, d] in a shape that multiplies h."""
    shape = [len(rows)] + [1] * (h.ndim - 1)
    shape[axis] = rows.shape[1]
    return rows.view(shape)


def _wide(values: Sequence[float], h: Tensor) -> Tensor:
    return torch.tensor(values, dtype=h.dtype, device=h.device).view(-1, *[1] * (h.ndim - 1))


def _coefficients(h: Tensor, v: Tensor, axis: int, steps: Sequence[Step | None]) -> Tensor:
    """How far each place is moved along v: [B or R, ...] with one component on `axis`."""
    strength = _wide([0.0 if step is None else step.strength for step in steps], h)
    changes = {step.change for step in steps if step is not None}
    if changes == {"add"}:
        return strength
    c = (h * v).sum(axis, keepdim=True)
    sided = [step is not None and step.one_sided for step in steps]
    part = c.clamp(min=0) if all(sided) else torch.where(_wide(sided, h) > 0, c.clamp(min=0), c) if any(sided) else c
    made = torch.zeros_like(c)
    for change in changes:
        found = {
            "add": lambda: strength.expand_as(c),
            "scale": lambda: (strength - 1) * part,
            "set": lambda: strength - c,
            "clamp": lambda: torch.minimum(c, strength) - c,
            "ablate": lambda: -strength * part,
        }[change]()
        if len(changes) == 1:
            return found
        made = torch.where(_wide([step is not None and step.change == change for step in steps], h) > 0, found, made)
    return made


def _fade(steps: Sequence[Step | None], h: Tensor, axis: int, frame: Frame) -> Tensor | None:
    """Share of the change that is left after so many generated tokens."""
    grid = _grid(h, axis)
    if len(grid) != 1 or all(step is None or step.half_life is None for step in steps):
        return None
    rows = range(len(h))
    halves = [step.half_life if step is not None else None for step in _for_rows(steps, len(h))]
    left = [
        torch.ones(grid) if half is None else 0.5 ** (generated(row, grid, frame) / half)
        for row, half in zip(rows, halves, strict=True)
    ]
    return torch.stack(left).to(h).unsqueeze(axis)


def _as_long(changed: Tensor, h: Tensor, axis: int, steps: Sequence[Step | None]) -> Tensor:
    before = torch.linalg.vector_norm(h, dim=axis, keepdim=True)
    after = torch.linalg.vector_norm(changed, dim=axis, keepdim=True)
    rescaled = changed * (before / after.clamp(min=torch.finfo(h.dtype).tiny))
    wanted = _wide([step is not None and step.keep_norm for step in steps], h) > 0
    return torch.where(wanted, rescaled, changed)


def _mask(
    steps: Sequence[Step | None], h: Tensor, axis: int, frame: Frame, seen: Seen, special: int
) -> Tensor | None:  # fmt: skip
    """Where to change h: broadcastable to it; None is everywhere."""
    grid, rows = _grid(h, axis), _for_rows(steps, len(h))
    masks: list[Tensor | None] = []
    for row, step in enumerate(rows):
        if step is None:
            masks.append(torch.zeros(grid, dtype=torch.bool))
            continue
        mask = mask_of(step.places, row, grid, frame, special)
        holds = _holds(step, row, grid, frame, seen)
        masks.append(mask if holds is None else holds if mask is None else mask & holds)
    if all(mask is None for mask in masks):
        return None
    full = [torch.ones(grid, dtype=torch.bool) if mask is None else mask.expand(grid) for mask in masks]
    return torch.stack(full).to(h.device).unsqueeze(axis)


def _holds(step: Step, row: int, grid: torch.Size, frame: Frame, seen: Seen) -> Tensor | None:
    """Whether a step's condition holds: in the shape of `grid`, or of no shape for the whole row."""
    condition = step.condition
    if condition is None:
        return None
    if (condition.layer, condition.index) not in seen:
        raise ConditionNotSeen(
            f"{condition.layer} has not run before {step.layer}", field="condition.layer", layer=condition.layer
        )
    above = condition.sign * seen[condition.layer, condition.index][row].cpu() > condition.above
    if condition.scope == "place":
        if above.shape != grid:
            raise PlacesDoNotFit(
                f"{condition.layer} has {list(above.shape)} places, {step.layer} has {list(grid)}",
                field="condition.scope",
            )
        return above
    if above.ndim == 1 and frame.kept is not None and frame.kept.shape[1:] == above.shape:
        above = above & frame.kept[row if len(frame.kept) > 1 else 0].cpu()
    return above.any()


def _for_rows(steps: Sequence[Step | None], rows: int) -> Sequence[Step | None]:
    return [steps[0]] * rows if len(steps) == 1 else steps


def _grid(h: Tensor, axis: int) -> torch.Size:
    shape = list(h.shape)
    del shape[axis]
    return torch.Size(shape[1:])
