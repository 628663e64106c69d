"""Sums, products, activations, averages, and functions that mix signals with constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from services.model.attribution.carriers import enter, inverse, leave, pass_through
from services.model.attribution.errors import FusedAttention
from services.model.attribution.functions import (
    ACTIVATIONS,
    AVERAGES,
    FUSED,
    MIXING,
    NORMALISERS,
    handles,
    named,
    plain,
    replaced,
    tensors_in,
    tracked,
)

if TYPE_CHECKING:
    from services.model.attribution.tracer import Tracer


@handles("add", "__add__", "__radd__", "__iadd__", "sub", "subtract", "__sub__", "__rsub__", "__isub__", "rsub")
def add(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """Sums and differences."""
    left, right = named(args, kwargs, "input", "other")
    alpha = kwargs.get("alpha", args[2] if len(args) > 2 else 1)
    name = func.__name__
    if name in ("__rsub__", "rsub"):
        left, right = right, left
    if not tracked(left) and not tracked(right):
        return func(*args, **kwargs)
    factor = -alpha if "sub" in name else alpha
    return summed(tracer, left, right if factor == 1 else _scaled(right, factor))


def _scaled(value: object, factor: float) -> object:
    return pass_through(value, value.detach() * factor) if tracked(value) else value * factor


def summed(tracer: Tracer, left: object, right: object) -> Tensor:
    """`left + right` of two signals by the residual rule, of a signal and a constant as signal and bias."""
    value = (left.detach() if isinstance(left, Tensor) else left) + (
        right.detach() if isinstance(right, Tensor) else right
    )
    if not (tracked(left) and tracked(right)):
        return _biased(tracer, left if tracked(left) else right, value)
    policy = tracer.rule("residual")
    if policy.kind == "eps":
        return _eps_sum(tracer, left, right, value, policy.eps)
    first, second = left.detach().expand_as(value), right.detach().expand_as(value)
    if policy.kind == "fixed":
        parts = torch.full_like(value, policy.skip), torch.full_like(value, 1 - policy.skip)
    else:
        sizes = (first.abs(), second.abs()) if policy.kind == "abs" else (first.clamp(min=0), second.clamp(min=0))
        below = inverse(sizes[0] + sizes[1], policy.eps)
        parts = sizes[0] * below, sizes[1] * below

    def share(relevance: Tensor) -> tuple[Tensor, Tensor]:
        if tracer.ledger is not None:
            tracer.ledger.add("killed", relevance * (1 - parts[0] - parts[1]))
        return relevance * parts[0], relevance * parts[1]

    return leave(share, value, left.expand_as(value), right.expand_as(value))


def _eps_sum(tracer: Tracer, left: Tensor, right: Tensor, value: Tensor, eps: float) -> Tensor:
    price = inverse(value, eps)
    ways = [each.detach() for each in (left, right)]
    if tracer.absolute:
        price, ways = price.abs(), [each.abs() for each in ways]

    def share(relevance: Tensor) -> tuple[Tensor, Tensor]:
        quotient = relevance * price
        if tracer.ledger is not None:
            tracer.ledger.add("killed", relevance - quotient * value)
        return quotient, quotient

    branches = [enter(each, way, way).expand_as(value) for each, way in zip((left, right), ways, strict=True)]
    return leave(share, value, *branches)


def _biased(tracer: Tracer, signal: Tensor, value: Tensor) -> Tensor:
    """A sum with a constant: the constant takes its share, as a bias does."""
    price = inverse(value, tracer.composite.eps)
    price, way = (price.abs(), signal.detach().abs()) if tracer.absolute else (price, signal.detach())

    def share(relevance: Tensor) -> tuple[Tensor]:
        quotient = relevance * price
        if tracer.ledger is not None:
            kept = quotient * signal.detach()
            tracer.ledger.add("bias", torch.where(quotient == 0, quotient, relevance - kept))
        return (quotient,)

    return leave(share, value, enter(signal, way, way).expand_as(value))


@handles("mul", "multiply", "__mul__", "__rmul__", "__imul__")
def multiply(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """A product with a constant passes R on; of two signals, the gate rule shares it."""
    left, right = named(args, kwargs, "input", "other")
    value = func(*(plain(each) for each in (left, right)))
    if tracked(left) and tracked(right):
        if left is right:
            return pass_through(left, value)
        first = tracer.rule("gate").first
        shape = value.shape
        return leave(lambda r: (r * first, r * (1 - first)), value, left.expand(shape), right.expand(shape))
    if tracked(left) or tracked(right):
        return pass_through((left if tracked(left) else right).expand_as(value), value)
    return value


@handles("div", "divide", "true_divide", "__truediv__", "__rdiv__", "__rtruediv__", "__div__", "__itruediv__")
def divide(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """The numerator takes all; a denominator only normalises."""
    left, right = named(args, kwargs, "input", "other")
    value = func(plain(left), plain(right), **{key: each for key, each in kwargs.items() if key == "rounding_mode"})
    above = right if func.__name__ in ("__rdiv__", "__rtruediv__") else left
    return pass_through(above.expand_as(value), value) if tracked(above) else value


@handles(*ACTIVATIONS, "neg", "negative", "positive", "normalize", "real")
def activation(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """Identity rule: R at the output is R at the input."""
    x = args[0] if args else kwargs["input"]
    value = func(*plain(args), **{key: False if key == "inplace" else plain(each) for key, each in kwargs.items()})
    return pass_through(x, value) if tracked(x) and isinstance(value, Tensor) and value.is_floating_point() else value


@handles(*NORMALISERS)
def normaliser(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> object:
    """A deviation or a length is a constant of the normalisation that uses it."""
    return func(*plain(args), **plain(kwargs))


@handles(*AVERAGES)
def linear_map(tracer: Tracer, func: Callable, args: tuple, kwargs: dict, at: int = 0) -> Tensor:
    """Averages, sums and resampling: linear with weights >= 0, shared by contribution."""
    x = args[at] if len(args) > at else kwargs.pop("input")
    if not tracked(x):
        return func(*args, **kwargs)
    eps = tracer.rule("average").eps
    value = func(*args[:at], x.detach(), *args[at + 1 :], **kwargs)
    price, way = inverse(value, eps), x.detach()
    if tracer.absolute:
        price, way = price.abs(), way.abs()

    def share(relevance: Tensor) -> tuple[Tensor]:
        quotient = relevance * price
        if tracer.ledger is not None:
            tracer.ledger.add("killed", relevance - quotient * value)
        return (quotient,)

    return leave(share, value, func(*args[:at], enter(x, way, way), *args[at + 1 :], **kwargs))


@handles(*MIXING)
def mixing(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """Signals beside constants (class tokens, padding, masks): what the constants get is booked."""
    sources = [each for each in tensors_in((args, kwargs)) if each.requires_grad]
    ledger = tracer.ledger
    if not sources or ledger is None or tracer.absolute:
        return func(*args, **kwargs)

    def booked(direction: int) -> Callable[[Tensor], tuple[Tensor]]:
        def share(relevance: Tensor) -> tuple[Tensor]:
            ledger.add("constant", direction * relevance)
            return (relevance,)

        return share

    taps = {id(each): leave(booked(-1), each, each) for each in sources}
    whole = func(*replaced(args, taps), **replaced(kwargs, taps))
    return leave(booked(1), whole, whole)


@handles("embedding")
def embedding(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """The look-up of the explained token ids is the input of the game; other look-ups are constants."""
    ids = args[0] if args else kwargs["input"]
    value = func(*plain(args), **plain(kwargs))
    wanted = tracer.token_ids
    if tracer.leaf is None and wanted is not None and ids.shape == wanted.shape and torch.equal(ids, wanted):
        tracer.leaf = value.detach().requires_grad_()
        return tracer.leaf
    return value


@handles(*FUSED)
def fused(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> object:
    """A compiled kernel that hides its attention weights."""
    raise FusedAttention(f"`{func.__name__}` at {tracer.site()} cannot be expanded", field="model", site=tracer.site())


def by_gradient(tracer: Tracer, func: Callable, args: tuple, kwargs: dict, out: Tensor) -> Tensor:
    """Gradient x input for an operation without a rule: R_x = x * J^T (R / y)."""
    sources = {id(each): each for each in tensors_in((args, kwargs)) if each.requires_grad}
    held = {key: enter(each, each, each) for key, each in sources.items()}
    branch = func(*replaced(args, held), **replaced(kwargs, held))
    price, value = inverse(out.detach(), tracer.composite.eps), out.detach()
    return leave(lambda relevance: (relevance * price,), value, branch)
