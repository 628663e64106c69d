"""All ways to attribute a score under one name each: the baselines, and every composite of rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from torch import Tensor, nn

from contracts.attribution import UnknownMethod
from services.model.attribution.baselines import METHODS
from services.model.attribution.composites import COMPOSITES
from services.model.attribution.engine import attribute

BASELINE_AIMS = {
    "gradient": ("sensitivity of the score", 3),
    "gradient_x_input": ("first-order contribution", 3),
    "integrated_gradients": ("contribution along the path from a grey picture; adds up to the difference", 96),
    "smoothgrad": ("sensitivity, averaged over noise", 48),
    "gradcam": ("where the last map, or the last attention, speaks for the output", 3),
    "occlusion": ("what hiding a window costs", 65),
    "rollout": ("transformers: where attention flows, for any output", 3),
    "chefer": ("transformers: where attention flows, weighted by its gradient", 3),
}
COMPOSITE_PASSES = 8  # forward under interception, one backward, one plain forward to verify


@dataclass(frozen=True)
class Found:
    """What a method found.

    Parameters
    ----------
    relevance : [B, *input], or one value a place [B, h, w].
    complete : whether the method promises that the map alone adds up to the score (composites tell their own gap, with
        what biases absorbed counted in).
    layers, outputs : relevance of the layers that were asked for, in the shape of their output, and that output;
        composites only.
    """

    relevance: Tensor
    complete: bool
    conservation_gap: float | None = None
    forward_change: float | None = None
    absorbed: Mapping[str, float] = field(default_factory=dict)
    unruled: tuple[str, ...] = ()
    layers: Mapping[str, Tensor] = field(default_factory=dict)
    outputs: Mapping[str, Tensor] = field(default_factory=dict)


def is_composite(name: str) -> bool:
    """Whether the name is that of a composite; a baseline of the same name goes first."""
    return name in COMPOSITES and name not in METHODS


def method_names() -> list[str]:
    """All names: baselines, then composites."""
    return [*METHODS, *(name for name in COMPOSITES if name not in METHODS)]


def require_method(name: str) -> None:
    """Refuse an unknown name.

    Raises
    ------
    UnknownMethod : with the closest names.
    """
    if name not in METHODS and name not in COMPOSITES:
        names = method_names()
        closest = get_close_matches(name, names, n=3, cutoff=0.3)
        raise UnknownMethod(f"no method is called {name}", field="methods", closest=[*closest])


def described(name: str) -> tuple[str, int]:
    """What a method aims at, and its cost in forward passes."""
    if not is_composite(name):
        return BASELINE_AIMS[name]
    composite = COMPOSITES[name]
    return composite.aim, COMPOSITE_PASSES + sum(3 * risk.samples for risk in composite.risks())


def run_method(
    name: str, model: nn.Module, inputs: Tensor, target: Tensor, *, layers: Sequence[str] = (),
    fallback: Literal["error", "gradient"] = "error",
) -> Found:  # fmt: skip
    """Attribute by name.

    Parameters
    ----------
    inputs, target : [B, ...] and [B] int64.
    layers : whose relevance is wanted as well, from a composite.

    Raises
    ------
    UnknownMethod, and what the method refuses.
    """
    require_method(name)
    if not is_composite(name):
        return Found(METHODS[name](model, inputs, target), name in {"gradient_x_input", "integrated_gradients"})
    found = attribute(model, inputs, target, name, layers=layers, fallback=fallback)
    told = found.diagnostics
    return Found(
        found.relevance, False, told.conservation_gap, told.forward_change,
        told.absorbed, told.unruled, found.layers, found.outputs,
    )  # fmt: skip
