"""Rewards: in which direction each output should change, and how much.

A reward is r = o d, with d the wanted direction (the push): LFP strengthens |z| of what is rewarded, so the reward
flips where an output is negative. The functions here give the push itself, since r vanishes at o = 0 where d does not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from services.model.training.errors import RewardShapeError, RewardSignWarning

STABLE = 1e-6


@dataclass(frozen=True)
class Reward:
    """A reward of one batch.

    Parameters
    ----------
    value : [B, K], the shape of the outputs it belongs to.
    kind : `push` for a direction d, `reward` for r = o d.
    wanted : [B, K] or None, a direction known to be right, for the check of signs.
    """

    value: Tensor
    kind: str = "push"
    wanted: Tensor | None = None

    def push(self, out: Tensor) -> Tensor:
        """The direction d, same shape as `out`; whether it is finite is `FinitenessWatch`'s to see.

        Raises
        ------
        RewardShapeError : another shape than the outputs.
        """
        if self.value.shape != out.shape:
            raise RewardShapeError(
                f"a reward of shape {list(self.value.shape)} for outputs of shape {list(out.shape)}", field="reward"
            )
        value = self.value.detach()
        if self.kind == "push":
            return value
        out = out.detach()
        return value / (out + STABLE * torch.where(out >= 0, 1.0, -1.0).to(out.dtype))


def one_hot(out: Tensor, y: Tensor) -> Tensor:
    """[B] int64 -> [B, K] in the dtype of `out`."""
    return torch.zeros_like(out).scatter_(-1, y.unsqueeze(-1), 1.0)


def softmax(out: Tensor, y: Tensor) -> Reward:
    """onehot(y) - softmax(o): minus the gradient of cross-entropy (`SoftmaxLossReward` of the reference)."""
    push = one_hot(out, y) - out.detach().softmax(-1)
    return Reward(push, wanted=push)


def sigmoid(out: Tensor, y: Tensor) -> Reward:
    """onehot(y) - sigmoid(o); for one output, y in {0, 1}: y - sigmoid(o)."""
    target = y.to(out.dtype).reshape(out.shape) if out.shape[-1] == 1 else one_hot(out, y)
    push = target - out.detach().sigmoid()
    return Reward(push, wanted=push)


def bounded_softmax(out: Tensor, y: Tensor, *, low: float = 0.0, high: float = 1.0, sign_only: bool = False) -> Reward:
    """As `softmax`, with probabilities above `high` taken as 1 and below `low` as 0; `sign_only`: r = sgn(o) d."""
    p = out.detach().softmax(-1)
    p = torch.where(p > high, 1.0, torch.where(p < low, 0.0, p)).to(out.dtype)
    push = one_hot(out, y) - p
    if sign_only:
        return Reward(_sign(out) * push, kind="reward", wanted=push)
    return Reward(push, wanted=push)


def misclassification(out: Tensor, y: Tensor) -> Reward:
    """Classes that score above the true one are pushed down: r_c = -sgn(o_c) [o_c > o_y]. Not differentiable."""
    out = out.detach()
    wrong = (out > out.gather(-1, y[:, None])).to(out.dtype)
    return Reward(-_sign(out) * wrong, kind="reward", wanted=-wrong)


def correct(out: Tensor, y: Tensor) -> Reward:
    """R = sgn(o_y) at the true class of what is classified rightly, 0 elsewhere. Not differentiable."""
    out = out.detach()
    right = one_hot(out, y) * (out.argmax(-1) == y).to(out.dtype)[:, None]
    return Reward(_sign(out) * right, kind="reward", wanted=right)


def maximise(out: Tensor, unit: int) -> Reward:
    """Raise one output: r = sgn(o)(1 - sigmoid(o)) there."""
    return _towards(out, unit, 1.0)


def minimise(out: Tensor, unit: int) -> Reward:
    """Lower one output: r = -sgn(o)(1 - sigmoid(o)) there."""
    return _towards(out, unit, -1.0)


def _towards(out: Tensor, unit: int, direction: float) -> Reward:
    out = out.detach()
    push = torch.zeros_like(out)
    push[..., unit] = direction * (1 - out[..., unit].sigmoid())
    return Reward(_sign(out) * push, kind="reward", wanted=push)


def from_loss(loss: Callable[[Tensor, Tensor], Tensor], out: Tensor, target: Tensor) -> Reward:
    """Minus the gradient of any torch loss in the outputs, times B where the loss is a mean over the batch.

    The engine divides by B itself (`reduction="mean"`), so the loss has to be a sum: give `reduction="sum"`.
    """
    leaf = out.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(leaf, target), leaf)
    return Reward(-gradient)


def margin(out: Tensor, y: Tensor) -> Reward:
    """Minus the gradient of the multi-class margin loss (hinge): only classes within 1 of the true one are pushed."""
    return from_loss(lambda given, target: F.multi_margin_loss(given, target, reduction="sum"), out, y)


NAMED: dict[str, Callable[[Tensor, Tensor], Reward]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "margin": margin,
    "misclassification": misclassification,
    "correct": correct,
}


def _sign(out: Tensor) -> Tensor:
    return torch.where(out >= 0, 1.0, -1.0).to(out.dtype)


def check_signs(reward: Reward, out: Tensor) -> None:
    """Warn if a reward seems to miss the flip for negative outputs, or to be inverted.

    Compared with the direction that the reward declares (`wanted`), entry by entry; skipped if it declares none.
    """
    if reward.wanted is None:
        return
    push, wanted = reward.push(out), reward.wanted
    differs = (push * wanted) < 0
    decided = (push != 0) & (wanted != 0)
    below, above = decided & (out < 0), decided & (out >= 0)
    negative = bool(below.any()) and bool(differs[below].float().mean() > 0.5)
    positive = bool(above.any()) and bool(differs[above].float().mean() > 0.5)
    if negative and positive:
        warnings.warn("this reward points away from its target: it is inverted", RewardSignWarning, stacklevel=3)
    elif negative:
        warnings.warn(
            "this reward is right for positive outputs and inverted for negative ones: multiply by the output's sign",
            RewardSignWarning, stacklevel=3,
        )  # fmt: skip
