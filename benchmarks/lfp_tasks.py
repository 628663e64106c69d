"""What the report on feedback trains: three data sets with their nets, and one loop for every way of training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.feedback_alignment import FeedbackAlignment
from benchmarks.lfp_digits import digits, mlp
from benchmarks.pruning import packaged_net
from contracts.data import ScenesSource
from services.model.controlled.nets import cnn_for_training
from services.model.controlled.pictures import pictures_of, to_input
from services.model.training import LFP, rewards
from services.model.training.pruning import masks_of, pruned, scores
from services.model.training.sparsity import gini, sign_flips, weights_of

CLIP, MOMENTUM = 3.0, 0.9
AMOUNTS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
CRITERIA = ("magnitude", "relevance", "random")
COARSE = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
RATES = {
    "LFP": COARSE,
    "SGD": COARSE,
    "Adam": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
    "LFP, Adam's steps": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    "feedback alignment": COARSE,
}


@dataclass(frozen=True)
class Part:
    """Pictures [N, ...] float32 and their classes [N] int64."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Task:
    """A data set with its net.

    Parameters
    ----------
    device : where it is trained; what is random is drawn on the CPU before.
    parts : the parts train, validation and test; learning rates are chosen on validation, test is used once.
    net : a new net; what is random comes from torch's generator.
    cosine : whether the rate falls to zero; else it stays.
    """

    name: str
    parts: Callable[[], tuple[Part, Part, Part]]
    net: Callable[[], nn.Module]
    epochs: int
    batch: int
    cosine: bool
    device: str = "cpu"

    def split(self) -> tuple[Part, Part, Part]:
        """Train, validation and test on the device."""
        train, validation, test = (Part(part.x.to(self.device), part.y.to(self.device)) for part in self.parts())
        return train, validation, test


@cache
def digits_parts() -> tuple[Part, Part, Part]:
    """scikit-learn digits in [-1, 1]: four fifths of the training part, the other fifth, the test part."""
    data = digits()
    order = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(0))
    kept, held_out = order[len(order) // 5 :], order[: len(order) // 5]
    return Part(data.x[kept], data.y[kept]), Part(data.x[held_out], data.y[held_out]), Part(data.test_x, data.test_y)


@cache
def scenes_parts(train: int, held_out: int) -> tuple[Part, Part, Part]:
    """Generated scenes of six shapes, 64 px in [-1, 1]; each part is drawn by its own rule."""

    def part(split: str, count: int) -> Part:
        found = pictures_of(ScenesSource(n=count, seed=8, split=split))  # type: ignore[arg-type]
        return Part(to_input(found.pixels), torch.from_numpy(found.labels))

    return part("train", train), part("validation", held_out), part("test", held_out)


def scenes_net() -> nn.Module:
    """The small convolutional net of the controlled scenes, with batch norm, and dropout before its head."""
    steps = list(cnn_for_training().named_children())
    return nn.Sequential(*(module for _, module in steps[:-1]), nn.Dropout(0.25), steps[-1][1])


def transfer_net() -> nn.Module:
    """EfficientNet-Lite0 with the packaged ImageNet weights and a new head."""
    net = packaged_net(6)
    if net is None:
        raise SystemExit("no installed package brings the weights of EfficientNet-Lite0")
    return net


def tasks(*, quick: bool, device: str = "cpu") -> list[Task]:
    """The tasks of the report."""
    many, few = (300, 200) if quick else (1500, 1000)
    return [
        Task("digits", digits_parts, partial(mlp, nn.ReLU), 5 if quick else 40, 128, cosine=False, device=device),
        Task(
            "scenes", partial(scenes_parts, many, few), scenes_net, 2 if quick else 12, 32, cosine=True, device=device
        ),
        Task(
            "transfer",
            partial(scenes_parts, many // 3, few),
            transfer_net,
            1 if quick else 6,
            32,
            cosine=True,
            device=device,
        ),
    ]


class Training:
    """One way of training one net: `step` does a batch."""

    def __init__(self, method: str, model: nn.Module, rate: float, seed: int) -> None:
        self.method, self.model = method, model
        self.lfp = self.aligned = None
        adam = "Adam" in method
        kind = torch.optim.Adam if adam else torch.optim.SGD
        self.optimiser = (
            kind(model.parameters(), lr=rate) if adam else kind(model.parameters(), lr=rate, momentum=MOMENTUM)
        )
        if method.startswith("LFP"):
            self.lfp = LFP(model, precondition="update" if adam else "grad")
            self.lfp.attach(self.optimiser)
        elif method == "feedback alignment":
            self.aligned = FeedbackAlignment(model, seed)

    def step(self, x: Tensor, y: Tensor) -> None:
        """One update."""
        with self.lfp or self.aligned or nullcontext():
            out = self.model(x)
        if self.lfp is not None:
            self.lfp.backward(out, rewards.softmax(out, y), stats=False)
        else:
            F.cross_entropy(out, y).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimiser.step()
        self.optimiser.zero_grad()


def batches(part: Part, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The pictures in a new order."""
    for rows in torch.randperm(len(part.x)).to(part.x.device).split(size):
        if len(rows) > 1:
            yield part.x[rows], part.y[rows]


def accuracy(model: nn.Module, part: Part) -> float:
    """Share that is classified rightly; outputs that are not finite are wrong."""
    model.eval()
    with torch.inference_mode():
        out = torch.cat([model(x) for x in part.x.split(200)])
    right = (out.argmax(1) == part.y) & torch.isfinite(out).all(1)
    return float(right.float().mean())


def trained(task: Task, method: str, rate: float, seed: int) -> tuple[nn.Module, dict[str, Tensor], float]:
    """Train a net; with its weights before, and seconds per step."""
    torch.manual_seed(seed)
    train = task.split()[0]
    model = task.net().to(task.device)
    before = {name: weight.clone() for name, weight in weights_of(model).items()}
    run = Training(method, model, rate, seed)
    begun, steps = time.perf_counter(), 0
    for epoch in range(task.epochs):
        model.train()
        for group in run.optimiser.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * epoch / task.epochs)) / 2 if task.cosine else rate
        for x, y in batches(train, task.batch):
            run.step(x, y)
            steps += 1
    return model.eval(), before, (time.perf_counter() - begun) / steps


def validated(task: Task, method: str, rate: float, seed: int) -> float:
    """Accuracy on the validation part, 0 where training broke down."""
    model, *_ = trained(task, method, rate, seed)
    if not all(bool(torch.isfinite(part).all()) for part in model.parameters()):
        return 0.0
    return accuracy(model, task.split()[1])


@dataclass(frozen=True)
class Outcome:
    """What one trained net is worth. `flips` is None where weights at the start were not kept."""

    accuracy: float
    gini: float
    flips: float | None
    pruned: dict[str, dict[float, float]]


def outcome(task: Task, method: str, rate: float, seed: int) -> Outcome:
    """Train with a chosen rate and measure on the test part."""
    model, before, _ = trained(task, method, rate, seed)
    train, _, test = task.split()
    now = weights_of(model)
    curves: dict[str, dict[float, float]] = {}
    for criterion in CRITERIA:
        data = list(zip(train.x.split(100), train.y.split(100), strict=True))
        worth = scores(model, criterion, data, seed=seed)
        curves[criterion] = {}
        for amount in AMOUNTS:
            with pruned(model, masks_of(worth, amount)):
                curves[criterion][amount] = accuracy(model, test)
    mean = sum(gini(weight) for weight in now.values()) / len(now)
    return Outcome(accuracy(model, test), mean, sign_flips(before, now), curves)
