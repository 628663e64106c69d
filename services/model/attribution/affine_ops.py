"""Affine and bilinear maps: dense layers, convolutions, matrix products, BatchNorm."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from services.model.attribution.carriers import enter, inverse, leave
from services.model.attribution.elementwise_ops import linear_map, mixing, summed
from services.model.attribution.errors import TrainingMode
from services.model.attribution.functions import HANDLERS, handles, named, tracked
from services.model.attribution.kernel import Affine, Bilinear

if TYPE_CHECKING:
    from services.model.attribution.tracer import Tracer


def affine_call(
    tracer: Tracer, kind: str, name: str, call: Bilinear, x: Tensor, w: Tensor, b: Tensor | None,
    column: tuple[int, ...] = (-1,),
) -> Tensor:  # fmt: skip
    """A map that is linear in x with constant w and b."""
    rule = tracer.rule(kind)
    raw = call(enter(x, x, x), w, b)
    return tracer.affine(Affine(call, x, w, b, raw.detach(), raw, column=column), rule, name)


@handles("linear")
def linear(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """`x w^T + b`."""
    x, w, b = named(args, kwargs, "input", "weight", "bias")
    if not tracked(x) or tracked(w):
        return func(*args, **kwargs) if not tracked(w) else bilinear(tracer, x, w.transpose(-1, -2))
    return affine_call(tracer, "linear", "linear", F.linear, x, w, b)


@handles("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def convolution(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """Convolutions, with the padding before them."""
    x, w, b = named(args, kwargs, "input", "weight", "bias")
    if not tracked(x):
        return func(*args, **kwargs)
    rest = args[3:]
    options = {key: value for key, value in kwargs.items() if key not in ("input", "weight", "bias")}

    x, around = tracer.before_padding(x)

    def call(each: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return func(around(each), weight, bias, *rest, **options)

    return affine_call(tracer, "conv", func.__name__, call, x, w, b, (-1, *[1] * (w.ndim - 2)))


@handles("pad")
def pad(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """Zeros around a map belong to the convolution that follows, so that no rule sends relevance there."""
    x = args[0] if args else kwargs["input"]
    out = mixing(tracer, func, args, kwargs)
    if tracked(x) and not (kwargs.get("value", args[3] if len(args) > 3 else None) or 0):
        rest, options = args[1:], {key: each for key, each in kwargs.items() if key != "input"}
        tracer.note_padding(out, x, lambda each: func(each, *rest, **options))
    return out


@handles("addmm", "baddbmm")
def add_matmul(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """`b + x w`."""
    bias, x, w = args[:3]
    if kwargs or not tracked(x) or tracked(w) or tracked(bias):
        return summed(tracer, bias, matmul(tracer, torch.matmul, (x, w), {}))

    def call(each: Tensor, weight: Tensor, b: Tensor | None) -> Tensor:
        return torch.matmul(each, weight) if b is None else func(b, each, weight)

    return affine_call(tracer, "linear", func.__name__, call, x, w, bias)


@handles("matmul", "__matmul__", "__rmatmul__", "mm", "bmm")
def matmul(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """A matrix product: affine if one operand is constant, else attention or a product of two signals."""
    left, right = named(args, kwargs, "input", "mat2" if "mat2" in kwargs else "other")
    if func.__name__ == "__rmatmul__":
        left, right = right, left
    if tracer.is_attention(left):
        return HANDLERS["attend"](tracer, torch.matmul, (left, right), {})
    if tracked(left) and tracked(right):
        return bilinear(tracer, left, right)
    if tracked(left):
        return affine_call(tracer, "linear", "matmul", lambda x, w, b: torch.matmul(x, w), left, right, None)
    if tracked(right):
        return affine_call(tracer, "linear", "matmul", lambda x, w, b: torch.matmul(w, x), right, left, None)
    return func(*args, **kwargs)


@handles("einsum")
def einsum(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """As a matrix product."""
    equation, operands = args[0], list(args[1]) if isinstance(args[1], tuple | list) else list(args[1:])
    moving = [index for index, each in enumerate(operands) if tracked(each)]
    if not moving:
        return func(*args, **kwargs)
    if len(moving) > 1 or len(operands) > 2:
        return _products(tracer, lambda *each: torch.einsum(equation, *each), operands, moving)
    if len(operands) == 1:
        return linear_map(tracer, func, (equation, *operands), {}, at=1)
    (at,) = moving

    def call(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return torch.einsum(equation, *((x, w) if at == 0 else (w, x)))

    return affine_call(tracer, "linear", "einsum", call, operands[at], operands[1 - at], None)


def bilinear(tracer: Tracer, left: Tensor, right: Tensor) -> Tensor:
    """A product of two signals, `q k^T`: each operand by the eps rule, shared by the attention's stakes."""
    policy = tracer.rule("attention")
    total = policy.query + policy.key
    shares = (policy.query / total, policy.key / total) if total else (0.5, 0.5)
    return _products(tracer, torch.matmul, [left, right], [0, 1], shares)


def _products(
    tracer: Tracer, call: Callable, operands: list[Tensor], moving: list[int], shares: tuple[float, ...] = (),
) -> Tensor:  # fmt: skip
    shares = shares or tuple(1 / len(moving) for _ in moving)
    value = call(*(each.detach() for each in operands))
    branches = []
    for at in moving:

        def only(x: Tensor, w: Tensor, b: Tensor | None, at: int = at) -> Tensor:
            weights = [each.detach().abs() if tracer.absolute else each.detach() for each in operands]
            return call(*weights[:at], x, *weights[at + 1 :])

        x = operands[at]
        held = x.detach().abs() if tracer.absolute else x.detach()
        branches.append(only(enter(x, held, held), x, None))
    price = inverse(value, tracer.composite.eps)
    price = price.abs() if tracer.absolute else price

    def share(relevance: Tensor) -> list[Tensor]:
        quotient = relevance * price
        if tracer.ledger is not None:
            tracer.ledger.add("killed", relevance - quotient * value)
        return [quotient * part for part in shares]

    return leave(share, value, *branches)


def batch_norm(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """BatchNorm in evaluation mode: folded into the affine operation before it, else an affine map of its own."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    given = dict(zip(names, args, strict=False)) | kwargs
    if given.get("training"):
        raise TrainingMode(f"batch_norm uses batch statistics at {tracer.site()}", field="model")
    settings = tracer.resolved({key: each for key, each in given.items() if key != "input"})
    mean, variance = settings["running_mean"], settings["running_var"]
    scale = (variance + settings.get("eps", 1e-5)).rsqrt()
    scale = scale if settings.get("weight") is None else scale * settings["weight"]
    shift = -mean * scale if settings.get("bias") is None else settings["bias"] - mean * scale
    before = tracer.pending(given["input"])
    if before is not None and before.name in ("linear", "conv1d", "conv2d", "conv3d"):
        old = before.operation
        raw = func(old.raw, **settings)
        weight = old.w * scale.view(-1, *[1] * (old.w.ndim - 1))
        bias = shift if old.b is None else shift + old.b * scale
        folded = Affine(old.call, old.x, weight, bias, raw.detach(), raw, column=old.column)
        out = tracer.affine(folded, before.rule, before.name)
        tracer.folded(given["input"], out)
        return out
    x = tracer.resolved(given["input"])
    if not tracked(x):
        return func(x, **settings)
    column = (-1, *[1] * (x.ndim - 2))

    def call(each: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return each * w if b is None else each * w + b.view(column)

    rule = tracer.rule("batchnorm")
    operation = Affine(call, x, scale.view(column), shift, func(x.detach(), **settings), column=column)
    return tracer.affine(operation, rule, "batch_norm")
