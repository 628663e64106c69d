"""Watching the functions that a forward pass calls, on this thread only, without touching any module."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

from services.model.training import attention, rules, spiking
from services.model.training.chords import CHORDS, Chorded, ChordOptions
from services.model.training.errors import NoRuleError

FLAT = {
    torch.round, torch.floor, torch.ceil, torch.trunc, torch.sign, torch.argmax, torch.argmin,
    torch.gt, torch.ge, torch.lt, torch.le, torch.eq, torch.ne,
    Tensor.round, Tensor.floor, Tensor.ceil, Tensor.trunc, Tensor.sign, Tensor.argmax, Tensor.argmin,
    Tensor.gt, Tensor.ge, Tensor.lt, Tensor.le, Tensor.eq, Tensor.ne,
    Tensor.__gt__, Tensor.__ge__, Tensor.__lt__, Tensor.__le__, Tensor.__eq__, Tensor.__ne__,
}  # fmt: skip
IN_PLACE = {
    torch.tanh_, torch.sigmoid_, torch.selu_, torch.celu_, F.elu_, F.selu_, F.celu_, F.hardtanh_,
    Tensor.tanh_, Tensor.sigmoid_,
}  # fmt: skip
AFFINE = {F.linear, F.conv1d, F.conv2d, F.conv3d, torch.conv1d, torch.conv2d, torch.conv3d}
SUMS = {
    *AFFINE, F.conv_transpose1d, F.conv_transpose2d, F.batch_norm, F.layer_norm, F.group_norm, F.avg_pool1d,
    F.avg_pool2d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__,
}  # fmt: skip
PRODUCTS = {
    torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm,
    Tensor.bmm,
}  # fmt: skip
NORMS = {F.layer_norm: attention.layer_norm_detached, F.rms_norm: attention.rms_norm_detached}


@dataclass(frozen=True)
class Options:
    """How reward passes the operations; the fields are those of `LFP`."""

    rule: rules.Rule = field(default_factory=rules.Rule)
    eps: float = 0.0
    chords: ChordOptions = field(default_factory=ChordOptions)
    uniform: bool = False
    detach_norm: bool = False


class Interception(TorchFunctionMode):
    """Replaces the backward side of the operations that need it. Modes belong to a thread; forward values stay."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.affine = rules.Count()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called for every torch function; inside, the mode is off."""
        kwargs = kwargs or {}
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        out = self._call(func, args, kwargs)
        if self.options.eps and func in SUMS and isinstance(out, Tensor) and out.requires_grad:
            return rules.Stabilised.apply(out, self.options.eps)
        return out

    def _call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        options = self.options
        if func in CHORDS and needs_grad(args[:1]):
            return self._chorded(func, args, kwargs)
        if func is spiking.leaky and needs_grad(args[:1]):
            return spiking.LeakyFeedback.apply(*args)
        if func in FLAT and needs_grad(args[:1]) and args[0].is_floating_point():
            raise NoRuleError(f"{name_of(func)} has no derivative and no chord, called at {call_site()}")
        if func in IN_PLACE and needs_grad(args[:1]):
            raise NoRuleError(f"{name_of(func)} works in place, called at {call_site()}: use the form that returns")
        if options.rule.pools and func in AFFINE and needs_grad((*args, *kwargs.values())):
            return rules.pooled_call(func, args, kwargs, options.rule, self.affine)
        if options.detach_norm and func in NORMS:
            return NORMS[func](*args, **kwargs)
        if options.uniform:
            return attention.uniform_call(func, args, kwargs, product=func in PRODUCTS)
        return func(*args, **kwargs)

    def _chorded(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        if kwargs.get("inplace"):
            kwargs = {**kwargs, "inplace": False}
        rest = tuple(False if _is_inplace(func, place) else value for place, value in enumerate(args))[1:]
        call = lambda z: func(z, *rest, **kwargs)  # noqa: E731
        return Chorded.apply(args[0], call, CHORDS[func], self.options.chords)  # type: ignore[no-any-return]


def _is_inplace(func: Callable[..., Any], place: int) -> bool:
    try:
        names = list(inspect.signature(func).parameters)
    except (TypeError, ValueError):
        return False
    return place < len(names) and names[place] == "inplace"


def needs_grad(values: tuple[Any, ...]) -> bool:
    """Whether any of the values is a tensor that gradients are wanted of."""
    return any(isinstance(value, Tensor) and value.requires_grad for value in values)


def name_of(func: Callable[..., Any]) -> str:
    """The public name of a torch function."""
    return resolve_name(func) or getattr(func, "__name__", str(func))


def call_site() -> str:
    """File and line, outside torch and outside this package, that the call came from."""
    for frame in reversed(traceback.extract_stack()):
        if "/torch/" not in frame.filename and "services/model/training" not in frame.filename:
            return f"{frame.filename}:{frame.lineno}"
    return "unknown"
