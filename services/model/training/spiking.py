"""Leaky integrate-and-fire layers and their feedback through time, without surrogate gradients.

Neuron: I_t = W x_t + b, spike S_t = [u_t > theta], the reset uses the spike before.
`subtract`: v = beta u_{t-1} + I_t, u_t = v - theta S_{t-1}. `zero`: v = beta (1 - S_{t-1}) u_{t-1} + I_t, u_t = v.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.model.training.errors import FeedbackOptionError, NoRuleError

RESETS = ("subtract", "zero")


@dataclass(frozen=True)
class Neuron:
    """Constants of a layer of neurons; a learnable beta or theta has no rule."""

    beta: float = 0.9
    threshold: float = 1.0
    reset: str = "subtract"

    def __post_init__(self) -> None:
        if self.reset not in RESETS:
            raise FeedbackOptionError(f"reset is {self.reset}; known are {', '.join(RESETS)}", field="reset")


@dataclass
class Trace:
    """What a layer's backward pass needs of one time step: its input, decayed potential and v (see the module)."""

    x: Tensor
    decayed: Tensor
    v: Tensor


class SpikingNet(nn.Module):
    """Affine layers, each followed by leaky integrate-and-fire neurons, run over T steps.

    Parameters
    ----------
    layers : modules that map [B, ...] to [B, ...], linear or convolution; pools and flattening between them belong to
        `nn.Sequential` with one of them.
    neuron : constants, the same for all layers.

    Source: leaky neurons with snntorch's semantics (reset from the spike before, u_0 = S_0 = 0).
    """

    def __init__(self, layers: Sequence[nn.Module], neuron: Neuron | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.neuron = neuron or Neuron()

    def forward(self, inputs: Tensor) -> Tensor:
        """[T, B, ...] -> spikes of the last layer [T, B, K] in {0, 1}."""
        return self.run(inputs)[0]

    @torch.no_grad()
    def run(self, inputs: Tensor, *, trace: bool = False) -> tuple[Tensor, list[list[Trace]]]:
        """Run all steps from silence; with `trace`, also what `feedback` needs, by step and layer."""
        neuron, out, kept = self.neuron, [], []
        potentials: list[Tensor | float] = [0.0] * len(self.layers)
        spikes: list[Tensor | float] = [0.0] * len(self.layers)
        for x in inputs:
            steps = []
            for place, layer in enumerate(self.layers):
                u, fired = potentials[place], spikes[place]
                held = u if neuron.reset == "subtract" else (1 - fired) * u
                current = layer(x)
                decayed = neuron.beta * held + torch.zeros_like(current)
                v = decayed + current
                u = v - neuron.threshold * fired if neuron.reset == "subtract" else v
                potentials[place] = u
                if trace:
                    steps.append(Trace(x, decayed, v))
                x = spikes[place] = (u > neuron.threshold).to(v.dtype)
            out.append(x)
            kept.append(steps)
        return torch.stack(out), kept


def rate_coded(spikes: Tensor, y: Tensor) -> Tensor:
    """Reward of each step from spike counts of the whole run; [T, B, K].

    P = sum_t S, N = sum_t (1 - S). True class: 1 - sigmoid(P - T // 2) at every step. Others:
    -S (1 - sigmoid(N - T // 2)). Divided by T.

    Source: the reference's rate-coded reward.
    """
    steps = len(spikes)
    fired, silent = spikes.sum(0), (1 - spikes).sum(0)
    true = nn.functional.one_hot(y, spikes.shape[-1]).to(spikes.dtype)
    up = (1 - (fired - steps // 2).sigmoid()) * true
    down = -spikes * (1 - (silent - steps // 2).sigmoid()) * (1 - true)
    return (up + down) / steps


def predict(spikes: Tensor) -> Tensor:
    """Class with the most spikes, the lowest of equals; [T, B, K] -> [B] int64."""
    return spikes.sum(0).argmax(-1)


@torch.no_grad()
def feedback(net: SpikingNet, traces: list[list[Trace]], reward: Tensor, *, eps: float = 1e-6) -> dict[str, Tensor]:
    """Ascent direction f = |p| sum_t s^T x of each parameter, summed over the batch, by name.

    Parameters
    ----------
    net, traces : a network and what its `run(…, trace=True)` kept.
    reward : [T, B, K], at the last layer's spikes of each step.
    eps : stabiliser of the positive denominator |beta u| + |I|.

    Raises
    ------
    NoRuleError : a layer that is not made of affine maps and pools.

    Source: Weber et al., arXiv 2308.12053, spiking part (subtract); the zero reset is ours: a unit that fired passes
    nothing back in time, because what was held is 0.
    """
    totals = {name: torch.zeros_like(part) for name, part in net.named_parameters()}
    later: list[Tensor | float] = [0.0] * len(net.layers)
    for step in range(len(traces) - 1, -1, -1):
        arriving = reward[step]
        for place in range(len(net.layers) - 1, -1, -1):
            at, layer = traces[step][place], net.layers[place]
            s = (arriving + later[place]) / (at.decayed.abs() + (at.v - at.decayed).abs() + eps)
            later[place] = at.decayed * s
            to_x, to_parts = _vjp(layer, at.x, s)
            arriving = at.x * to_x
            for name, gradient in to_parts.items():
                totals[f"layers.{place}.{name}"] += gradient
    return {name: part.abs() * totals[name] for name, part in net.named_parameters()}


def _vjp(layer: nn.Module, x: Tensor, s: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Vector-Jacobian products of a layer at its input and its parameters."""
    if isinstance(layer, nn.Linear) and x.ndim == 2:
        parts = {"weight": s.T @ x}
        if layer.bias is not None:
            parts["bias"] = s.sum(0)
        return s @ layer.weight, parts
    x = x.detach().requires_grad_()
    names = dict(layer.named_parameters())
    with torch.enable_grad():
        out = layer(x)
    if out.grad_fn is None:
        raise NoRuleError(f"{type(layer).__name__} passes no reward")
    found = torch.autograd.grad(out, [x, *names.values()], s)
    return found[0], dict(zip(names, found[1:], strict=True))


def backward(net: SpikingNet, traces: list[list[Trace]], reward: Tensor, *, mean: bool = True) -> None:
    """Add -f to each parameter's `.grad`; over the batch size if `mean`."""
    share = 1 / reward.shape[1] if mean else 1.0
    found = feedback(net, traces, reward)
    for name, part in net.named_parameters():
        if part.requires_grad:
            step = found[name] * -share
            part.grad = step if part.grad is None else part.grad + step


def encode_constant(x: Tensor, steps: int) -> Tensor:
    """The same input at every step: [B, ...] -> [T, B, ...]."""
    return x.expand(steps, *x.shape)


Encoder = Callable[[Tensor, int], Tensor]
