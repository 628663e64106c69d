"""Retraining against an artefact: its presence is read off flagged components, and batches make it say nothing.

A model that rests on an artefact is trained on from its own weights, on batches in which every class comes as often
with the artefact as without it (group balancing: Idrissi et al. 2022, arXiv 2110.14503; that little retraining on
balanced groups suffices: Kirichenko et al. 2023, arXiv 2204.02937). Nobody labels the artefact: a picture has it where
the flagged components are active (this step is ours).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from contracts.base import Arrays
from services.model.training.errors import NonFiniteParameterError

if TYPE_CHECKING:
    from torch import Tensor, nn

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
CONSTANT = 0.4  # share of the steps at the full learning rate; then it falls to 0 on a line
BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class Recipe:
    """How a retraining goes.

    Parameters
    ----------
    rate, decay : learning rate and decoupled weight decay of AdamW.
    """

    steps: int = 400
    batch: int = 64
    rate: float = 2e-3
    decay: float = 0.01
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        return self.rate * min(1.0, (self.steps - step) / (self.steps * (1 - CONSTANT)))


def presence(activations: NDArray[np.floating], units: Sequence[int]) -> Bools:
    """Whether each picture has what the units react to: their mean standardised activation, split in two by Otsu.

    Parameters
    ----------
    activations : [n, C] pooled over each picture.

    Returns
    -------
    [n] bool; all False where the units are constant.
    """
    held = np.asarray(activations[:, list(units)], np.float64)
    spread = held.std(axis=0)
    alive = spread > 1e-12
    if not alive.any():
        return np.zeros(len(held), bool)
    score = ((held[:, alive] - held[:, alive].mean(axis=0)) / spread[alive]).mean(axis=1)
    return np.asarray(score > otsu(score))


def otsu(values: NDArray[np.float64]) -> float:
    """The value t that splits [n] into v <= t and v > t of largest variance between them (Otsu 1979, eq. 18)."""
    ordered = np.sort(values)
    below = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)[:-1]
    gap = sums / below - (ordered.sum() - sums) / (len(ordered) - below)
    between = np.where(np.diff(ordered) > 0, below * (len(ordered) - below) * gap**2, -1.0)
    return float(ordered[int(np.argmax(between))]) if len(ordered) > 1 else float(ordered[0])


def groups(truth: Ints, present: Bools) -> dict[tuple[int, bool], Ints]:
    """Rows of each class with and without the artefact; groups without a row are left out."""
    return {
        (int(output), there): rows
        for output in np.unique(truth)
        for there in (False, True)
        if len(rows := np.flatnonzero((truth == output) & (present == there)))
    }


def balanced(rows: Sequence[Ints], size: int, *, seed: int, step: int) -> Ints:
    """Rows of one batch: as many of each group as of the next, up to one; a function of seed and step alone."""
    draw = np.random.default_rng([seed, step])
    order = draw.permutation(len(rows))
    return np.array([draw.choice(rows[order[slot % len(rows)]]) for slot in range(size)], np.int64)


@dataclass
class Checkpoint:
    """Parameters, buffers and moments after so many steps."""

    step: int = 0
    model: dict[str, Tensor] = field(default_factory=dict)
    moments: dict[str, Tensor] = field(default_factory=dict)

    def arrays(self) -> Arrays:
        """Tensors by name, with the part that they belong to before a slash."""
        parts = {"model": self.model, "moments": self.moments}
        return {f"{part}/{name}": tensor.numpy() for part, held in parts.items() for name, tensor in held.items()}

    @classmethod
    def of(cls, arrays: Arrays, step: int) -> Checkpoint:
        """The checkpoint that `arrays` was made of."""
        import torch

        parts: dict[str, dict[str, Tensor]] = {"model": {}, "moments": {}}
        for key, array in arrays.items():
            part, _, name = key.partition("/")
            parts[part][name] = torch.from_numpy(np.array(array))
        return cls(step, parts["model"], parts["moments"])


class Retraining:
    """Trains a classifier on in evaluation mode, so that normalisation keeps the statistics of its first training.

    Parameters
    ----------
    model : as it was before, with its state replaced by a checkpoint's where one is given.
    truth : [n] class of each row.
    present : [n] whether each row has the artefact.
    pictures : preprocessed inputs [B, 3, H, W] of rows.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, truth: Ints, present: Bools, pictures: Callable[[Ints], Tensor]
    ) -> None:
        import torch

        self.model, self.recipe, self.truth, self.pictures = model.eval(), recipe, truth, pictures
        self.rows = list(groups(truth, present).values())
        for part in model.parameters():
            part.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, betas=BETAS, weight_decay=recipe.decay)

    def run(
        self, until: int, before: Checkpoint | None = None, tick: Callable[[int], None] = lambda steps: None
    ) -> Checkpoint:
        """Train from a checkpoint, or from the start, up to step `until`.

        Raises
        ------
        NonFiniteParameterError : names the parameter.
        """
        import torch
        from torch.nn.functional import cross_entropy

        self._restore(before or Checkpoint())
        for step in range(before.step if before else 0, until):
            batch = balanced(self.rows, self.recipe.batch, seed=self.recipe.seed, step=step)
            for group in self.optimizer.param_groups:
                group["lr"] = self.recipe.rate_at(step)
            self.optimizer.zero_grad(set_to_none=True)
            cross_entropy(self.model(self.pictures(batch)), torch.from_numpy(self.truth[batch])).backward()
            self.optimizer.step()
            tick(1)
        state = {name: part.detach().clone() for name, part in self.model.state_dict().items()}
        for name, part in state.items():
            if part.is_floating_point() and not bool(torch.isfinite(part).all()):
                raise NonFiniteParameterError(f"{name} is not finite after {until} steps", field="learning_rate")
        moments = {
            f"{slot}/{name}": value.detach().clone()
            for name, part in self.model.named_parameters()
            for slot, value in self.optimizer.state.get(part, {}).items()
        }
        return Checkpoint(until, state, moments)

    def _restore(self, checkpoint: Checkpoint) -> None:
        if checkpoint.model:
            self.model.load_state_dict(checkpoint.model)
        parts = dict(self.model.named_parameters())
        for key, value in checkpoint.moments.items():
            slot, _, name = key.partition("/")
            self.optimizer.state[parts[name]][slot] = value.clone()
