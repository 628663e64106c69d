"""Chord slopes phi(z)/z: what Layer-wise Feedback Propagation puts in the place of activation derivatives.

Dividing a reward by its pre-activation turns LFP-0 into plain autograd, but for the slope of each activation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

NEAR = {torch.float64: 1e-9}  # below it the limit is taken; 1e-4 for every narrower dtype


@dataclass(frozen=True)
class Activation:
    """What is known of an activation that is not positively homogeneous.

    Parameters
    ----------
    at_zero : phi(0), the part that the centred variant gives to a bias state.
    slope_at_zero : phi'(0), the limit of the centred chord; 0 for a step.
    step : whether the function jumps at 0, so that its chord needs a width `delta`.
    kinked : whether it is linear on both sides of 0 with different slopes, so that there is no limit to take.
    """

    at_zero: float = 0.0
    slope_at_zero: float = 1.0
    step: bool = False
    kinked: bool = False


TANH = Activation()
ELU = Activation()
CURVED = Activation(slope_at_zero=0.5)  # SiLU, GELU, Mish is near
SIGMOID = Activation(at_zero=0.5, slope_at_zero=0.25)
SOFTPLUS = Activation(at_zero=0.6931471805599453, slope_at_zero=0.5)
STEP = Activation(at_zero=0.5, slope_at_zero=0.0, step=True)


@dataclass(frozen=True)
class ChordOptions:
    """How chords are taken: centred (for activations with phi(0) != 0), and the width of a step's."""

    centre: bool = True
    delta: float = 0.5


def chord(z: Tensor, out: Tensor, activation: Activation, options: ChordOptions) -> Tensor:
    """Slope of the chord from (0, phi(0) or 0) to (z, phi(z)).

    Parameters
    ----------
    z, out : same shape, floating; out = phi(z).

    Returns
    -------
    Same shape and dtype: (phi(z) - c) / (z + delta sgn z), c = phi(0) if centred and 0 otherwise, delta > 0 for a
    centred step only. Within 1e-4 (float32) or 1e-9 (float64) of 0 it is the limit phi'(0), where there is one.

    Source: LFP's identity rule (arXiv 2308.12053) in the carrier r/z; the centred form is ours.
    """
    centre = activation.at_zero if options.centre else 0.0
    if activation.step:
        if options.centre:
            return 0.5 / (z.abs() + options.delta)
        return torch.where(z > 0, out / torch.where(z > 0, z, 1.0), 0.0)
    if activation.kinked:
        return torch.where(z == 0, 0.0, out / torch.where(z == 0, 1.0, z))
    near = z.abs() < NEAR.get(z.dtype, 1e-4)
    if centre == activation.at_zero:
        return torch.where(near, activation.slope_at_zero, (out - centre) / torch.where(near, 1.0, z))
    floor = torch.where(z >= 0, 1e-6, -1e-6).to(z.dtype)  # uncentred with phi(0) != 0: unbounded at 0, kept finite
    return out / torch.where(z.abs() < 1e-6, floor, z)


class Chorded(torch.autograd.Function):
    """An activation whose backward pass multiplies by its chord slope."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, z: Tensor, call: Callable[[Tensor], Tensor], activation: Activation, options: ChordOptions
    ) -> Tensor:
        """Any shape; keeps the slope, as autograd would keep what its derivative needs."""
        out = call(z)
        exact = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
        ctx.save_for_backward(chord(exact, out.to(exact.dtype), activation, options).to(z.dtype))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        """Multiply by the slope."""
        (slope,) = ctx.saved_tensors
        return grad * slope, None, None, None


CHORDS: dict[Any, Activation] = {
    **dict.fromkeys((torch.tanh, Tensor.tanh, F.tanh, F.softsign, F.tanhshrink), TANH),
    **dict.fromkeys((F.elu, F.selu, F.celu, torch.selu, torch.celu), ELU),
    **dict.fromkeys((F.relu6, F.hardtanh), Activation(kinked=True)),
    **dict.fromkeys((F.silu, F.gelu, F.hardswish), CURVED),
    F.mish: Activation(slope_at_zero=0.6),
    **dict.fromkeys((torch.sigmoid, Tensor.sigmoid, F.sigmoid), SIGMOID),
    F.hardsigmoid: Activation(at_zero=0.5, slope_at_zero=1 / 6),
    F.softplus: SOFTPLUS,
    F.logsigmoid: Activation(at_zero=-0.6931471805599453, slope_at_zero=0.5),
    torch.heaviside: STEP,
    Tensor.heaviside: STEP,
}
CHORDS[F.tanhshrink] = Activation(slope_at_zero=0.0)
CHORDS[F.selu] = CHORDS[torch.selu] = Activation(kinked=True)


def register_chord(function: Callable[..., Tensor], activation: Activation) -> None:
    """Give an element-wise function of one tensor a chord, so that reward can pass it."""
    CHORDS[function] = activation


class Step(torch.nn.Module):
    """Heaviside activation: 1 where z > 0, else 0. It has no derivative; LFP passes reward through it."""

    def forward(self, z: Tensor) -> Tensor:
        """Any shape -> same shape, 0 or 1."""
        return torch.heaviside(z, torch.zeros((), dtype=z.dtype, device=z.device))
