"""What is explained, and the checks that come before any work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from services.model.attribution.errors import BadInputs, TargetOutOfRange, TrainingMode, UnknownLayerName

Target = int | Sequence[int] | Tensor | Callable[[Tensor], Tensor]
Inputs = Tensor | Mapping[str, Any]


def require_ready(model: nn.Module, inputs: Inputs, target: Target, layers: Sequence[str]) -> None:
    """Refuse what can be refused before any work."""
    if any(module.training for module in model.modules()):
        raise TrainingMode("the model, or a part of it, is in training mode", field="model")
    known = {name for name, _ in model.named_modules() if name}
    for name in layers:
        if name not in known:
            close = get_close_matches(name, known, n=3, cutoff=0.3)
            raise UnknownLayerName(f"the model has no layer {name!r}", field="layers", closest=close)
    for name, each in _floating(inputs):
        if not bool(each.isfinite().all()):
            raise BadInputs(f"{name} has NaN or infinite entries", field="inputs")
    if isinstance(target, bool) or (isinstance(target, Tensor) and target.is_floating_point()):
        raise TargetOutOfRange("a target is an index, not a truth value or a fraction", field="target")


def _floating(inputs: Inputs) -> list[tuple[str, Tensor]]:
    items = inputs.items() if isinstance(inputs, Mapping) else [("inputs", inputs)]
    return [(name, each) for name, each in items if isinstance(each, Tensor) and each.is_floating_point()]


def main_input(inputs: Inputs) -> tuple[str | None, Tensor]:
    """The input that is explained and its name: the first floating tensor, else the first integer one (token ids)."""
    if isinstance(inputs, Tensor):
        if inputs.dtype == torch.bool or inputs.is_complex():
            raise BadInputs(f"inputs of type {inputs.dtype} need no gradient", field="inputs")
        return None, inputs
    if not isinstance(inputs, Mapping):
        raise BadInputs(f"inputs are a tensor or a dict of tensors, not {type(inputs).__name__}", field="inputs")
    ids = inputs.get("input_ids")
    candidates = _floating({key: each for key, each in inputs.items() if "mask" not in key})
    if candidates and not isinstance(ids, Tensor):
        return candidates[0]
    integers = [(key, each) for key, each in inputs.items() if isinstance(each, Tensor) and "mask" not in key]
    if isinstance(ids, Tensor) or integers:
        return ("input_ids", ids) if isinstance(ids, Tensor) else integers[0]
    raise BadInputs("no input tensor that could need a gradient", field="inputs")


def output_tensor(output: object) -> Tensor:
    """The tensor in a model's output: itself, `.logits`, or the first floating tensor."""
    if isinstance(output, Tensor):
        return output
    logits = getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    for each in parts:
        if isinstance(each, Tensor) and each.is_floating_point():
            return each
    raise BadInputs(f"the model puts out {type(output).__name__} without a floating tensor", field="model")


def scored(output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """The score [B] and its gradient with respect to the output [*output].

    An index selects from [B, K]; from [B, T, K] (language models) it selects at the last position.
    """
    with torch.enable_grad():
        free = output.detach().requires_grad_()
        score = target(free) if callable(target) else _selected(free, target)
        if not isinstance(score, Tensor) or score.shape != output.shape[:1]:
            found = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
            raise TargetOutOfRange(f"the score is {found}, one number per input is wanted", field="target")
        if not score.requires_grad:
            raise TargetOutOfRange("the score does not depend on the output", field="target")
        (gradient,) = torch.autograd.grad(score.sum(), free)
    return score.detach(), gradient


def _selected(output: Tensor, target: int | Sequence[int] | Tensor) -> Tensor:
    rows = output[:, -1] if output.ndim == 3 else output[:, None] if output.ndim == 1 else output
    if rows.ndim != 2:
        raise TargetOutOfRange(
            f"an index does not say which entry of {tuple(output.shape)} is meant; give a function of the output",
            field="target",
        )
    count, width = rows.shape
    chosen = torch.as_tensor(target, dtype=torch.long).reshape(-1)
    if chosen.numel() not in (1, count):
        raise TargetOutOfRange(f"{chosen.numel()} targets for {count} inputs", field="target", outputs=width)
    if bool(((chosen < 0) | (chosen >= width)).any()):
        raise TargetOutOfRange(f"target {chosen.tolist()} with {width} outputs", field="target", outputs=width)
    return rows.gather(1, chosen.expand(count)[:, None])[:, 0]
