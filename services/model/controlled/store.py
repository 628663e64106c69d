"""Trained models under the key of everything that decided them: trained once, read ever after."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from services.kit.arrays import load_arrays, save_arrays
from services.kit.keys import sha256_of
from services.kit.scenes import GENERATOR
from services.kit.scenes.checkpoints import FOLDER, narrow, write_encoder
from services.model.controlled import contrastive
from services.model.controlled.classifiers import RECIPES, train_classifier

SCRIPT = 1  # raise it when the same arguments give other weights
KINDS = ("cnn", "vit", "clip")
AnyKind = Literal["cnn", "vit", "clip"]


@dataclass(frozen=True)
class Asked:
    """Which model; `clip` has neither strength nor faint scenes.

    Parameters
    ----------
    strength : correlation of the artefact with its class in a classifier's training scenes.
    faint : share of those scenes whose object is hardly visible.
    """

    kind: AnyKind
    seed: int = 0
    strength: float = 0.0
    faint: float = 0.0

    @property
    def name(self) -> str:
        """`cnn-0`, `cnn-0.8-faint-0.3`, `clip`: as packaged."""
        if self.kind == "clip":
            return self.kind
        name = f"{self.kind}-{self.strength:g}"
        return f"{name}-faint-{self.faint:g}" if self.faint else name

    @property
    def key(self) -> str:
        """Hash of what decides the weights."""
        recipe: dict[str, object] = {"steps": contrastive.STEPS, "config": contrastive.CONFIG}
        if self.kind != "clip":
            recipe = asdict(RECIPES[self.kind])
        return sha256_of({"script": SCRIPT, "generator": GENERATOR, "recipe": recipe, **asdict(self)})


def trained(asked: Asked, folder: Path, watch: Callable[[int, float], None] | None = None) -> Path:
    """Train a model, or find what an earlier call with these arguments trained.

    Returns
    -------
    `FOLDER/NAME-KEY.safetensors`; beside it `.json`: for `clip` its open_clip description, else losses and seconds.
    """
    path = folder / f"{asked.name}-{asked.key[:16]}.safetensors"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    begun, losses = time.perf_counter(), []

    def record(number: int, loss: float) -> None:
        losses.append(loss)
        if watch is not None:
            watch(number, loss)

    if asked.kind == "clip":
        arrays = halved(contrastive.train_clip(seed=asked.seed, watch=record))
        write_encoder(path, arrays, contrastive.CONFIG)
        return path
    arrays = halved(
        train_classifier(asked.kind, seed=asked.seed, strength=asked.strength, faint=asked.faint, watch=record)
    )
    report = {**asdict(asked), "seconds": round(time.perf_counter() - begun, 1), "losses": losses}
    path.with_suffix(".json").write_text(json.dumps(report), encoding="utf-8")
    unfinished = path.with_suffix(".part")
    save_arrays(unfinished, arrays)
    unfinished.replace(path)
    return path


def halved(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Weights as float16 arrays; whole numbers keep their type."""
    return {name: (part.half() if part.is_floating_point() else part).numpy() for name, part in state.items()}


def package(asked: Asked, path: Path) -> Path:
    """Put a trained model among those that the installation brings; the token table loses its zero rows."""
    arrays, target = load_arrays(path), FOLDER / f"{asked.name}.safetensors"
    FOLDER.mkdir(exist_ok=True)
    if asked.kind == "clip":
        write_encoder(target, narrow(arrays), contrastive.CONFIG)
    else:
        save_arrays(target, arrays)
    return target
