"""Digits: training with feedback and with gradients under one protocol, pruning curves, spiking networks.

scikit-learn digits in [-1, 1], stratified 70/30 split, MLP 64-120-84-10, batch 128, momentum 0.9, clip 3. Learning
rates were chosen from {.003, .01, .03, .1, .3, 1} on a fifth of the training part (two seeds); test data is used once.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from services.model.training import LFP, Step, rewards
from services.model.training.pruning import masks_of, pruned, scores
from services.model.training.sparsity import gini, weights_of
from services.model.training.spiking import Neuron, SpikingNet, rate_coded

BATCH, CLIP = 128, 3.0
RATES = {"subtract": 3e-3, "zero": 1e-2}  # Adam's, of spiking networks, on the validation part


@dataclass(frozen=True)
class Digits:
    """Train and test pictures, [N, 64] float32, and their labels."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


@cache
def digits() -> Digits:
    """The fixed split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pictures, labels = load_digits(return_X_y=True)
    parts = train_test_split(pictures / 8 - 1, labels, test_size=0.3, random_state=0, stratify=labels)
    x, test_x, y, test_y = (torch.tensor(part) for part in parts)
    return Digits(x.float(), y, test_x.float(), test_y)


def mlp(act: Callable[[], nn.Module]) -> nn.Sequential:
    """64-120-84-10 with torch's initialisation."""
    return nn.Sequential(nn.Linear(64, 120), act(), nn.Linear(120, 84), act(), nn.Linear(84, 10))


def accuracy(model: nn.Module) -> float:
    """Share of the test part that is classified rightly."""
    data = digits()
    with torch.no_grad():
        return float((model(data.test_x).argmax(1) == data.test_y).float().mean())


def train(
    act: Callable[[], nn.Module], seed: int, *, lr: float, feedback: bool, epochs: int = 40, **options: object
) -> nn.Module:
    """One run with SGD; `feedback` uses LFP with a sum over the batch, else cross-entropy's gradient."""
    torch.manual_seed(seed)
    model, data = mlp(act), digits()
    optimiser = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    lfp = LFP(model, reduction="sum", **options) if feedback else None
    for _ in range(epochs):
        for rows in torch.randperm(len(data.x)).split(BATCH):
            x, y = data.x[rows], data.y[rows]
            if lfp is None:
                nn.functional.cross_entropy(model(x), y).backward()
            else:
                with lfp:
                    out = model(x)
                lfp.backward(out, rewards.softmax(out, y), stats=False)
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimiser.step()
            optimiser.zero_grad()
    return model


@dataclass(frozen=True)
class Runs:
    """Figures of several seeds."""

    accuracy: list[float]
    gini: list[float]
    pruned: list[float]

    @property
    def mean(self) -> float:
        return statistics.mean(self.accuracy)


def runs(act: Callable[[], nn.Module], seeds: int, **options: object) -> Runs:
    """Train with several seeds; accuracy, Gini index (mean of the layers), accuracy with 95 % of the weights away."""
    found = Runs([], [], [])
    for seed in range(seeds):
        model = train(act, seed, **options)  # type: ignore[arg-type]
        found.accuracy.append(accuracy(model))
        found.gini.append(statistics.mean(gini(weight) for weight in weights_of(model).values()))
        with pruned(model, masks_of(scores(model, "magnitude"), 0.95)):
            found.pruned.append(accuracy(model))
    return found


Trained = tuple[nn.Module, Callable[[], float]]  # weights, and what is asked for the accuracy on the test part


def spiking(seed: int, reset: str, *, steps: int = 15, epochs: int = 15) -> Trained:
    """A spiking 64-200-10 network trained by feedback with Adam."""
    torch.manual_seed(seed)
    net, data = SpikingNet([nn.Linear(64, 200), nn.Linear(200, 10)], Neuron(reset=reset), steps), digits()
    lfp = LFP(net, floor=0.0)
    optimiser = torch.optim.Adam(net.parameters(), RATES[reset])
    for _ in range(epochs):
        for rows in torch.randperm(len(data.x)).split(BATCH):
            with lfp:
                counts = net(data.x[rows])
            lfp.backward(counts, rate_coded(counts, data.y[rows], steps), stats=False)
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)
            optimiser.step()
            optimiser.zero_grad()

    def tested() -> float:
        return float((net(data.test_x).argmax(1) == data.test_y).float().mean())

    return net, tested


def surrogate(seed: int, reset: str, *, steps: int = 15, epochs: int = 15, lr: float = 3e-3) -> Trained:
    """The same network trained through snntorch's arctan surrogate gradient, cross-entropy of the rates."""
    import snntorch
    import snntorch.functional as sf
    from snntorch import surrogate as surrogates

    torch.manual_seed(seed)
    data = digits()
    layers = [nn.Linear(64, 200), nn.Linear(200, 10)]
    leaky = [
        snntorch.Leaky(beta=0.9, threshold=1.0, reset_mechanism=reset, spike_grad=surrogates.atan()) for _ in layers
    ]
    loss = sf.ce_rate_loss()
    optimiser = torch.optim.Adam([part for layer in layers for part in layer.parameters()], lr)

    def run(x: Tensor) -> Tensor:
        memories, out = [neuron.init_leaky() for neuron in leaky], []
        for _ in range(steps):
            given = x
            for place, (layer, neuron) in enumerate(zip(layers, leaky, strict=True)):
                given, memories[place] = neuron(layer(given), memories[place])
            out.append(given)
        return torch.stack(out)

    for _ in range(epochs):
        for rows in torch.randperm(len(data.x)).split(BATCH):
            loss(run(data.x[rows]), data.y[rows]).backward()
            optimiser.step()
            optimiser.zero_grad()

    @torch.no_grad()
    def tested() -> float:
        return float((run(data.test_x).sum(0).argmax(1) == data.test_y).float().mean())

    return nn.ModuleList(layers), tested


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "step": Step}
