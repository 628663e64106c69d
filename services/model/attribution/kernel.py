"""The signed kernel: every linear rule as stakes on two pools.

For an output j with contributions c_ij = a_i w_ij (and the bias b_j), z_j+ and z_j- are the sums of its positive and
of its negative contributions. A rule stakes alpha_j on the first pool and -beta_j on the second, and routes each stake
in its pool in proportion to |c|^(1/tau) (tau = 1: in proportion to the contribution):

    R_i = sum_j (alpha_j c_ij+ / z_j+ - beta_j c_ij- / z_j-) R_j

Rules differ only in their stakes. They are stored as prices, the stake per unit of contribution,
`up = alpha / z+` and `down = -beta / z-`, which stay finite where a pool is empty.
Source: the routing game in docs/attribution.md; zennit's conventions (bias in the pool of its sign, sgn(0) = +1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from services.model.attribution.carriers import Ledger, enter, leave

if TYPE_CHECKING:
    from services.model.attribution.rules import AffineRule

Bilinear = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Affine:
    """One affine operation: `call(x, w, b)`, linear in x and in w; b [broadcastable to the output] or None."""

    call: Bilinear
    x: Tensor
    w: Tensor
    b: Tensor | None
    value: Tensor  # what the model computed, bit by bit
    raw: Tensor | None = None  # the same, built from `enter(x, x, x)`, where the graph exists already
    base: Tensor | None = None  # the sum that relevance is shared by, where it is not the value
    column: tuple[int, ...] = (-1,)  # the shape of b that broadcasts against the output

    @property
    def total(self) -> Tensor:
        """The sum of all contributions, bias included."""
        return self.value if self.base is None else self.base

    def spread(self, bias: Tensor) -> Tensor:
        """A bias that broadcasts against the output."""
        return bias.view(self.column) if bias.ndim == 1 else bias

    def without_bias(self) -> Affine:
        """The same operation with the bias out of the game: it takes no relevance."""
        if self.b is None:
            return self
        return replace(self, b=None, base=self.total - self.spread(self.b))


@dataclass(frozen=True)
class Pools:
    """Sums of a layer's positive (`up` >= 0) and negative (`down` <= 0) contributions, bias included. [*output]."""

    up: Tensor
    down: Tensor
    total: Tensor  # up + down: the pre-activation, taken from the model and not from the sum of the pools


@dataclass(frozen=True)
class Prices:
    """Stake per unit of contribution in each pool. [*output]; both the same tensor for rules that do not tell them."""

    up: Tensor
    down: Tensor


def stakes(rule: AffineRule, pools: Pools) -> tuple[Tensor, Tensor]:
    """(alpha_j, beta_j) of a rule: R_i = sum_j (alpha_j c+/z+ - beta_j c-/z-) R_j.

    alpha - beta is what the state passes on: 1 for conserving rules, z / (z + eps sgn z) under eps, where the rest is
    killed. Shapes and dtype as the pools.
    """
    prices = rule.prices(pools)
    return prices.up * pools.up, -prices.down * pools.down


def affine(op: Affine, rule: AffineRule, ledger: Ledger | None, *, absolute: bool = False) -> Tensor:
    """The operation's value, with the rule's backward step.

    Parameters
    ----------
    op : the operation; all tensors of one floating dtype.
    rule : its stakes.
    ledger : where bias and killed relevance are booked; None books nothing.
    absolute : propagate path mass |K| instead of K (ours: sum over paths of the product of |K|).
    """
    if not rule.use_bias:
        op = op.without_bias()
    if absolute and rule.special is None:
        return _by_pools(op, rule, None, absolute=True)
    if rule.special is not None:
        return rule.special(op, rule, ledger)
    if rule.reroutes or rule.exact_pools or rule.risk is not None:
        return _by_pools(op, rule, ledger, absolute=False)
    if rule.one_price:
        return _by_one_price(op, rule, ledger)
    return _by_magnitude(op, rule, ledger)


def raw_of(op: Affine) -> Tensor:
    """`call(x, w, b)` built on `enter(x, x, x)`: its vector-Jacobian product is x * w^T q."""
    return op.raw if op.raw is not None else op.call(enter(op.x, op.x, op.x), op.w, op.b)


def _by_one_price(op: Affine, rule: AffineRule, ledger: Ledger | None) -> Tensor:
    """LRP-0 and eps: up = down = 1 / stab(z), one backward pass."""
    total = op.total
    price = rule.prices(Pools(total, total, total)).up

    def share(relevance: Tensor) -> tuple[Tensor]:
        quotient = relevance * price
        if ledger is not None and not ledger.closed:
            book(ledger, op, torch.addcmul(relevance, quotient, total, value=-1), quotient)
        return (quotient,)

    return leave(share, op.value, raw_of(op))


def _by_magnitude(op: Affine, rule: AffineRule, ledger: Ledger | None) -> Tensor:
    """Rules with bounded price ratio: sum_j c m_j + |c| d_j with m = (up + down) / 2, d = (up - down) / 2.

    Two forward and two backward passes instead of four: sum |c| = |x||w| needs one pass, and z+, z- follow from it.
    """
    size = op.x.detach().abs()
    magnitude = op.call(enter(op.x, size, size), op.w.abs(), None if op.b is None else op.b.abs())
    spread, total = magnitude.detach(), op.total
    mean, half = rule.blend(total, spread)

    def share(relevance: Tensor) -> tuple[Tensor, Tensor]:
        signed, unsigned = relevance * mean, relevance * half
        if ledger is not None and not ledger.closed:
            killed = torch.addcmul(relevance, signed, total, value=-1).addcmul_(unsigned, spread, value=-1)
            book(ledger, op, killed, signed, unsigned)
        return signed, unsigned

    return leave(share, op.value, raw_of(op), magnitude)


def _by_pools(op: Affine, rule: AffineRule, ledger: Ledger | None, *, absolute: bool) -> Tensor:
    """Both pools built exactly, from the parts of x and w; also temperature, prior, risk and path mass."""
    parts = pool_parts(op, rule)
    pools = parts.sums(op.total if rule.risk is None else None)
    prices = rule.prices(pools)
    if rule.reroutes:
        parts = pool_parts(op, rule, routed=True)
        sums = parts.sums(None)
        up, down = _spread(prices.up * pools.up, sums.up), _spread(prices.down * pools.down, sums.down)
        prices, pools = Prices(up, down), sums
    if absolute:
        prices = Prices(prices.up.abs(), -prices.down.abs())

    def share(relevance: Tensor) -> tuple[Tensor, ...]:
        above, below = relevance * prices.up, relevance * prices.down
        if ledger is not None and not ledger.closed:
            killed = relevance - above * pools.up - below * pools.down
            ledger.add("killed", killed)
            if op.b is not None:
                ledger.add("bias", above * parts.bias_up + below * parts.bias_down)
        return (*(above for _ in parts.up), *(-below for _ in parts.down))

    return leave(share, op.value, *parts.up, *parts.down)


def _spread(stake: Tensor, pool: Tensor) -> Tensor:
    """The stake per unit of a re-weighted pool; an empty pool has none."""
    return torch.where(pool == 0, torch.zeros((), dtype=pool.dtype), stake / pool)


@dataclass(frozen=True)
class Parts:
    """Magnitudes of the two pools: non-negative branches of the graph whose sums are z+ and -z-."""

    up: tuple[Tensor, ...]
    down: tuple[Tensor, ...]
    bias_up: Tensor
    bias_down: Tensor

    def sums(self, total: Tensor | None) -> Pools:
        """Their sums, outside the graph."""
        up, down = sum(part.detach() for part in self.up), -sum(part.detach() for part in self.down)
        return Pools(up, down, up + down if total is None else total)


def pool_parts(op: Affine, rule: AffineRule, *, routed: bool = False) -> Parts:
    """a+ w+ and a- w- (with b+), a+ w- and a- w+ (with b-), as magnitudes; half of them where no input is negative.

    With `routed`, each magnitude is raised to 1/tau and weighted by the prior: |a w|^(1/tau) = |a|^(1/tau) |w|^(1/tau),
    so that the temperature costs no dense kernel.
    """
    power = 1 / rule.temperature if routed else 1.0
    prior = rule.prior if routed else None
    wp, wn = _powered(op.w.clamp(min=0), power), _powered(-op.w.clamp(max=0), power)
    zero = torch.zeros((), dtype=op.value.dtype)
    bp = None if op.b is None else _powered(op.b.clamp(min=0), power)
    bn = None if op.b is None else _powered(-op.b.clamp(max=0), power)
    risk = rule.risk
    for_up, for_down = (op.x, op.x) if risk is None else risk.certain(op.x)

    def branch(part: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        value = _powered(part.detach(), power)
        value = value if prior is None else value * prior
        return op.call(enter(op.x, value, value), weight, bias)

    up = [branch(for_up.clamp(min=0), wp, bp)]
    down = [branch(for_down.clamp(min=0), wn, bn)]
    if bool((op.x < 0).any()):
        up.append(branch(-for_up.clamp(max=0), wn, None))
        down.append(branch(-for_down.clamp(max=0), wp, None))
    return Parts(tuple(up), tuple(down), zero if bp is None else op.spread(bp), zero if bn is None else -op.spread(bn))


def _powered(magnitude: Tensor, power: float) -> Tensor:
    return magnitude if power == 1 else magnitude**power


def book(ledger: Ledger, op: Affine, killed: Tensor, signed: Tensor, unsigned: Tensor | None = None) -> None:
    """Book what no contribution receives, and what the bias does: b * signed + |b| * unsigned."""
    ledger.add("killed", killed)
    if op.b is None:
        return
    bias = op.spread(op.b)
    ledger.add("bias", signed.sum_to_size(bias.shape) * bias)
    if unsigned is not None:
        ledger.add("bias", unsigned.sum_to_size(bias.shape) * bias.abs())
