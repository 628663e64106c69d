"""What each component of a layer really detects, measured on held-out scenes where every factor is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from contracts.data import ScenesSource
from contracts.errors import UnknownLayer
from contracts.model import Layer
from services.kit.ranking import auroc
from services.kit.scenes import COLOURS, CONTEXTS, SHAPES, SIZES, TEXTURES, Scene, draw_scene
from services.model.capture.catalogue import catalogue
from services.model.capture.hooks import captured, evaluating, first_tensor
from services.model.controlled.pictures import Pictures, rendered, to_input

HELD_OUT = ScenesSource(n=1000, seed=0, split="test", planting="never")


@dataclass(frozen=True)
class Truth:
    """Detectors by AUROC.

    Parameters
    ----------
    factors : `artefact`, `shape=star`, `colour=red`, `texture=dotted`, `size=large`, `context=moon`, …
    auroc : [C, F] of max- or token-pooled activations, positive against negative scenes; ½ knows nothing.
    effect : [C] mean change of the activation by planting the artefact, in its standard deviations on clean scenes;
        0 for a component that never varies.
    """

    layer: str
    factors: list[str]
    auroc: NDArray[np.float64]
    effect: NDArray[np.float64]

    def of(self, factor: str) -> NDArray[np.float64]:
        """AUROC of every component for one factor; [C]."""
        return self.auroc[:, self.factors.index(factor)]

    def detectors(self, factor: str, *, above: float = 0.9) -> NDArray[np.bool_]:
        """Which components detect a factor; [C]."""
        found: NDArray[np.bool_] = self.of(factor) >= above
        return found


def controlled_truth(
    model: nn.Module,
    layer: str,
    *,
    source: ScenesSource = HELD_OUT,
    artefact: str = "tag",
    pooling: str | None = None,
    special_tokens: int = 0,
) -> Truth:
    """Measure what every component of a layer detects.

    The artefact is judged in pairs: each scene is rendered without and with it, so nothing else can differ. The other
    factors are judged on the scenes without it.

    Parameters
    ----------
    model : a classifier of scenes in eval mode, on [B, 3, side, side] in [-1, 1] (`nets.HOW`).
    source : scenes that the model was not trained on.
    pooling : from map or tokens to one number; the default is that of the layer catalogue.
    special_tokens : leading tokens that are no patches.

    Raises
    ------
    UnknownLayer : the model has no such layer.
    """
    scenes = [draw_scene(source, index).with_artefact(None) for index in range(source.n)]
    clean = rendered(scenes, source.side)
    planted = rendered([scene.with_artefact(artefact) for scene in scenes], source.side)
    found = _layer(model, layer, to_input(clean.pixels[:8]), pooling)
    without = activations_of(model, found, clean, special_tokens=special_tokens)
    with_it = activations_of(model, found, planted, special_tokens=special_tokens)
    names, truth = factors_of(scenes)
    areas = [auroc(np.concatenate([without, with_it]), np.arange(2 * len(scenes)) >= len(scenes))]
    areas += [auroc(without, column) for column in truth.T]
    spread = without.std(axis=0)
    effect = np.divide((with_it - without).mean(axis=0), spread, out=np.zeros_like(spread), where=spread > 0)
    return Truth(layer, ["artefact", *names], np.stack(areas, axis=1), effect)


def factors_of(scenes: list[Scene]) -> tuple[list[str], NDArray[np.bool_]]:
    """Every factor value as one column; names, and [N, F]."""
    values = {"shape": SHAPES, "colour": COLOURS, "texture": TEXTURES, "size": SIZES}
    known = [scene.factors() for scene in scenes]
    columns = {f"{name}={value}": [f[name] == value for f in known] for name, of in values.items() for value in of}
    columns |= {f"context={kind}": [bool(f[kind]) for f in known] for kind in CONTEXTS}
    return list(columns), np.array(list(columns.values()), dtype=bool).T


def _layer(model: nn.Module, name: str, batch: Tensor, pooling: str | None) -> Layer:
    layers = {layer.name: layer for layer in catalogue(model, batch, pick=first_tensor)}
    if name not in layers:
        raise UnknownLayer(f"the model has no layer {name}", field="layer", layers=list(layers))
    return layers[name] if pooling is None else layers[name].model_copy(update={"pooling": pooling})


def activations_of(
    model: nn.Module, layer: Layer, pictures: Pictures, *, special_tokens: int = 0, batch: int = 200
) -> NDArray[np.float64]:
    """Pooled activations of a layer; [N, C]."""
    parts = []
    with evaluating(model):
        for start in range(0, len(pictures), batch):
            with captured(model, [layer], special_tokens=special_tokens) as kept:
                model(to_input(pictures.pixels[start : start + batch]))
                parts.append(kept.take()[layer.name].values)
    return torch.cat(parts).double().numpy()
