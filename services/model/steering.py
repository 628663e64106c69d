"""Steering previews: one prediction without and with interventions."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from contracts.attribution import HeatMap, NoClassScores, Quality
from contracts.base import Caller
from contracts.errors import Unavailable
from contracts.model import LayerKind, Model
from contracts.steering import (
    ClassChange,
    CurvePoint,
    Intervention,
    LayerRunsAgain,
    SteeredLayer,
    SteeredMaps,
    SteeringPreview,
    SteeringRequest,
)
from services.kit.pictures import decode_picture
from services.model.attribution.methods import described, require_method, run_method
from services.model.attributions import (
    class_score_of,
    class_scores,
    heat_map_of,
    require_affordable,
    require_output,
    sample_picture,
)
from services.model.capture.samples import sample_batch
from services.model.directions import Fetcher
from services.model.interventions import Step, median_norms, steered, steps_of
from services.model.interventions.arithmetic import require_finite
from services.model.interventions.steps import WITH_UNIT
from services.model.preprocess import cropped, reads_pictures, to_batch
from services.model.sweeps import correlation, scores_by_strength, total_variation, window_of

if TYPE_CHECKING:
    import numpy as np

    from services.model.adapters.port import Built
    from services.model.service import Models

CHANGES = 10


@dataclass(frozen=True)
class Baseline:
    """An unsteered prediction: the crop [H, W, 3] uint8, the input [1, 3, H, W], the scores [outputs] float32."""

    pixels: np.ndarray
    batch: Tensor
    scores: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes it takes in memory."""
        return self.pixels.nbytes + self.batch.nbytes + self.scores.nbytes


@dataclass(frozen=True)
class Mapped:
    """An unsteered heat map."""

    drawn: HeatMap
    relevance: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes it takes in memory."""
        return len(self.drawn.heatmap) + self.relevance.nbytes


@dataclass(frozen=True)
class Preview:
    """One request while it is answered."""

    models: Models
    found: Model
    built: Built
    query: SteeringRequest
    key: tuple[str, str]
    base: Baseline
    norms: dict[str, float]
    fetch: Fetcher

    @property
    def channels_last(self) -> frozenset[str]:
        """Names of layers whose maps are [B, H, W, C]."""
        return frozenset(layer.name for layer in self.found.layers if layer.kind is LayerKind.MAP_LAST)

    def steps(self, interventions: list[Intervention]) -> list[Step]:
        """Resolve interventions for this model."""
        widths = {layer.name: layer.width for layer in self.found.layers}
        return steps_of(interventions, widths=widths, norms=self.norms, read=self.fetch)


def preview_of(models: Models, caller: Caller, model: str, query: SteeringRequest) -> SteeringPreview:
    """Answer one request."""
    begun = time.perf_counter()
    found = models.model(caller, model)
    _require_steerable(found, query)
    _require_affordable(found, query)
    body = _picture_bytes(models, caller, query)
    key = (found.ref.model_sha256, hashlib.sha256(body).hexdigest())
    with models.loaded(found.ref) as built:
        kept = models.baselines.get(key)
        base = _baseline(models, caller, found, built, query, body) if kept is None else kept
        if kept is None:
            models.baselines.put(key, base)
        norms = _norms(models, found, built, query.interventions)
        fetch = Fetcher(models, caller, found, built)
        answer = _compared(Preview(models, found, built, query, key, base, norms, fetch))
    seconds = time.perf_counter() - begun
    return answer.model_copy(update={"baseline_cached": kept is not None, "seconds": seconds})


def _compared(at: Preview) -> SteeringPreview:
    query, before = at.query, at.base.scores
    target = int(before.argmax()) if query.target is None else query.target
    require_output(target, len(before))
    plan = at.steps(query.interventions)
    with steered(
        at.built.model, plan, channels_last=at.channels_last, special_tokens=at.built.special_tokens
    ) as steering:
        steering.measure = True
        after = class_scores(at.built.model, at.base.batch)[0].float()
        moved = dict(steering.moved)
    require_finite(after.unsqueeze(0), "the output")
    curve = _curve(at, target) if query.strengths else []
    window, note = window_of(curve, query.closeness) if curve else (None, "")
    layers = dict.fromkeys(each.target.layer for each in query.interventions)
    return SteeringPreview(
        model=at.found.ref.id,
        **_difference(at.found, before, after, target, query.top),
        layers=[SteeredLayer(layer=name, norm=at.norms.get(name), moved=moved.get(name, 0.0)) for name in layers],
        maps=[_maps(at, method, target, plan) for method in dict.fromkeys(query.methods)] if query.maps else [],
        curve=curve, window=window, window_note=note, baseline_cached=False, seconds=0.0,
    )  # fmt: skip


def _difference(found: Model, before: Tensor, after: Tensor, target: int, top: int) -> dict[str, object]:
    p, q = before.softmax(0), after.softmax(0)

    def change(index: int) -> ClassChange:
        name = class_score_of(found, before, index).name
        return ClassChange(
            index=index, name=name, before=float(p[index]), after=float(q[index]), change=float(q[index] - p[index])
        )

    most = min(top, len(before))
    largest = (q - p).abs().topk(min(max(top, CHANGES), len(before))).indices.tolist()
    return {
        "target": change(target),
        "before": [class_score_of(found, before, int(index)) for index in before.topk(most).indices],
        "after": [class_score_of(found, after, int(index)) for index in after.topk(most).indices],
        "changes": [change(index) for index in largest],
        "flipped": int(before.argmax()) != int(after.argmax()),
        "variation": total_variation(p, q),
        "closeness": correlation(before, after),
    }


def _curve(at: Preview, target: int) -> list[CurvePoint]:
    before = at.base.scores
    strengths = list(dict.fromkeys(at.query.strengths))
    plans = [
        at.steps([each.model_copy(update={"strength": strength}) for each in at.query.interventions])
        for strength in strengths
    ]
    found = scores_by_strength(
        at.built.model, at.base.batch, plans, channels_last=at.channels_last, special_tokens=at.built.special_tokens
    )
    points = []
    for strength, scores in zip(strengths, found, strict=True):
        if scores is None:
            points.append(CurvePoint(strength=strength, finite=False))
            continue
        top = int(scores.argmax())
        points.append(CurvePoint(
            strength=strength, finite=True, top=class_score_of(at.found, scores, top),
            target=float(scores.softmax(0)[target]), variation=total_variation(before.softmax(0), scores.softmax(0)),
            closeness=correlation(before, scores), flipped=top != int(before.argmax()),
        ))  # fmt: skip
    return points


def _maps(at: Preview, method: str, target: int, plan: list[Step]) -> SteeredMaps:
    key = (*at.key, method, target)
    kept = at.models.baselines.get(key)
    before = _mapped(at, method, target) if kept is None else kept
    if kept is None:
        at.models.baselines.put(key, before)
    with steered(at.built.model, plan, channels_last=at.channels_last, special_tokens=at.built.special_tokens):
        after = _mapped(at, method, target)
    return SteeredMaps(
        method=method, before=before.drawn, after=after.drawn,
        correlation=correlation(before.relevance, after.relevance),
    )  # fmt: skip


def _mapped(at: Preview, method: str, target: int) -> Mapped:
    begun = time.perf_counter()
    found = run_method(method, at.built.model, at.base.batch, torch.tensor([target]), fallback="gradient")
    seconds = time.perf_counter() - begun
    return Mapped(heat_map_of(method, found, at.base.pixels, Quality(), seconds), found.relevance.detach())


def _baseline(
    models: Models, caller: Caller, found: Model, built: Built, query: SteeringRequest, body: bytes
) -> Baseline:  # fmt: skip
    picture = decode_picture(body) if query.sample is None else sample_picture(models, caller, query.sample)
    batch = to_batch([picture], reads_pictures(found.ref))
    return Baseline(cropped(picture, reads_pictures(found.ref)), batch, class_scores(built.model, batch)[0].float())


def _picture_bytes(models: Models, caller: Caller, query: SteeringRequest) -> bytes:
    """The encoded picture; the data service decides what the caller may see."""
    if query.sample is None:
        return query.picture or b""
    if models.data is None:
        raise Unavailable("no data service is wired to this model service")
    return models.data.picture(caller, query.sample.dataset, query.sample.index).body


def _norms(models: Models, found: Model, built: Built, interventions: list[Intervention]) -> dict[str, float]:
    """Median norms over the pictures of the dry run, for layers whose strengths are in them."""
    wanted = {each.target.layer for each in interventions if each.unit == "norm" and each.change in WITH_UNIT}
    known = wanted & {layer.name for layer in found.layers}
    last = frozenset(layer.name for layer in found.layers if layer.kind is LayerKind.MAP_LAST)
    how = reads_pictures(found.ref)

    def measured(name: str) -> float:
        batch = sample_batch(how)
        return median_norms(built.model, [name], lambda: built.model(batch), channels_last=last)[name]

    return {name: models.norms.get((found.ref.model_sha256, name), lambda name=name: measured(name)) for name in known}


def _require_steerable(found: Model, query: SteeringRequest) -> None:
    if found.ref.architecture.startswith("open_clip:"):
        raise NoClassScores(f"{found.ref.name} puts out embeddings, not class scores", field="model")
    calls = {layer.name: layer.calls for layer in found.layers}
    for number, each in enumerate(query.interventions):
        for name in (each.target.layer, each.condition.layer if each.condition is not None else each.target.layer):
            if calls.get(name, 1) > 1:
                raise LayerRunsAgain(f"{name} runs {calls[name]} times a pass", field=f"interventions.{number}")


def _require_affordable(found: Model, query: SteeringRequest) -> None:
    for method in query.methods:
        require_method(method)
    maps = 2 * sum(described(method)[1] for method in dict.fromkeys(query.methods)) if query.maps else 0
    sets = [each.target for each in query.interventions if each.target.kind == "difference"]
    pictures = sum(len(some.samples or []) or some.most for each in sets for some in (each.toward, each.away))
    require_affordable(8 + maps + len(query.strengths) + pictures, reads_pictures(found.ref).crop)
