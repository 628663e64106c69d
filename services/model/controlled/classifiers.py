"""Training of the small classifiers. Equal arguments and threads give equal weights on one machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from contracts.data import ScenesSource
from services.model.controlled.nets import cnn_for_training, scenes_cnn, scenes_vit, vit_for_training, without_norm
from services.model.controlled.pictures import Pictures, course_of, to_input

Kind = Literal["cnn", "vit"]
Watch = Callable[[int, float], None]


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained.

    Parameters
    ----------
    pictures : size of the training set.
    rate, decay : peak learning rate and weight decay of AdamW.
    """

    pictures: int
    steps: int
    batch: int
    rate: float
    decay: float


MUON_RATE = 0.02
RECIPES: dict[Kind, Recipe] = {
    "cnn": Recipe(pictures=8000, steps=600, batch=128, rate=4e-3, decay=0.02),
    "vit": Recipe(pictures=16000, steps=1500, batch=64, rate=2e-3, decay=0.03),
}


def training_source(kind: Kind, *, seed: int, strength: float, faint: float = 0.0) -> ScenesSource:
    """The scenes that a classifier is trained on: a tag is confounded with triangles."""
    return ScenesSource(n=RECIPES[kind].pictures, seed=seed, strength=strength, faint=faint)


def train_classifier(
    kind: Kind,
    *,
    seed: int,
    strength: float,
    faint: float = 0.0,
    steps: int | None = None,
    watch: Watch | None = None,
) -> dict[str, Tensor]:
    """Train one classifier and return its weights; batch norms are folded away.

    Parameters
    ----------
    strength : correlation of the artefact with its class in the training scenes.
    faint : share of the training scenes whose object is hardly visible, so that only the artefact tells the class.
    steps : stop earlier, on the same course.
    watch : told the number and loss of every step.
    """
    recipe = RECIPES[kind]
    source = training_source(kind, seed=seed, strength=strength, faint=faint)
    course = course_of(source, size=recipe.batch, steps=steps or recipe.steps, seed=seed)
    torch.manual_seed(seed)
    model = (cnn_for_training() if kind == "cnn" else vit_for_training()).train()
    optimizers = _optimizers(model, recipe)
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_course, recipe)) for optimizer in optimizers]
    for number, batch in enumerate(course.batches):
        logits = model(to_input(course.pictures.pixels[batch]))
        loss = cross_entropy(logits, torch.from_numpy(course.pictures.labels[batch]))
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for moving in (*optimizers, *schedules):
            moving.step()
        if watch is not None:
            watch(number, float(loss.detach()))
    plain = without_norm(model.eval(), (scenes_cnn() if kind == "cnn" else scenes_vit()).model)
    return {name: tensor.detach() for name, tensor in plain.state_dict().items()}


def _course(recipe: Recipe, step: int) -> float:
    """Share of the peak rate: up during the first twentieth, level, then down to nothing over the last 60 %."""
    return min((step + 1) / (0.05 * recipe.steps), 1.0, max(recipe.steps - step, 0) / (0.6 * recipe.steps))


def _optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW; the matrices of transformer blocks go to Muon, which halves the steps that they need."""
    blocks = [part for name, part in model.named_parameters() if name.startswith("blocks.") and part.ndim == 2]
    taken = {id(part) for part in blocks}
    others = [part for part in model.parameters() if id(part) not in taken]
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=recipe.rate, weight_decay=recipe.decay, betas=(0.9, 0.98))
    ]
    if blocks:
        found.append(torch.optim.Muon(blocks, lr=MUON_RATE, weight_decay=0.05))
    return found


@torch.no_grad()
def predict(model: nn.Module, pictures: Pictures, *, batch: int = 250) -> np.ndarray:
    """Logits of all pictures; [N, classes] float32."""
    parts = [model(to_input(pictures.pixels[start : start + batch])) for start in range(0, len(pictures), batch)]
    return torch.cat(parts).numpy()
