"""Curves over the strength of an intervention, and the window in which it works without breaking the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from contracts.steering import CurvePoint, NonFiniteSteering, Window
from services.model.interventions import Step, steered

ROWS = 8


def total_variation(before: Tensor, after: Tensor) -> float:
    """Half the sum of absolute differences of two probability vectors [outputs]; between 0 and 1."""
    return float((before.double() - after.double()).abs().sum() / 2)


def correlation(before: Tensor, after: Tensor) -> float | None:
    """Pearson correlation of two vectors of equal length; None where one of them is constant."""
    x, y = (each.double().flatten() - each.double().mean() for each in (before, after))
    length = float(x.norm() * y.norm())
    return float(x @ y) / length if length > 0 else None


def scores_by_strength(
    model: nn.Module,
    one: Tensor,
    plans: Sequence[Sequence[Step]],
    *,
    channels_last: frozenset[str] = frozenset(),
    special_tokens: int = 0,
) -> list[Tensor | None]:
    """Scores of one input under several plans, several to a forward pass.

    Parameters
    ----------
    one : [1, 3, H, W].
    plans : one list of steps for each point of the curve.

    Returns
    -------
    [outputs] float32 for each plan; None where activations or scores are not finite.
    """
    found: list[Tensor | None] = []
    for start in range(0, len(plans), ROWS):
        some = plans[start : start + ROWS]

        def run(rows: Sequence[Sequence[Step]]) -> Tensor:
            with (
                torch.no_grad(),
                steered(model, rows=rows, channels_last=channels_last, special_tokens=special_tokens),
            ):
                scores: Tensor = model(
                    one.expand(len(rows), *one.shape[1:]).contiguous(memory_format=torch.channels_last)
                )
            return scores.float()

        try:
            found += list(run(some))
        except NonFiniteSteering as refused:
            bad = refused.facts.get("rows")
            failed = set(bad) if isinstance(bad, list) else set()
            found += [None if row in failed else _alone(run, plan) for row, plan in enumerate(some)]
    return [scores if scores is not None and bool(torch.isfinite(scores).all()) else None for scores in found]


def _alone(run: Callable[[Sequence[Sequence[Step]]], Tensor], plan: Sequence[Step]) -> Tensor | None:
    try:
        return run([plan])[0]
    except NonFiniteSteering:
        return None


def window_of(curve: Sequence[CurvePoint], closeness: float) -> tuple[Window | None, str]:
    """Find the longest run of strengths at which the first output changes and the outputs stay close.

    Parameters
    ----------
    curve : in any order of strengths.
    closeness : the least correlation of the outputs with the unsteered ones.

    Returns
    -------
    The window, and one sentence that says why there is none.
    """
    ordered = sorted(curve, key=lambda point: point.strength)
    runs = [list(run) for works, run in groupby(ordered, lambda point: _works(point, closeness)) if works]
    if runs:
        longest = max(runs, key=len)
        best = max(longest, key=lambda point: point.closeness or 0.0)
        return Window(low=longest[0].strength, high=longest[-1].strength, recommended=best.strength), ""
    if not any(point.finite for point in curve):
        return None, "no strength leaves the model finite"
    if not any(point.flipped for point in curve):
        return None, "no strength changes the first output"
    return (
        None,
        f"where the first output changes, the outputs correlate below {closeness:g} with the unsteered ones",
    )


def _works(point: CurvePoint, closeness: float) -> bool:
    return point.finite and point.flipped and point.closeness is not None and point.closeness >= closeness
