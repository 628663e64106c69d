"""Leaky integrate-and-fire layers: trained by feedback through time without surrogates, or by surrogate gradients.

Neuron: I_t = W x_t + b, spike S_t = [u_t > theta], the reset uses the spike before.
`subtract`: v = beta u_{t-1} + I_t, u_t = v - theta S_{t-1}. `zero`: v = beta (1 - S_{t-1}) u_{t-1} + I_t, u_t = v.

net = SpikingNet([nn.Linear(64, 200), nn.Linear(200, 10)], steps=15)
with lfp:
    counts = net(x)
lfp.backward(counts, rate_coded(counts, y, net.steps))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from services.model.training.errors import FeedbackOptionError
from services.model.training.rewards import Reward, one_hot

RESETS = ("subtract", "zero")
EPS = 1e-6  # of the positive denominator |beta u| + |I|
SHARPNESS = 2.0  # of the arctan surrogate, snntorch's


@dataclass(frozen=True)
class Neuron:
    """Constants of a layer of neurons; a learnable beta or theta has no rule."""

    beta: float = 0.9
    threshold: float = 1.0
    reset: str = "subtract"

    def __post_init__(self) -> None:
        if self.reset not in RESETS:
            raise FeedbackOptionError(f"reset is {self.reset}; known are {', '.join(RESETS)}", field="reset")


def leaky(current: Tensor, neuron: Neuron, readout: bool = False) -> Tensor:
    """Run leaky integrate-and-fire neurons from silence (u_0 = S_0 = 0).

    Parameters
    ----------
    current : [T, B, ...], what arrives at each neuron at each step.
    readout : whether the spikes are counted as the net's answer; only feedback asks.

    Returns
    -------
    Spikes {0, 1}, same shape and dtype. Their gradient is the arctan surrogate's, through time, with a detached reset;
    inside `with lfp:` it is `LeakyFeedback`'s.

    Source: snntorch's `Leaky` with `reset_delay=True` and `surrogate.atan()`.
    """
    if has_torch_function_unary(current):
        return handle_torch_function(leaky, (current,), current, neuron, readout)  # type: ignore[no-any-return]
    potential, fired, spikes = torch.zeros_like(current[0]), torch.zeros_like(current[0]), []
    for arriving in current:
        held = potential if neuron.reset == "subtract" else (1 - fired.detach()) * potential
        potential = neuron.beta * held + arriving
        if neuron.reset == "subtract":
            potential = potential - neuron.threshold * fired.detach()
        fired = ArctanSpike.apply(potential - neuron.threshold)
        spikes.append(fired)
    return torch.stack(spikes)


class ArctanSpike(torch.autograd.Function):
    """[z > 0] with the derivative 1 / (1 + (pi z)^2) in its place."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:  # type: ignore[override]
        """Any shape."""
        ctx.save_for_backward(z)
        return (z > 0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        """Multiply by the surrogate's slope."""
        (z,) = ctx.saved_tensors
        return SHARPNESS / 2 / (1 + (torch.pi / 2 * SHARPNESS * z) ** 2) * grad


class LeakyFeedback(torch.autograd.Function):
    """The same neurons with feedback through time in the carrier s = R / (|beta u| + |I|).

    Source: Weber et al., arXiv 2308.12053, spiking part (subtract); the zero reset is ours: a unit that fired passes
    nothing back in time, because what was held is 0.
    """

    @staticmethod
    def forward(ctx: Any, current: Tensor, neuron: Neuron, readout: bool) -> Tensor:  # type: ignore[override]
        """[T, B, ...] currents to spikes."""
        decayed, spikes = torch.empty_like(current), torch.empty_like(current)
        potential = fired = torch.zeros_like(current[0])
        for step, arriving in enumerate(current):
            held = potential if neuron.reset == "subtract" else (1 - fired) * potential
            torch.mul(held, neuron.beta, out=decayed[step])
            potential = decayed[step] + arriving
            if neuron.reset == "subtract":
                potential = potential - neuron.threshold * fired
            fired = spikes[step] = (potential > neuron.threshold).to(current.dtype)
        ctx.save_for_backward(current, decayed, spikes)
        ctx.readout = readout
        return spikes

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """Reward of spikes to s at the currents, from the last step to the first.

        Inside the net R = S grad. At the readout what is wanted is told to every step, and what is not only to steps
        that fired, as the reference's rate-coded reward does.
        """
        current, decayed, spikes = ctx.saved_tensors
        rewards = spikes * grad
        if ctx.readout:
            rewards = torch.where(grad > 0, grad, rewards)
        held = decayed.abs().add_(current.abs()).add_(EPS)
        found, later = torch.empty_like(current), torch.zeros_like(current[0])
        for step in range(len(current) - 1, -1, -1):
            torch.div(rewards[step] + later, held[step], out=found[step])
            later = decayed[step] * found[step]
        return found, None, None


class SpikingNet(nn.Module):
    """Affine layers, each followed by leaky integrate-and-fire neurons, run over T steps, all steps of a layer at once.

    Parameters
    ----------
    layers : modules that map [B, ...] to [B, ...], linear or convolution, in any precision; potentials are float32 at
        least. Pools and flattening between them belong to `nn.Sequential` with one of them.
    neuron : constants, the same for all layers.
    steps : T.
    encode : [B, ...] -> [T, B, ...].

    Attributes
    ----------
    rates : one identity a layer, given the mean spikes of each neuron, [B, ...] in [0, 1], in eval mode. A hook that
        puts out other rates has the spikes scaled to them.
    """

    def __init__(
        self, layers: Sequence[nn.Module], neuron: Neuron | None = None, steps: int = 15, encode: Encoder | None = None
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.rates = nn.ModuleList(nn.Identity() for _ in layers)
        self.neuron, self.steps, self.encode = neuron or Neuron(), steps, encode or encode_constant
        self.timeless = False

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, ...] -> how often each neuron of the last layer fired, [B, K] in 0 … T."""
        if self.timeless:
            return nn.Sequential(*self.layers)(inputs)  # type: ignore[no-any-return]
        return self.spikes(self.encode(inputs, self.steps)).sum(0)

    def spikes(self, inputs: Tensor) -> Tensor:
        """[T, B, ...] -> spikes of the last layer [T, B, K]."""
        steps = len(inputs)
        for place, (layer, rate) in enumerate(zip(self.layers, self.rates, strict=True)):
            if inputs.stride(0) == 0:  # the same input at every step
                current = layer(inputs[0])
                current = current.expand(steps, *current.shape)
            else:
                current = layer(inputs.flatten(0, 1)).unflatten(0, (steps, -1))
            exact = current.float() if current.dtype in (torch.bfloat16, torch.float16) else current
            inputs = leaky(exact, self.neuron, place == len(self.layers) - 1).to(current.dtype)
            if not self.training:
                inputs = at_rate(inputs, rate)
        return inputs


@contextmanager
def without_time(model: nn.Module) -> Iterator[None]:
    """Let a spiking net pass its layers once, without neurons, for those who only ask which layer feeds which."""
    if not isinstance(model, SpikingNet):
        yield
        return
    model.timeless = True
    try:
        yield
    finally:
        model.timeless = False


def at_rate(spikes: Tensor, rate: nn.Module) -> Tensor:
    """Scale spikes [T, B, ...] to what `rate` makes of their means; a silent neuron gets its rate at every step."""
    mean = spikes.mean(0)
    wanted, fires = rate(mean), mean.detach() > 0
    return torch.where(fires, spikes * (wanted / torch.where(fires, mean, 1.0)), spikes + (wanted - mean))


def rate_coded(counts: Tensor, y: Tensor, steps: int) -> Reward:
    """Raise the true class until it fires at half of the steps, and lower the others until they are silent at half.

    Parameters
    ----------
    counts : [B, K], spikes of the whole run.
    y : [B] int64.
    steps : T.

    Returns
    -------
    Push [B, K]: (1 - sigmoid(P - T // 2)) / T for the true class, -(1 - sigmoid(N - T // 2)) / T for others, with P the
    count and N = T - P.

    Source: the reference's rate-coded reward; told to steps by `LeakyFeedback`.
    """
    counts = counts.detach()
    up, down = 1 - (counts - steps // 2).sigmoid(), 1 - (steps - counts - steps // 2).sigmoid()
    true = one_hot(counts, y)
    push = (up * true - down * (1 - true)) / steps
    return Reward(push, wanted=push)


def encode_constant(x: Tensor, steps: int) -> Tensor:
    """The same input at every step: [B, ...] -> [T, B, ...]."""
    return x.expand(steps, *x.shape)


def encode_rate(x: Tensor, steps: int) -> Tensor:
    """Spikes at even intervals, round(T x) of them: [B, ...] in [0, 1] -> [T, B, ...] in {0, 1}.

    Nothing is drawn, so that one picture always gives the same spikes.
    """
    moments = torch.arange(1, steps + 1, dtype=x.dtype, device=x.device).reshape(-1, *[1] * x.ndim)
    x = x.clamp(0, 1)
    return ((moments * x + 0.5).floor() - ((moments - 1) * x + 0.5).floor()).clamp_(0, 1)


Encoder = Callable[[Tensor, int], Tensor]
