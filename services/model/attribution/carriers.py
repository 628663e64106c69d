"""How relevance travels: autograd carries R itself, and each operation is bracketed so that its rule comes out.

With `x' = enter(x, v, c)` the forward value is v and the backward step multiplies by c; with
`y = leave(share, value, branches)` the forward value is `value` and the backward step hands `share(R)` to the branches.
An eps rule of any linear f is `leave(R / stab(z), z, f(enter(x, x, x)))`: x * J^T (R / stab(z)), all of it native
autograd, so that many conditions can share one forward pass (`is_grads_batched`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

Share = Callable[[Tensor], Sequence[Tensor | None]]


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, source: Tensor, value: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (factor,) = ctx.saved_tensors
        return gradient * factor, None, None


class _Leave(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, share: Share, value: Tensor, *branches: Tensor) -> Tensor:
        ctx.share = share
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, relevance: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *ctx.share(relevance))


def enter(source: Tensor, value: Tensor, factor: Tensor) -> Tensor:
    """Forward: `value`. Backward: gradient times `factor`, given to `source` (all of one shape)."""
    return _Enter.apply(source, value.detach(), factor.detach())


def leave(share: Share, value: Tensor, *branches: Tensor) -> Tensor:
    """Forward: `value`. Backward: `share(R)`, one gradient for each branch."""
    return _Leave.apply(share, value.detach(), *branches)


def pass_through(source: Tensor, value: Tensor) -> Tensor:
    """The identity rule: all of R at `value` goes to `source` unchanged (elementwise activations)."""
    return leave(lambda relevance: (relevance,), value, source)


def stabilised(z: Tensor, eps: float) -> Tensor:
    """`z + eps * sgn(z)` with sgn(0) = +1; eps = 0 leaves exact zeros, which `inverse` turns into zero relevance."""
    return torch.copysign(torch.full((), eps, dtype=z.dtype, device=z.device), z).add_(z)


def inverse(z: Tensor, eps: float) -> Tensor:
    """`1 / stab(z)`; where the denominator is exactly zero, 0: nothing contributes there."""
    price = stabilised(z, eps).reciprocal_()
    return price if eps else price.masked_fill_(z == 0, 0)


class Ledger:
    """Relevance that does not reach the inputs, summed over the batch: per cause, as 0-d float64 tensors."""

    def __init__(self) -> None:
        self.closed = False
        self.absorbed: defaultdict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))

    def add(self, cause: str, amount: Tensor) -> None:
        """Book what an operation kept; a closed ledger books nothing."""
        if self.closed:
            return
        self.absorbed[cause] = self.absorbed[cause] + amount.detach().sum(dtype=torch.float64)

    def totals(self) -> dict[str, float]:
        """Plain numbers."""
        return {cause: float(amount) for cause, amount in sorted(self.absorbed.items())}
