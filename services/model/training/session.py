"""One training session, cut into epochs that each begin from a checkpoint and are the same wherever they run."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contracts.base import Arrays
from contracts.errors import EmptyClassError, InvalidRequest, LabelsMissingError, UnknownLayer
from contracts.training import EpochFigures, TrainingRequest, WeightHistogram
from services.model.training.engine import LFP
from services.model.training.errors import NonFiniteParameterError
from services.model.training.rewards import NAMED, Reward
from services.model.training.sparsity import EDGES, gini, magnitudes, near_zero, sign_flips, weights_of
from services.model.training.spiking import SpikingNet, rate_coded

Pictures = Callable[[Sequence[int]], Tensor]
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Split:
    """Indices of training and validation samples, and each sample's class."""

    train: np.ndarray
    validation: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]


def split(labels: Sequence[str | None], groups: Sequence[str | None], share: float, seed: int) -> Split:
    """Split by group (source photo), so that nothing of a validation picture was seen in training.

    Raises
    ------
    LabelsMissingError : a sample without a label, or a single class.
    EmptyClassError : a class without a training sample, or a single group.
    """
    missing = sum(label is None for label in labels)
    classes = tuple(sorted({label for label in labels if label is not None}))
    if missing or len(classes) < 2:
        raise LabelsMissingError(
            f"{missing} of {len(labels)} samples have no label, and there are {len(classes)} classes", field="dataset"
        )
    names = [group if group is not None else f"\0{index}" for index, group in enumerate(groups)]
    distinct = sorted(set(names))
    if len(distinct) < 2:
        raise EmptyClassError("all samples are of one group, so that none can be kept out of training", field="dataset")
    order = np.random.default_rng(seed).permutation(len(distinct))
    kept_out = {distinct[place] for place in order[: max(1, round(share * len(distinct)))]}
    within = np.array([name in kept_out for name in names])
    y = np.array([classes.index(label) for label in labels if label is not None])
    absent = [name for place, name in enumerate(classes) if not (y[~within] == place).any()]
    if absent:
        raise EmptyClassError(
            f"no training sample of {', '.join(absent[:5])}: their groups all lie in the validation part",
            field="validation", classes=list(absent),
        )  # fmt: skip
    return Split(np.flatnonzero(~within), np.flatnonzero(within), y, classes)


@dataclass
class Checkpoint:
    """Everything that the next epoch depends on. As arrays, it is kept as safetensors."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    figures: list[EpochFigures] = field(default_factory=list)
    stopped: bool = False

    def arrays(self) -> Arrays:
        """Tensors by name, with the part that they belong to before a slash."""
        parts = {"model": self.model, "optimizer": self.optimizer, "best": self.best}
        return {f"{part}/{name}": tensor.numpy() for part, held in parts.items() for name, tensor in held.items()}

    @classmethod
    def of(cls, arrays: Arrays, figures: Sequence[EpochFigures], *, stopped: bool) -> Checkpoint:
        """The checkpoint that `arrays` was made of."""
        held: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "best": {}}
        for name, array in arrays.items():
            part, _, rest = name.partition("/")
            held[part][rest] = torch.from_numpy(np.array(array))
        return cls(held["model"], held["optimizer"], held["best"], list(figures), stopped)


class Session:
    """Trains a model epoch by epoch.

    Parameters
    ----------
    model : as it was before the first epoch; its state is replaced by a checkpoint's.
    pictures : preprocessed inputs [B, 3, H, W] of sample indices.

    Raises
    ------
    UnknownLayer : a module to freeze that the model does not have.
    InvalidRequest : a device that is not here.
    """

    def __init__(self, model: nn.Module, request: TrainingRequest, data: Split, pictures: Pictures) -> None:
        self.model, self.request, self.data, self.pictures = model, request, data, pictures
        require_modules(model, request.freeze)
        self.reward = reward_of(request.reward, model)
        self.device = device_of(request)
        model.to(self.device)
        for name, part in model.named_parameters():
            part.requires_grad_(not any(name == prefix or name.startswith(f"{prefix}.") for prefix in request.freeze))
        self.start = {name: weight.to("cpu", copy=True) for name, weight in weights_of(model).items()}
        trained = [part for part in model.parameters() if part.requires_grad]
        if request.optimizer == "sgd":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(trained, lr=1.0, momentum=request.momentum)
        else:
            self.optimizer = torch.optim.Adam(trained, lr=1.0, betas=(request.momentum, 0.999))
        self.lfp = None
        if request.method == "lfp":
            self.lfp = LFP(model, request.rule, precondition="update" if request.optimizer == "adam" else "grad")
            self.lfp.attach(self.optimizer)

    def epoch(self, number: int, before: Checkpoint | None, tick: Tick) -> Checkpoint:
        """Run epoch `number` (from 0) after a checkpoint, or from the start.

        Raises
        ------
        NonFiniteParameterError : names the parameter; the checkpoint before is untouched.
        """
        if before is not None:
            self._restore(before)
        self.model.train()
        rows = np.random.default_rng([self.request.seed, number]).permutation(self.data.train)
        batches = [
            part for part in np.split(rows, range(self.request.batch, len(rows), self.request.batch)) if len(part) > 1
        ]
        torch.manual_seed(self.request.seed * 1_000_003 + number)  # dropout
        total, right, norms = 0.0, 0, []
        for place, batch in enumerate(batches):
            rate = self.rate(number + place / len(batches))
            loss, hits, norm = self._step(batch, rate)
            total, right = total + loss * len(batch), right + hits
            norms.append(norm)
            tick(len(batch))
        self._require_finite()
        seen = sum(len(batch) for batch in batches)
        validation_loss, validation_accuracy = self._evaluate(tick)
        now = {name: weight.cpu() for name, weight in weights_of(self.model).items()}
        figures = EpochFigures(
            epoch=number, learning_rate=self.rate(number), loss=total / seen, accuracy=right / seen,
            validation_loss=validation_loss, validation_accuracy=validation_accuracy,
            gini=float(np.mean([gini(weight) for weight in now.values()])), near_zero=near_zero(now),
            sign_flips=sign_flips(self.start, now),
            feedback_norm=float(np.mean(norms)), weights=WeightHistogram(edges=list(EDGES), counts=magnitudes(now)),
        )  # fmt: skip
        return self._keep(before, figures)

    def rate(self, epoch: float) -> float:
        """Learning rate at a moment, in epochs; a function of the moment alone, so that nothing has to be kept."""
        share, peak = epoch / self.request.epochs, self.request.learning_rate
        if self.request.schedule == "constant":
            return peak
        if self.request.schedule == "onecycle" and share < 0.3:
            return peak * (0.04 + 0.96 * (1 - math.cos(math.pi * share / 0.3)) / 2)
        begun = (share - 0.3) / 0.7 if self.request.schedule == "onecycle" else share
        return peak * (1 + math.cos(math.pi * begun)) / 2

    def _step(self, batch: np.ndarray, rate: float) -> tuple[float, int, float]:
        x, y = self._inputs(batch)
        self.optimizer.zero_grad(set_to_none=True)
        if self.lfp is not None:
            with self._precision(), self.lfp:
                out = self.model(x)
            out = out.float()
            self.lfp.backward(out, self.reward(out, y), stats=False)
            loss = F.cross_entropy(out.detach(), y)
        else:
            with self._precision():
                out = self.model(x)
            loss = F.cross_entropy(out.float(), y)
            loss.backward()
        held = [part for part in self.model.parameters() if part.grad is not None]
        norm = float(nn.utils.clip_grad_norm_(held, self.request.clip or math.inf))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return float(loss.detach()), int((out.argmax(1) == y).sum()), norm

    def _inputs(self, batch: np.ndarray) -> tuple[Tensor, Tensor]:
        y = torch.from_numpy(self.data.y[batch])
        return self.pictures(batch.tolist()).to(self.device), y.to(self.device)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.request.precision == "bfloat16")

    @torch.no_grad()
    def _evaluate(self, tick: Tick) -> tuple[float, float]:
        self.model.eval()
        total, right, rows = 0.0, 0, self.data.validation
        for start in range(0, len(rows), self.request.batch):
            batch = rows[start : start + self.request.batch]
            x, y = self._inputs(batch)
            out = self.model(x)
            total += float(F.cross_entropy(out, y, reduction="sum"))
            right += int((out.argmax(1) == y).sum())
            tick(len(batch))
        return total / len(rows), right / len(rows)

    def _keep(self, before: Checkpoint | None, figures: EpochFigures) -> Checkpoint:
        curve = [*(before.figures if before else []), figures]
        state = {name: part.detach().to("cpu", copy=True) for name, part in self.model.state_dict().items()}
        if self.request.patience is None:
            return Checkpoint(state, self._optimizer_state(), {}, curve)
        accuracies = [epoch.validation_accuracy for epoch in curve]
        best = accuracies.index(max(accuracies))
        kept = state if best == len(curve) - 1 else (before.best if before else state)
        stopped = len(curve) - 1 - best >= self.request.patience
        return Checkpoint(state, self._optimizer_state(), kept, curve, stopped)

    def _names(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, part) for name, part in self.model.named_parameters() if part.requires_grad)

    def _optimizer_state(self) -> dict[str, Tensor]:
        return {
            f"{slot}/{name}": value.detach().to("cpu", copy=True)
            for name, part in self._names()
            for slot, value in self.optimizer.state.get(part, {}).items()
            if isinstance(value, Tensor)
        }

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.model.load_state_dict(checkpoint.model)
        parts = dict(self._names())
        for key, value in checkpoint.optimizer.items():
            slot, _, name = key.partition("/")
            held = value.clone() if slot == "step" else value.to(parts[name], copy=True)  # Adam counts on the CPU
            self.optimizer.state[parts[name]][slot] = held

    def _require_finite(self) -> None:
        for name, part in self.model.state_dict().items():
            if part.is_floating_point() and not bool(torch.isfinite(part).all()):
                raise NonFiniteParameterError(
                    f"{name} is not finite after this epoch", field="learning_rate", layer=name
                )


def reward_of(name: str, model: nn.Module) -> Callable[[Tensor, Tensor], Reward]:
    """The reward of a name. Raises `InvalidRequest` for one that counts spikes where there are none."""
    if name != "rate_coded":
        return NAMED[name]
    if not isinstance(model, SpikingNet):
        raise InvalidRequest("the reward rate_coded is for spiking nets", field="reward")
    steps = model.steps
    return lambda counts, y: rate_coded(counts, y, steps)


def device_of(request: TrainingRequest) -> torch.device:
    """The device that was asked for; a GPU is told, for the whole process, to repeat itself bit for bit.

    Raises
    ------
    InvalidRequest : there is no such device.
    """
    if request.device == "cuda":
        if not torch.cuda.is_available():
            raise InvalidRequest(
                "this worker has no CUDA device; take cpu, or start a worker on a machine with one", field="device"
            )
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
    return torch.device(request.device)


def require_modules(model: nn.Module, names: Sequence[str], field: str = "freeze") -> None:
    """Refuse names that are no modules of the model. Raises `UnknownLayer` with the closest ones."""
    known = [name for name, _ in model.named_modules() if name]
    for name in names:
        if name not in known:
            closest = get_close_matches(name, known, n=3, cutoff=0.3)
            raise UnknownLayer(f"the model has no module {name}", field=field, closest=[*closest])


def result_of(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The state that a training ends with: the best epoch's where patience was asked for, else the last one's."""
    return checkpoint.best or checkpoint.model
