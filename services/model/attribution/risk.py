"""Risk aversion: contributions count by their certainty equivalent under input noise, not by their value (ours)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from services.model.attribution.errors import BadRuleParameter

Kind = Literal["deviation", "exponential", "cvar"]


@dataclass(frozen=True)
class Risk:
    """How an uncertain activation is discounted: |a| becomes max(|a| - c, 0), with its sign.

    Parameters
    ----------
    kind : `deviation` c = strength * sd; `exponential` (exponential utility) c = strength / 2 * variance;
        `cvar` (Gaussian conditional value at risk) c = sd * pdf(z_q) / q with q = strength in (0, 1].
    strength : for Max's pool (positive contributions), >= 0; 0 is risk neutral (cvar: q = 1 is).
    strength_down : for Min's pool; None takes `strength` (negative values seek risk).
    noise : standard deviation of the input noise under which activations are watched, in units of the inputs.
    samples : number of noisy forward passes.
    seed : of the noise.
    deviation : standard deviation of this operation's inputs, filled in by the engine. [*x]
    """

    kind: Kind = "deviation"
    strength: float = 1.0
    strength_down: float | None = None
    noise: float = 0.1
    samples: int = 8
    seed: int = 0
    deviation: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in ("deviation", "exponential", "cvar"):
            raise BadRuleParameter(f"risk kind {self.kind!r} is none of deviation, exponential, cvar", field="kind")
        strengths = [self.strength] if self.strength_down is None else [self.strength, self.strength_down]
        if self.kind == "cvar" and not all(0 < q <= 1 for q in strengths):
            raise BadRuleParameter("cvar takes a share of worst cases in (0, 1]", field="strength")
        if self.samples < 2 or self.noise <= 0:
            raise BadRuleParameter("risk needs two samples and a positive noise", field="samples")

    def certain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Certainty equivalents of the inputs for the positive and for the negative pool. [*x] each."""
        down = self.strength if self.strength_down is None else self.strength_down
        return self._discounted(x, self.strength), self._discounted(x, down)

    def _discounted(self, x: Tensor, strength: float) -> Tensor:
        sd = self.deviation
        if sd is None:
            return x
        if self.kind == "exponential":
            cost = strength / 2 * sd**2
        else:
            cost = sd * (strength if self.kind == "deviation" else _tail(strength))
        return x.sign() * (x.abs() - cost).clamp(min=0)


def _tail(q: float) -> float:
    """pdf(Phi^-1(q)) / q: by how many deviations the mean of the worst share q lies below the mean."""
    if q == 1:
        return 0.0
    from statistics import NormalDist

    z = NormalDist().inv_cdf(q)
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / q
