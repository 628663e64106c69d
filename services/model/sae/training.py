"""Training of sparse autoencoders with small budgets: TopK and BatchTopK, dead latents brought back early."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from contracts.sae import TooManyActive
from services.model.sae.autoencoder import SparseAutoencoder
from services.model.sae.sparse_step import Active, gradients, top_of_batch, top_of_rows
from services.model.sae.stream import Stream

ESTIMATED_FROM = 65_536
DEAD_TOKENS, DEAD_SHARE = 200_000, 0.05
NAMES = ("encoder", "decoder", "encoder_bias", "decoder_bias")


@dataclass(frozen=True)
class Recipe:
    """How to train. Rows are tokens of a language model or pictures (or positions) of a vision layer.

    Attributes
    ----------
    latents : m. k : active latents a row (on average for `batchtopk`). steps : optimiser steps.
    learning_rate : None: 2e-4 / √(m / 16,384). dead_rows : rows without firing after which a latent counts as dead;
    None: 200,000 or 5 % of the run, whichever is less - library defaults of ten million never come into play here.
    revive_every : steps between re-initialisations of dead encoders from rows of high error; 0: never.
    """

    latents: int
    k: int = 32
    kind: Literal["topk", "batchtopk"] = "topk"
    steps: int = 5000
    batch: int = 1024
    learning_rate: float | None = None
    warm_up: int = 200
    dead_rows: int | None = None
    revive_every: int = 1000
    auxiliary: float = 1 / 32
    clip: float = 1.0
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then constant, then linear to 0 over the last fifth."""
        full = self.learning_rate or 2e-4 / (self.latents / 16_384) ** 0.5
        warm = min(1.0, (step + 1) / max(1, min(self.warm_up, self.steps // 5)))
        left = (self.steps - step) / max(1.0, 0.2 * self.steps)
        return full * min(warm, left, 1.0)

    @property
    def dead_after(self) -> int:
        """Rows without firing after which a latent is dead."""
        return self.dead_rows or max(self.batch, min(DEAD_TOKENS, round(DEAD_SHARE * self.steps * self.batch)))

    @property
    def warnings(self) -> list[str]:
        """What is probably not meant."""
        planned = self.steps * self.batch
        if self.dead_after > 0.2 * planned:
            return [f"a latent counts as dead after {self.dead_after} rows, but only {planned} are planned"]
        return []


@dataclass(frozen=True)
class Scaling:
    """Rows are trained as (x - mean) · scale, so that E‖x‖² = d; folded into the weights at the end."""

    mean: Tensor
    scale: float

    @classmethod
    def of(cls, rows: Tensor) -> Scaling:
        """Estimate from rows [N, d]."""
        mean = rows.double().mean(dim=0)
        square = (rows.double() - mean).pow(2).sum(dim=1).mean()
        return cls(mean.float(), float((rows.shape[1] / square.clamp_min(1e-12)).sqrt()))

    def __call__(self, rows: Tensor) -> Tensor:
        """Scale a batch."""
        return (rows - self.mean) * self.scale


@dataclass(frozen=True)
class StepFigures:
    """One step: fraction of variance left, auxiliary loss, active latents a row, dead latents."""

    step: int
    loss: float
    auxiliary: float
    active: float
    dead: int


class Trainer:
    """State of a training: weights, Adam's moments, when each latent fired last. Everything else follows from these.

    Parameters
    ----------
    width : d. recipe : how to train. scaling : of the rows.

    Raises
    ------
    TooManyActive : k is larger than the number of latents.
    """

    def __init__(self, width: int, recipe: Recipe, scaling: Scaling) -> None:
        if not 0 < recipe.k <= recipe.latents:
            raise TooManyActive(f"k is {recipe.k} of {recipe.latents} latents", field="k", latents=recipe.latents)
        self.recipe, self.scaling, self.step = recipe, scaling, 0
        draw = torch.Generator().manual_seed(recipe.seed)
        decoder = torch.nn.functional.normalize(torch.randn(recipe.latents, width, generator=draw), dim=1)
        self.parameters = {
            "encoder": decoder.clone(), "decoder": decoder,
            "encoder_bias": torch.zeros(recipe.latents), "decoder_bias": torch.zeros(width),
        }  # fmt: skip
        self.moments = {
            f"{order}/{name}": torch.zeros_like(self.parameters[name])
            for name in NAMES
            for order in ("first", "second")
        }
        self.silent = torch.zeros(recipe.latents, dtype=torch.int64)
        self.threshold = torch.zeros((), dtype=torch.float64)

    @property
    def dead(self) -> Tensor:
        """Latents that did not fire for `dead_after` rows: [n] int64."""
        return (self.silent > self.recipe.dead_after).nonzero()[:, 0]

    @torch.no_grad()
    def train(self, rows: Tensor) -> StepFigures:
        """Take one step on a batch [B, d] in the activations' own units."""
        x, now = self.scaling(rows), self.parameters
        z = torch.addmm(now["encoder_bias"], x - now["decoder_bias"], now["encoder"].T)
        active = self._active(z)
        dead = self.dead
        found = gradients(
            x, z, active, now, dead=dead, strongest=x.shape[1] // 2, share=self.recipe.auxiliary
        )  # fmt: skip
        self._update({name: getattr(found, name) for name in NAMES})
        self._note(active, len(x))
        self.step += 1
        if (
            self.recipe.revive_every
            and self.step % self.recipe.revive_every == 0
            and self.step < self.recipe.steps * 0.8
        ):
            self._revive(x, found.residual)
        return StepFigures(self.step, found.loss, found.auxiliary, len(active.values) / len(x), len(dead))

    def _active(self, z: Tensor) -> Active:
        if self.recipe.kind == "topk":
            return top_of_rows(z, self.recipe.k)
        return top_of_batch(z, self.recipe.k, guess=float(self.threshold) / 2)

    def _note(self, active: Active, rows: int) -> None:
        """Remember who fired, and move the running threshold of BatchTopK."""
        self.silent += rows
        self.silent[active.latents] = 0
        if self.recipe.kind == "batchtopk" and len(active.values):
            least = active.values.min().double()
            self.threshold = least if self.step == 0 else 0.999 * self.threshold + 0.001 * least

    def _update(self, found: dict[str, Tensor]) -> None:
        """Adam with clipped gradients; decoder rows stay of unit length and move only sideways."""
        decoder = self.parameters["decoder"]
        found["decoder"] -= (found["decoder"] * decoder).sum(dim=1, keepdim=True) * decoder
        norm = torch.stack([one.pow(2).sum() for one in found.values()]).sum().sqrt()
        shrink = min(1.0, self.recipe.clip / max(float(norm), 1e-12))
        beta, gamma, at = 0.9, 0.999, self.step + 1
        size = self.recipe.rate(self.step) * (1 - gamma**at) ** 0.5 / (1 - beta**at)
        for name, gradient in found.items():
            first, second = self.moments[f"first/{name}"], self.moments[f"second/{name}"]
            gradient.mul_(shrink)
            first.lerp_(gradient, 1 - beta)
            second.mul_(gamma).addcmul_(gradient, gradient, value=1 - gamma)
            self.parameters[name].addcdiv_(first, second.sqrt().add_(1e-8), value=-size)
        decoder.div_(decoder.norm(dim=1, keepdim=True).clamp_min(1e-12))

    def _revive(self, x: Tensor, residual: Tensor) -> None:
        """Point dead latents at rows of high error, with encoders of .2 of the living's mean norm."""
        dead = self.dead
        if not len(dead):
            return
        draw = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
        error = residual.pow(2).sum(dim=1)
        chosen = torch.multinomial(error + 1e-12, len(dead), replacement=True, generator=draw)
        rows = torch.nn.functional.normalize(residual[chosen], dim=1)
        living = torch.ones(self.recipe.latents, dtype=torch.bool)
        living[dead] = False
        norm = self.parameters["encoder"][living].norm(dim=1).mean() if living.any() else torch.tensor(1.0)
        self.parameters["decoder"][dead] = rows
        self.parameters["encoder"][dead] = 0.2 * norm * rows
        self.parameters["encoder_bias"][dead] = 0
        for name in ("encoder", "decoder", "encoder_bias"):
            for order in ("first", "second"):
                self.moments[f"{order}/{name}"][dead] = 0
        self.silent[dead] = 0

    def finished(self) -> SparseAutoencoder:
        """The autoencoder in the activations' own units: the scaling is folded in, decoder rows keep unit length."""
        now, scale = self.parameters, self.scaling.scale
        topk = self.recipe.kind == "topk"
        threshold = None if topk else torch.full_like(now["encoder_bias"], float(self.threshold) / scale)
        return SparseAutoencoder(
            "topk" if topk else "jumprelu",
            now["encoder"].clone(), now["decoder"].clone(), now["encoder_bias"] / scale,
            self.scaling.mean + now["decoder_bias"] / scale, self.recipe.k if topk else None, threshold,
        )  # fmt: skip


def begin(stream: Stream, recipe: Recipe) -> Trainer:
    """Start a training; the scaling is estimated from the stream's first rows, which are then given back."""
    start, rows = stream.position, []
    while sum(map(len, rows)) < min(ESTIMATED_FROM, stream.steps_per_epoch * stream.batch):
        rows.append(stream.next())
    stream.position = start
    sample = torch.cat(rows)
    return Trainer(sample.shape[1], recipe, Scaling.of(sample))


def recipe_facts(recipe: Recipe) -> dict[str, object]:
    """The recipe as JSON."""
    return asdict(recipe)
