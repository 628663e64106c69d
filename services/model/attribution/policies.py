"""Rules for what is not affine: attention, residual sums, gates, normalisation. Frozen, like the affine rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from services.model.attribution.rules import STABILISER, require


@dataclass(frozen=True)
class Attention:
    """Softmax attention `O = A v`, `A = softmax(q k)`: how much goes by value, query and key, and along which weights.

    (1, 0, 0) is CP-LRP (A is a constant; Ali et al. 2022), (1/2, 1/4, 1/4) is AttnLRP (Achtibat et al. 2024).

    Parameters
    ----------
    value, query, key : stakes, non-negative, sum 1.
    temperature : relevance flows along A^(1/temperature), normalised; the forward pass keeps A (ours).
    anchor : a second routing, mixed in by `mix`: the mean attention over queries, or the identity (ours).
    mix : share of the anchor, in [0, 1]; 0 is no anchor.
    head_temperature : relevance of a head is scaled by |R_h|^(1/t - 1), the mass over heads kept; 1 is off (ours).
    """

    value: float = 1.0
    query: float = 0.0
    key: float = 0.0
    temperature: float = 1.0
    anchor: Literal["mean", "identity"] = "mean"
    mix: float = 0.0
    head_temperature: float = 1.0

    def __post_init__(self) -> None:
        require(min(self.value, self.query, self.key) >= 0, "a stake is negative", "value")
        require(abs(self.value + self.query + self.key - 1) < 1e-9, "the three stakes do not sum to 1", "value")
        require(0.05 <= self.temperature <= 20, f"temperature {self.temperature} is not in [0.05, 20]", "temperature")
        require(0 <= self.mix <= 1, f"mix {self.mix} is not in [0, 1]", "mix")
        require(self.anchor in ("mean", "identity"), f"anchor {self.anchor!r} is neither mean nor identity", "anchor")
        require(self.head_temperature > 0, "head_temperature is not positive", "head_temperature")

    @property
    def constant(self) -> bool:
        """Whether the attention weights receive no relevance."""
        return self.value == 1


@dataclass(frozen=True)
class Residual:
    """A sum `x + f(x)`: `eps` by contribution, `abs` by |x| : |f|, `positive` by positive parts, `fixed` by `skip`.

    `abs` cannot create mass; `fixed` is the action of choosing the skip with probability `skip` (ours).
    """

    kind: Literal["eps", "abs", "positive", "fixed"] = "eps"
    skip: float = 0.5
    eps: float = STABILISER

    def __post_init__(self) -> None:
        kinds = ("eps", "abs", "positive", "fixed")
        require(self.kind in kinds, f"residual kind {self.kind!r} is none of {', '.join(kinds)}", "kind")
        require(0 <= self.skip <= 1, f"skip {self.skip} is not in [0, 1]", "skip")
        require(self.eps >= 0, f"eps {self.eps} is negative", "eps")


@dataclass(frozen=True)
class Gate:
    """A product of two signals: `first` goes to the first operand, the rest to the second (1/2: uniform rule)."""

    first: float = 0.5

    def __post_init__(self) -> None:
        require(0 <= self.first <= 1, f"first {self.first} is not in [0, 1]", "first")


@dataclass(frozen=True)
class Norm:
    """LayerNorm, GroupNorm, InstanceNorm: the deviation is a constant (`detach`), or R passes as it is (`identity`)."""

    kind: Literal["detach", "identity"] = "detach"
    eps: float = STABILISER

    def __post_init__(self) -> None:
        require(self.kind in ("detach", "identity"), f"norm kind {self.kind!r} is neither detach nor identity", "kind")


@dataclass(frozen=True)
class Average:
    """Averages, sums and other parameter-free linear maps: the eps rule."""

    eps: float = STABILISER
