"""Offline work for audits: which pictures a class is judged on, and what its score rests on in a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from contracts.attribution import UnknownOutput
from contracts.model import Layer, ModelRef
from services.kit.pictures import Manifest
from services.kit.stages import StageFunction, Work
from services.model.service import Models

if TYPE_CHECKING:
    from torch import Tensor

    from services.model.adapters.port import Built

BATCH = 32
FEWEST = 8
ABLATED_ON = 16
ACTIVATION = "activation_x_gradient"
SHARPNESS = 100.0  # of cosines with texts, as CLIP's largest logit scale


def audit_stages(models: Models) -> tuple[StageFunction, ...]:
    """The stages of audits that need the model."""
    return (
        StageFunction("audit-samples", 1, lambda work: choose_samples(work, models)),
        StageFunction("audit-relevance", 2, lambda work: measure_relevance(work, models)),
    )


def choose_samples(work: Work, models: Models) -> None:
    """Choose the pictures of every class: those that the model assigns to it, or those that bear its label."""
    from services.model.text_readouts import nearest

    spec = cast(dict[str, Any], work.spec)
    manifest = Manifest.load(work.path("manifest"), work.blobs)
    if "directions" in work.inputs:
        _require_readable(work, models, manifest)
    most = int(spec["samples"])
    if spec["over"] == "labelled":
        labels = manifest.labels()
        chosen = [
            thinned(np.array([i for i, label in enumerate(labels) if label == readout["label"]], np.int64), most)
            for readout in spec["readouts"]
        ]
        work.advance(int(spec["units"]))
    else:
        seen = np.linspace(0, manifest.n - 1, min(int(spec["pool"]), manifest.n)).round().astype(np.int64)
        probability = _probabilities(work, models, manifest, seen)
        outputs = [_output(readout, probability.shape[1]) for readout in spec["readouts"]]
        alone = "directions" in work.inputs and len(outputs) == 1  # every picture would be assigned to the only text
        choose = nearest if alone else predicted
        chosen = [choose(probability, output, seen, most) for output in outputs]
    work.emit_arrays("samples", {str(place): ids for place, ids in enumerate(chosen)}, {"over": spec["over"]})


def _output(readout: dict[str, Any], outputs: int) -> int:
    output = int(readout["output"])
    if output >= outputs:
        raise UnknownOutput(f"{readout['name']}: there is no output {output}", field="output", outputs=outputs)
    return output


def thinned(ids: np.ndarray, most: int) -> np.ndarray:
    """At most so many of them, evenly spread: [n] int64."""
    if len(ids) <= most:
        return ids
    return ids[np.linspace(0, len(ids) - 1, most).round().astype(np.int64)]


def predicted(probability: np.ndarray, output: int, seen: np.ndarray, most: int) -> np.ndarray:
    """Pictures assigned to an output; of a class that is hardly ever predicted, the few with its largest probability.

    Parameters
    ----------
    probability : [S, outputs] float32 of the samples `seen` [S] int64.
    """
    own = np.flatnonzero(probability.argmax(axis=1) == output)
    if len(own) < min(FEWEST, most):
        own = np.sort(np.argsort(-probability[:, output], kind="stable")[: min(FEWEST, most)])
    return np.asarray(seen[thinned(own, most)], dtype=np.int64)


def _probabilities(work: Work, models: Models, manifest: Manifest, seen: np.ndarray) -> np.ndarray:
    from services.model.attributions import class_scores
    from services.model.text_readouts import readouts_of

    ref = ModelRef.model_validate(work.spec["model"])
    parts = []
    sharp = SHARPNESS if "directions" in work.inputs else 1.0
    with models.loaded(ref) as built, readouts_of(work, built.model):
        for start in range(0, len(seen), BATCH):
            some = seen[start : start + BATCH]
            scores = class_scores(built.model, _batch(manifest, some, ref))
            parts.append((sharp * scores).softmax(1).float().numpy())
            work.advance(len(some))
    return np.concatenate(parts)


def _require_readable(work: Work, models: Models, manifest: Manifest) -> None:
    from services.model.text_readouts import COMPARED, require_same_space

    ref = ModelRef.model_validate(work.spec["model"])
    rows = work.arrays("embeddings")["unit"][:COMPARED]
    with models.loaded(ref) as built:
        require_same_space(built.model, _batch(manifest, np.arange(len(rows)), ref), rows)


def _batch(manifest: Manifest, ids: np.ndarray, ref: ModelRef) -> Tensor:
    from services.model.preprocess import to_batch

    return to_batch((manifest.picture(int(index)) for index in ids), ref.preprocessing)


def measure_relevance(work: Work, models: Models) -> None:
    """Mean relevance of a layer's components for every class, and the effect of ablating those that matter."""
    from services.model.text_readouts import readouts_of

    spec = cast(dict[str, Any], work.spec)
    ref, layer = ModelRef.model_validate(spec["model"]), Layer.model_validate(spec["layer"])
    manifest = Manifest.load(work.path("manifest"), work.blobs)
    samples, q = work.arrays("samples"), work.arrays("tests")["q"]
    rows = layer.width * (2 if layer.signed else 1)
    relevance = np.zeros((len(spec["readouts"]), rows), np.float64)
    effects = np.full(relevance.shape, np.nan)
    with models.loaded(ref) as built, readouts_of(work, built.model):
        for place, readout in enumerate(spec["readouts"]):
            ids = samples[str(place)]
            for start in range(0, len(ids), BATCH):
                batch = _batch(manifest, ids[start : start + BATCH], ref)
                relevance[place] += _relevance(built, layer, spec["rule"], batch, int(readout["output"])) / len(ids)
                work.advance(0)
            bad = [*readout["spurious"], *readout["forbidden"]]
            flagged = (np.nan_to_num(q[:, bad], nan=1.0) <= float(spec["fdr"])).any(axis=1)
            chosen = to_ablate(relevance[place], flagged, int(spec["ablate"]), layer.width)
            if len(chosen) and len(ids):
                batch = _batch(manifest, thinned(ids, ABLATED_ON), ref)
                found = _effects(built, layer, batch, int(readout["output"]), chosen)
                for side in range(rows // layer.width):
                    effects[place, chosen + side * layer.width] = found
            work.advance(1)
    counts = np.array([len(samples[str(place)]) for place in range(len(spec["readouts"]))])
    work.emit_arrays(
        "relevance", {"relevance": relevance, "effects": effects, "samples": counts}, {"layer": layer.name}
    )


def to_ablate(relevance: np.ndarray, flagged: np.ndarray, most: int, width: int) -> np.ndarray:
    """Units to ablate: flagged ones first, then the others, each from the largest |relevance| down; [n] int64."""
    order = np.lexsort((np.arange(len(relevance)), -np.abs(relevance), ~flagged))
    return np.array(list(dict.fromkeys((order % width).tolist()))[:most], dtype=np.int64)


def _relevance(built: Built, layer: Layer, rule: str, batch: Tensor, output: int) -> np.ndarray:
    """Sum over the batch: [rows] float64; a signed layer has its negative sides behind the positive ones."""
    import torch

    from services.model.attribution.components import component_relevance, summed
    from services.model.attribution.methods import run_method
    from services.model.attributions import site_of
    from services.model.capture.hooks import AXIS

    if rule != ACTIVATION:
        found = run_method(rule, built.model, batch, torch.full((len(batch),), output), layers=(layer.name,))
        flow, where = found.layers[layer.name].detach(), found.outputs[layer.name]
        signs: tuple[Literal[1, -1] | None, ...] = (1, -1) if layer.signed else (None,)
        sides = [summed(flow, AXIS[layer.kind], where=where, sign=sign) for sign in signs]
    elif layer.signed:
        sides = [component_relevance(built.model, site_of(layer), batch, output, sign=sign) for sign in (1, -1)]
    else:
        sides = [component_relevance(built.model, site_of(layer), batch, output)]
    return np.concatenate([side.double().sum(0).cpu().numpy() for side in sides])


def _effects(built: Built, layer: Layer, batch: Tensor, output: int, units: np.ndarray) -> np.ndarray:
    """Mean fall of the score when each unit is set to zero: [n] float64."""
    import torch

    from services.model.attribution.components import ablation_effects
    from services.model.attributions import site_of

    target = torch.full((len(batch),), output)
    found = ablation_effects(built.model, site_of(layer), batch, target, torch.from_numpy(units))
    return np.asarray(found.double().mean(0).cpu().numpy())
