"""Offline work: how much each component matters to what the model predicts, for a shard of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from contracts.errors import NonFiniteActivation
from contracts.model import Layer, ModelRef
from services.kit.stages import Work

if TYPE_CHECKING:
    from torch import Tensor

    from services.model.service import Models

Side = tuple[str, Literal[1, -1] | None]
SIDES: tuple[Side, ...] = (("values", 1), ("negative", -1))
WHOLE: tuple[Side, ...] = (("values", None),)
GRAPHS = 8  # pictures whose graphs are in memory at once


def collect_relevances(work: Work, models: Models) -> None:
    """Put out, for each layer that is missing, the relevance of its components for the predicted output.

    `values` [n, C] float32, summed over places; of a signed layer over the places where the activation is positive, and
    `negative` [n, C] over the others. `target` [n] int32 is the output with the largest score.
    """
    import torch

    from services.kit.pictures import Manifest
    from services.model.attribution.components import summed
    from services.model.attribution.methods import run_method
    from services.model.attributions import class_scores
    from services.model.capture.hooks import AXIS
    from services.model.preprocess import batches, reads_pictures

    spec = work.spec
    ref, rule = ModelRef.model_validate(spec["model"]), str(spec["rule"])
    start, stop = int(str(spec["start"])), int(str(spec["stop"]))
    layers = [layer for layer in map(Layer.model_validate, spec["layers"]) if layer.name in work.missing]
    found: dict[str, dict[str, list[Tensor]]] = {layer.name: {} for layer in layers}
    targets: list[Tensor] = []
    pictures = Manifest.load(work.path("manifest"), work.blobs).pictures(start, stop)
    done = start
    with models.loaded(ref) as built:
        for batch in batches(iter(pictures), reads_pictures(ref), GRAPHS):
            targets.append(class_scores(built.model, batch).argmax(1))
            run = run_method(rule, built.model, batch, targets[-1], layers=tuple(layer.name for layer in layers))
            for layer in layers:
                flow, where = run.layers[layer.name].detach(), run.outputs[layer.name]
                for name, sign in SIDES if layer.signed else WHOLE:
                    amount = summed(flow, AXIS[layer.kind], where=where, sign=sign)
                    _require_finite(layer.name, amount, done)
                    found[layer.name].setdefault(name, []).append(amount)
            done += len(batch)
            work.advance(len(batch))
    target = torch.cat(targets).numpy().astype(np.int32)
    for layer in layers:
        arrays = {name: torch.cat(parts).numpy() for name, parts in found[layer.name].items()}
        facts = {"start": start, "stop": stop, "layer": layer.name, "rule": rule}
        work.emit_arrays(layer.name, {**arrays, "target": target}, facts)


def _require_finite(layer: str, amount: Tensor, start: int) -> None:
    if not bool(amount.isfinite().all()):
        row = int((~amount.isfinite()).any(1).nonzero()[0])
        raise NonFiniteActivation(f"relevance in {layer} is not finite on sample {start + row}", sample=start + row)
