"""What each parameter's feedback is multiplied with: max(|p|, floor), and optimisers that would divide it out again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from services.model.training.errors import AdaptiveOptimiserWarning, FeedbackOptionError, FrozenParameterWarning

FLOOR = {"bias": 1e-3, "norm": 1e-3, "zero_init": 1e-3, "weight": 0.0}
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
ADAPTIVE = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Adafactor")


def kinds_of(model: nn.Module) -> dict[str, str]:
    """`bias`, `norm`, `zero_init` or `weight` for each parameter's name, as the model is now."""
    norms = {
        f"{place}.{name}" if place else name
        for place, module in model.named_modules()
        if isinstance(module, NORMS) or "norm" in type(module).__name__.lower()
        for name, _ in module.named_parameters(recurse=False)
    }
    kinds = {}
    for name, parameter in model.named_parameters():
        if name in norms:
            kinds[name] = "norm"
        elif not bool(parameter.detach().any()):
            kinds[name] = "zero_init"
        else:
            kinds[name] = "bias" if name.rpartition(".")[2] == "bias" else "weight"
    return kinds


def floors_of(model: nn.Module, floor: float | dict[str, float] | None) -> dict[str, float]:
    """The floor of each parameter by name; warns of exact zeros that would never move."""
    if isinstance(floor, dict) and (unknown := set(floor) - set(FLOOR)):
        raise FeedbackOptionError(
            f"floor has {', '.join(sorted(unknown))}; known are {', '.join(FLOOR)}", field="floor"
        )
    table = dict.fromkeys(FLOOR, float(floor)) if isinstance(floor, int | float) else FLOOR | (floor or {})
    kinds = kinds_of(model)
    floors = {name: table[kind] for name, kind in kinds.items()}
    stuck = {
        name: count
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not floors[name] and (count := int((parameter.detach() == 0).sum()))
    }
    if stuck:
        told = ", ".join(f"{name} ({count})" for name, count in list(stuck.items())[:5])
        warnings.warn(
            f"{sum(stuck.values())} parameters are exactly 0 and never move without a floor: {told}",
            FrozenParameterWarning, stacklevel=3,
        )  # fmt: skip
    return floors


def scale(parameter: Tensor, floor: float) -> Tensor:
    """max(|p|, floor), shape and dtype of the parameter."""
    size = parameter.detach().abs()
    return size.clamp_(min=floor) if floor else size


def scales_of(parameters: Sequence[Tensor], floors: Sequence[float]) -> tuple[Tensor, ...]:
    """max(|p|, floor) of each parameter."""
    sizes = torch._foreach_abs([parameter.detach() for parameter in parameters])
    for floor in set(floors) - {0.0}:
        torch._foreach_clamp_min_([size for size, least in zip(sizes, floors, strict=True) if least == floor], floor)
    return sizes


@dataclass
class Handle:
    """Takes a hook away again."""

    removers: list[Callable[[], None]]

    def remove(self) -> None:
        """Undo."""
        while self.removers:
            self.removers.pop()()


def warn_of_adaptive(optimiser: torch.optim.Optimizer) -> None:
    """Say that an Adam-type optimiser on preconditioned feedback loses the sparsity."""
    if type(optimiser).__name__ in ADAPTIVE:
        warnings.warn(
            f"{type(optimiser).__name__} divides by a running norm of its input, which cancels the factor |w|;"
            ' use precondition="update" to keep what it does',
            AdaptiveOptimiserWarning, stacklevel=3,
        )  # fmt: skip


def precondition_updates(optimiser: torch.optim.Optimizer, names: dict[int, str], floors: dict[str, float]) -> Handle:
    """Scale each step: p <- p_old + max(|p_old|, floor)(p - p_old). Costs one copy of the parameters."""
    kept: dict[int, Tensor] = {}

    def before(_: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                if id(parameter) in names and parameter.grad is not None:
                    kept[id(parameter)] = parameter.detach().clone()

    @torch.no_grad()
    def after(_: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                old = kept.pop(id(parameter), None)
                if old is not None:
                    size = scale(old, floors[names[id(parameter)]])
                    parameter.copy_(old + size * (parameter - old))

    hooks = [optimiser.register_step_pre_hook(before), optimiser.register_step_post_hook(after)]
    return Handle([hook.remove for hook in hooks])
