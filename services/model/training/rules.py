"""Rules of reward through affine operations: the gamma rule and z+ as autograd functions, and the stabiliser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TINY = 1e-9


@dataclass(frozen=True)
class Rule:
    """`epsilon` is autograd itself; `gamma` and `zplus` (its limit) weigh the pools of positive and negative parts."""

    name: str = "epsilon"
    gamma: float = 0.25

    @property
    def pools(self) -> bool:
        """Whether affine operations need a backward pass of their own."""
        return self.name != "epsilon"


class Count:
    """How many affine operations a forward pass had; the last one keeps the epsilon rule."""

    def __init__(self) -> None:
        self.total = 0

    def next(self) -> int:
        """The number of the call, from 0."""
        self.total += 1
        return self.total - 1


def signed(z: Tensor) -> Tensor:
    """The sign with sgn(0) = +1."""
    return torch.where(z >= 0, 1.0, -1.0).to(z.dtype)


def safe_divide(a: Tensor, b: Tensor) -> Tensor:
    """A / b with the denominator moved away from 0 by 1e-9."""
    return a / (b + TINY * signed(b))


class Stabilised(torch.autograd.Function):
    """Identity whose backward pass multiplies by z / (z + eps sgn z): LRP-epsilon's absorbed share."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, eps: float) -> Tensor:  # type: ignore[override]
        """Any shape, returned as it is."""
        ctx.save_for_backward(z)
        ctx.eps = eps
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Multiply by the surviving share."""
        (z,) = ctx.saved_tensors
        return grad * (z / (z + ctx.eps * signed(z))), None


def pool_factors(z: Tensor, positive: Tensor, negative: Tensor, reward: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
    """k+ and k-: what each output sends into its positive and its negative pool, per unit of contribution.

    Parameters
    ----------
    z, positive, negative, reward : same shape; z = positive + negative, the sums of the pools.

    Source: generalised LRP-gamma, (alpha_j, beta_j) of the game view; z+ is its limit for z > 0.
    """
    if rule.name == "zplus":
        return safe_divide(reward, positive), torch.zeros_like(z)
    upper = z >= 0
    up, down = torch.where(upper, 1 + rule.gamma, 1.0).to(z.dtype), torch.where(upper, 1.0, 1 + rule.gamma).to(z.dtype)
    share = safe_divide(reward, up * positive + down * negative)
    return up * share, down * share


class PooledAffine(torch.autograd.Function):
    """An affine operation in the carrier s = r/z. Input and parameters get r/x and r/w of the pools' messages.

    f_w = sgn(w) R_w with R_w = w+(k+^T x+) + w-(k+^T x-) + w-(k-^T x+) + w+(k-^T x-), so what is returned for w is
    R_w / w: (k+^T x+ + k-^T x-) where w > 0, (k+^T x- + k-^T x+) where w < 0.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: Tensor,
        w: Tensor,
        b: Tensor | None,
        apply: Callable[..., Tensor],
        rule: Rule,
        place: int,
        count: Count,
    ) -> Tensor:
        """Apply(x, w, b): a linear map or convolution."""
        ctx.save_for_backward(x, w, b)
        ctx.call, ctx.rule, ctx.place, ctx.count = apply, rule, place, count
        return apply(x, w, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """S at the output -> s at the input, and what |w| and |b| are multiplied with."""
        x, w, b = ctx.saved_tensors
        last = ctx.place == ctx.count.total - 1
        found = _plain(ctx.call, x, w, b, grad) if last else _pooled(ctx.call, x, w, b, grad, ctx.rule)
        return *found, None, None, None, None


def _vjp(apply: Callable[..., Tensor], x: Tensor, w: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(apply(x, w, None), (x, w), k)  # type: ignore[return-value]


def _plain(
    apply: Callable[..., Tensor], x: Tensor, w: Tensor, b: Tensor | None, grad: Tensor
) -> tuple[Tensor | None, ...]:
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    b = None if b is None else b.detach().requires_grad_()
    with torch.enable_grad():
        out = apply(x, w, b)
    found = torch.autograd.grad(out, [part for part in (x, w, b) if part is not None], grad)
    return found[0], found[1], None if b is None else found[2]


def _pooled(
    apply: Callable[..., Tensor], x: Tensor, w: Tensor, b: Tensor | None, grad: Tensor, rule: Rule
) -> tuple[Tensor | None, ...]:
    xp, xn, wp, wn = x.clamp(min=0), x.clamp(max=0), w.clamp(min=0), w.clamp(max=0)
    bp, bn = (None, None) if b is None else (b.clamp(min=0), b.clamp(max=0))
    positive = apply(xp, wp, bp) + apply(xn, wn, None)
    negative = apply(xp, wn, bn) + apply(xn, wp, None)
    z = positive + negative
    kp, kn = pool_factors(z, positive, negative, grad * z, rule)
    (a, wa), (c, wc) = _vjp(apply, xp, wp, kp), _vjp(apply, xn, wn, kp)  # into the positive pool
    (d, wd), (e, we) = _vjp(apply, xp, wn, kn), _vjp(apply, xn, wp, kn)  # into the negative pool
    to_x = torch.where(x >= 0, a + d, c + e)
    to_w = torch.where(w >= 0, wa + we, wc + wd)
    to_b = None if b is None else torch.where(b >= 0, _sum_like(apply, x, w, b, kp), _sum_like(apply, x, w, b, kn))
    return to_x, to_w, to_b


def _sum_like(apply: Callable[..., Tensor], x: Tensor, w: Tensor, b: Tensor, k: Tensor) -> Tensor:
    """K summed over everything but the bias's axis, by the operation's own backward pass."""
    b = b.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(apply(x.detach(), w.detach(), b), b, k)[0]


def pooled_call(
    func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any], rule: Rule, count: Count
) -> Tensor:
    """Call a linear or convolution function with the rule's backward pass."""
    given = dict(zip(("input", "weight", "bias"), args, strict=False)) | {
        key: value for key, value in kwargs.items() if key in ("input", "weight", "bias")
    }
    more, named = args[3:], {key: value for key, value in kwargs.items() if key not in given}

    def apply(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return func(x, w, b, *more, **named)

    return PooledAffine.apply(  # type: ignore[no-any-return]
        given["input"], given["weight"], given.get("bias"), apply, rule, count.next(), count
    )
