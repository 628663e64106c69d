"""LayerNorm and its relatives: the deviation is a constant, the rest is linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from services.model.attribution.carriers import enter, inverse, leave, pass_through
from services.model.attribution.functions import handles, named, plain, tracked

if TYPE_CHECKING:
    from services.model.attribution.tracer import Tracer


@handles("layer_norm", "group_norm", "instance_norm", "rms_norm", "native_layer_norm")
def normalisation(tracer: Tracer, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    """The deviation is a constant; mean and affine map follow the eps rule."""
    x = args[0] if args else kwargs["input"]
    value = func(*plain(args), **plain(kwargs))
    if not tracked(x):
        return value
    policy, name = tracer.rule("norm"), func.__name__
    if policy.kind == "identity" or name == "rms_norm":
        return pass_through(x, value)
    options = _norm_options(name, args, kwargs)
    groups, weight = options
    way = x.detach().abs() if tracer.absolute else x.detach()
    held = enter(x, way, way)
    rows = held.reshape(groups(x))
    count, mean = rows.shape[-1], x.detach().reshape(groups(x)).mean(-1, keepdim=True)
    if tracer.absolute:
        centred = rows * (1 - 2 / count) + rows.mean(-1, keepdim=True)
    else:
        centred = rows - rows.mean(-1, keepdim=True)
    deviation = ((x.detach().reshape(groups(x)) - mean) ** 2).mean(-1, keepdim=True)
    spread = (deviation + _eps_of(name, args, kwargs)).rsqrt()
    branch = (centred * spread).reshape(x.shape)
    branch = branch if weight is None else branch * (weight.abs() if tracer.absolute else weight)
    price = inverse(value, policy.eps)
    price = price.abs() if tracer.absolute else price

    def share(relevance: Tensor) -> tuple[Tensor]:
        quotient = relevance * price
        if tracer.ledger is not None:
            kept = quotient * branch.detach()
            tracer.ledger.add("bias", quotient * value - kept)
            tracer.ledger.add("killed", relevance - quotient * value)
        return (quotient,)

    return leave(share, value, branch)


def _eps_of(name: str, args: tuple, kwargs: dict) -> float:
    at = {"layer_norm": 4, "group_norm": 4, "instance_norm": 7, "native_layer_norm": 4}[name]
    return kwargs.get("eps", args[at] if len(args) > at else 1e-5)


def _norm_options(name: str, args: tuple, kwargs: dict) -> tuple[Callable[[Tensor], tuple[int, ...]], Tensor | None]:
    """How to lay the input out in rows that are normalised together, and the weight, ready to broadcast."""
    if name in ("layer_norm", "native_layer_norm"):
        shape, weight = named(args[1:], kwargs, "normalized_shape", "weight")
        return lambda x: (*x.shape[: x.ndim - len(shape)], -1), weight
    if name == "group_norm":
        count, weight = named(args[1:], kwargs, "num_groups", "weight")
        return lambda x: (x.shape[0], count, -1), _columned(weight, args[0] if args else kwargs["input"])
    weight = kwargs.get("weight", args[3] if len(args) > 3 else None)
    return lambda x: (*x.shape[:2], -1), _columned(weight, args[0] if args else kwargs["input"])


def _columned(weight: Tensor | None, x: Tensor) -> Tensor | None:
    return None if weight is None else weight.view(-1, *[1] * (x.ndim - 2))
