"""Rules for affine operations: a rule is its stakes, and what it changes about the routing.

Every rule is a frozen dataclass, so that a composite can be compared, hashed into a key and written as YAML.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from services.model.attribution.carriers import Ledger, enter, inverse, leave
from services.model.attribution.errors import BadRuleParameter
from services.model.attribution.kernel import Affine, Pools, Prices
from services.model.attribution.risk import Risk

STABILISER = 1e-6


def require(condition: bool, detail: str, field: str) -> None:
    """Refuse a parameter outside its range."""
    if not condition:
        raise BadRuleParameter(detail, field=field)


@dataclass(frozen=True)
class AffineRule:
    """What all affine rules share.

    Parameters
    ----------
    temperature : routing in a pool goes with |c|^(1/temperature): below 1 sharper, above 1 flatter (0.05 to 20).
    risk : risk aversion about the inputs of the operation, or None.
    use_bias : False drops the bias from the pools, so that it absorbs nothing ("stop at bias" left out).
    """

    temperature: float = field(default=1.0, kw_only=True)
    risk: Risk | None = field(default=None, kw_only=True)
    use_bias: bool = field(default=True, kw_only=True)

    one_price: ClassVar[bool] = False
    exact_pools: ClassVar[bool] = False
    special: ClassVar[Callable[[Affine, AffineRule, Ledger | None], Tensor] | None] = None
    prior: ClassVar[Tensor | None] = None

    def __post_init__(self) -> None:
        require(0.05 <= self.temperature <= 20, f"temperature {self.temperature} is not in [0.05, 20]", "temperature")

    @property
    def reroutes(self) -> bool:
        """Whether the routing inside the pools differs from the contributions."""
        return self.temperature != 1 or self.prior is not None

    def prices(self, pools: Pools) -> Prices:
        """Stake per unit of contribution in each pool."""
        raise NotImplementedError

    def blend(self, total: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Half the sum and half the difference of the two prices, from z and sum |c|."""
        pools = Pools(((total + spread) / 2).clamp_(min=0), ((total - spread) / 2).clamp_(max=0), total)
        prices = self.prices(pools)
        return (prices.up + prices.down) / 2, (prices.up - prices.down) / 2


@dataclass(frozen=True)
class Epsilon(AffineRule):
    """LRP-eps: alpha = z+ / (z + eps sgn z), beta = -z- / (...); eps = 0 is LRP-0 (Bach et al. 2015)."""

    eps: float = STABILISER
    one_price: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.eps >= 0, f"eps {self.eps} is negative", "eps")

    def prices(self, pools: Pools) -> Prices:
        price = inverse(pools.total, self.eps)
        return Prices(price, price)


@dataclass(frozen=True)
class Gamma(AffineRule):
    """Generalised LRP-gamma: the pool of the output's own sign counts 1 + gamma times (Andeol et al. 2021)."""

    gamma: float = 0.25
    eps: float = STABILISER

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma >= 0, f"gamma {self.gamma} is negative", "gamma")

    def prices(self, pools: Pools) -> Prices:
        positive = pools.total > 0
        favoured = torch.where(positive, pools.up, pools.down)
        price = inverse(pools.total + self.gamma * favoured, self.eps)
        price = torch.where(pools.total == 0, torch.zeros((), dtype=price.dtype), price)
        more = price * (1 + self.gamma)
        return Prices(torch.where(positive, more, price), torch.where(positive, price, more))

    def blend(self, total: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """In closed form: sgn(z) times the denominator is (1 + gamma/2) |z| + gamma/2 sum |c| + eps, nowhere 0."""
        sign = total.sign()
        below = total.abs().mul_(1 + self.gamma / 2).add_(spread, alpha=self.gamma / 2)
        price = sign / below.add_(self.eps or torch.finfo(total.dtype).tiny)  # 0 where z is: nobody wins there
        half = sign.mul_(price).mul_(self.gamma / 2)
        return price.mul_(1 + self.gamma / 2), half


@dataclass(frozen=True)
class AlphaBeta(AffineRule):
    """LRP-alpha-beta with alpha - beta = 1; beta = 0 is the z+ rule (Bach et al. 2015; Montavon et al. 2017)."""

    alpha: float = 2.0
    beta: float = 1.0
    eps: float = STABILISER
    exact_pools: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha >= 0 and self.beta >= 0, "alpha and beta are not negative", "alpha")
        require(math.isclose(self.alpha - self.beta, 1), f"alpha - beta is {self.alpha - self.beta}, not 1", "beta")

    def prices(self, pools: Pools) -> Prices:
        up, down = self.alpha * inverse(pools.up, self.eps), inverse(pools.down, self.eps)
        down = torch.where(pools.down == 0, torch.zeros((), dtype=down.dtype), down)
        return Prices(up, -self.beta * down)


@dataclass(frozen=True)
class ZPlus(AffineRule):
    """z+ rule: alpha = 1, beta = 0."""

    eps: float = STABILISER
    exact_pools: ClassVar[bool] = True

    def prices(self, pools: Pools) -> Prices:
        return Prices(inverse(pools.up, self.eps), torch.zeros_like(pools.down))


@dataclass(frozen=True)
class Magnitude(AffineRule):
    """abs rule: R goes by |c| / sum |c|; alpha = z+ / (z+ - z-), beta = z- / (z+ - z-): no mass is created (ours)."""

    eps: float = STABILISER

    def prices(self, pools: Pools) -> Prices:
        price = inverse(pools.up - pools.down, self.eps)
        return Prices(price, -price)


@dataclass(frozen=True)
class StakeCap(AffineRule):
    """LRP-0 with the stake of the dominating pool at most `cap`; the other pool stakes one less (ours).

    The pool of z's sign stakes min(|z_dominating| / |z|, cap). LRP-0 is cap = inf, z+ for z > 0 is cap = 1. It bounds
    the path mass that a state can create by 2 cap - 1, which a large eps only does by killing relevance.
    """

    cap: float = 2.0
    eps: float = STABILISER

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.cap >= 1, f"cap {self.cap} is below 1", "cap")

    def prices(self, pools: Pools) -> Prices:
        positive = pools.total >= 0
        own, other = torch.where(positive, pools.up, pools.down), torch.where(positive, pools.down, pools.up)
        stake = torch.clamp((own * inverse(pools.total, self.eps)).abs(), max=self.cap)
        capped = stake >= self.cap
        plain = inverse(pools.total, self.eps)
        mine = torch.where(capped, stake * inverse(own, self.eps), plain)
        theirs = torch.where(capped, -(stake - 1) * inverse(other, self.eps), plain)
        return Prices(torch.where(positive, mine, theirs), torch.where(positive, theirs, mine))


def _by_squares(op: Affine, rule: AffineRule, ledger: Ledger | None, *, flat: bool) -> Tensor:
    ones = torch.ones_like(op.x)
    weight = torch.ones_like(op.w) if flat else op.w**2
    bias = None if flat or op.b is None else op.b**2
    return _evenly(op, op.call(enter(op.x, ones, ones), weight, bias), bias, ledger, STABILISER)


def _evenly(op: Affine, branch: Tensor, bias: Tensor | None, ledger: Ledger | None, eps: float) -> Tensor:
    total = branch.detach()
    price = inverse(total, eps)

    def share(relevance: Tensor) -> tuple[Tensor]:
        quotient = relevance * price
        if ledger is not None:
            ledger.add("killed", torch.addcmul(relevance, quotient, total, value=-1))
            if bias is not None:
                ledger.add("bias", quotient * op.spread(bias))
        return (quotient,)

    return leave(share, op.value, branch)


def _in_box(op: Affine, rule: AffineRule, ledger: Ledger | None) -> Tensor:
    low, high = (torch.as_tensor(bound, dtype=op.x.dtype) for bound in (rule.low, rule.high))
    low, high = (
        bound.view(1, -1, *[1] * (op.x.ndim - 2)).expand_as(op.x) if bound.ndim else bound.expand_as(op.x)
        for bound in (low, high)
    )
    raw = op.call(enter(op.x, op.x, op.x), op.w, None)
    branch = raw - op.call(enter(op.x, low, low), op.w.clamp(min=0), None)
    branch = branch - op.call(enter(op.x, high, high), op.w.clamp(max=0), None)
    return _evenly(op, branch, None, ledger, rule.eps)


@dataclass(frozen=True)
class WSquare(AffineRule):
    """w^2 rule: R goes by w^2 / sum w^2, whatever the input; for unbounded input spaces (Montavon et al. 2017)."""

    special: ClassVar = staticmethod(lambda op, rule, ledger: _by_squares(op, rule, ledger, flat=False))


@dataclass(frozen=True)
class Flat(AffineRule):
    """Flat rule: R is spread evenly over the receptive field (Lapuschkin et al. 2019)."""

    special: ClassVar = staticmethod(lambda op, rule, ledger: _by_squares(op, rule, ledger, flat=True))


@dataclass(frozen=True)
class ZBox(AffineRule):
    """z^B rule for inputs between `low` and `high` (one number, or one per channel; Montavon et al. 2017)."""

    low: float | tuple[float, ...] = -1.0
    high: float | tuple[float, ...] = 1.0
    eps: float = STABILISER
    special: ClassVar = staticmethod(_in_box)

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = torch.as_tensor(self.low), torch.as_tensor(self.high)
        require(bool((low < high).all()), "low is not below high", "low")
