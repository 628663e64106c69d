"""Answers to attribution requests: one picture, one score, several methods side by side with their quality."""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from contracts.attribution import (
    AttributionAnswer,
    AttributionMethod,
    AttributionOverBudget,
    AttributionRequest,
    ClassScore,
    Explained,
    HeatMap,
    LayerRelevance,
    NoClassScores,
    Quality,
    RelevantComponent,
    SampleOf,
    UnknownOutput,
)
from contracts.base import Arrays, Caller
from contracts.errors import Unavailable, UnknownLayer
from contracts.model import Layer, Model
from services.kit.pictures import decode_picture
from services.model.attribution.components import Site, absolute_normalised, component_relevance, summed
from services.model.attribution.evaluation import Scorer, completeness_gap, deletion, entropy, gini, insertion
from services.model.attribution.methods import (
    Found,
    described,
    is_composite,
    method_names,
    require_method,
    run_method,
)
from services.model.attribution.rendering import heat_picture, on_pixels, png
from services.model.capture.hooks import AXIS
from services.model.preprocess import cropped, reads_pictures, to_batch

if TYPE_CHECKING:
    from PIL import Image

    from services.model.adapters.port import Built
    from services.model.service import Models

LIMIT = 50_000_000  # pixel passes: about a thousand forward passes at 224 x 224
TOP = 5
BLUR = 0.05  # of the picture's side
ACTIVATION = "activation_x_gradient"


@dataclass(frozen=True)
class Explanation:
    """What was computed for one request: the answer, and the maps behind it."""

    answer: AttributionAnswer
    maps: dict[str, Tensor]


def described_methods() -> list[AttributionMethod]:
    """Every method with its aim and cost."""
    methods = []
    for name in method_names():
        aim, passes = described(name)
        family = "composite" if is_composite(name) else "baseline"
        methods.append(AttributionMethod(name=name, family=family, aim=aim, passes=passes))
    return methods


def answer_of(models: Models, caller: Caller, model: str, query: AttributionRequest) -> AttributionAnswer:
    """Attribute one score by several methods."""
    return _explained(models, caller, model, query).answer


def maps_of(models: Models, caller: Caller, model: str, query: AttributionRequest) -> Arrays:
    """The signed maps of the same request, float32, without the sample axis."""
    found = _explained(models, caller, model, query).maps
    return {name: np.ascontiguousarray(relevance[0].float().numpy()) for name, relevance in found.items()}


def sample_picture(models: Models, caller: Caller, sample: SampleOf) -> Image.Image:
    """Fetch a dataset's picture from the data service, which decides what the caller may see."""
    if models.data is None:
        raise Unavailable("no data service is wired to this model service")
    described = models.data.sample(caller, sample.dataset, sample.index)
    stored = models.data.picture(caller, sample.dataset, sample.index).body
    return decode_picture(stored, pixel_limit=described.width * described.height)


def picture_of(models: Models, caller: Caller, query: Explained) -> Image.Image:
    """The picture that a request names or carries."""
    if query.sample is not None:
        return sample_picture(models, caller, query.sample)
    return decode_picture(query.picture or b"")


def require_affordable(passes: int, side: int) -> None:
    """Refuse work beyond the budget, with both figures.

    Raises
    ------
    AttributionOverBudget
    """
    needed = passes * side**2
    if needed > LIMIT:
        raise AttributionOverBudget(
            f"{needed:,} pixel passes are needed, and {LIMIT:,} are allowed", field="methods",
            needed=needed, limit=LIMIT,
        )  # fmt: skip


def require_layer(found: Model, name: str) -> Layer:
    """Find a layer in the catalogue. Raises `UnknownLayer` with the closest names."""
    layers = {layer.name: layer for layer in found.layers}
    if name not in layers:
        closest = get_close_matches(name, layers, n=3, cutoff=0.3)
        raise UnknownLayer(f"{found.ref.name} has no layer {name}", field="layers", closest=[*closest])
    return layers[name]


def class_scores(model: nn.Module, batch: Tensor) -> Tensor:
    """Scores [B, outputs]. Raises `NoClassScores` where the model puts out anything else."""
    with torch.no_grad():
        output = model(batch)
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(batch):
        raise NoClassScores(f"the model puts out {type(output).__name__}, not one row of scores a picture")
    return output


def require_output(target: int, outputs: int) -> None:
    """Refuse a target beyond the outputs. Raises `UnknownOutput`."""
    if target >= outputs:
        raise UnknownOutput(f"there is no output {target}", field="target", outputs=outputs)


def _explained(models: Models, caller: Caller, model: str, query: AttributionRequest) -> Explanation:
    found = models.model(caller, model)
    side = reads_pictures(found.ref).crop
    for name in query.methods:
        require_method(name)
    layers = [require_layer(found, name) for name in query.layers]
    passes = sum(described(name)[1] + 2 * (query.steps + 1) for name in dict.fromkeys(query.methods))
    require_affordable(passes + 4 * len(layers), side)
    picture = picture_of(models, caller, query)
    asked = query.model_dump_json(exclude={"sample", "picture"})
    key = (found.ref.model_sha256, hashlib.sha256(picture.tobytes()).hexdigest(), picture.size, asked)
    return models.attributed.get(key, lambda: _compute(models, found, query, layers, picture))


def _compute(
    models: Models, found: Model, query: AttributionRequest, layers: list[Layer], picture: Image.Image
) -> Explanation:
    pixels = cropped(picture, reads_pictures(found.ref))
    batch = to_batch([picture], reads_pictures(found.ref))
    with models.loaded(found.ref) as built:
        scores = class_scores(built.model, batch)[0]
        target = int(scores.argmax()) if query.target is None else query.target
        require_output(target, len(scores))
        of = torch.tensor([target])
        maps: dict[str, Tensor] = {}
        heat: list[HeatMap] = []
        source = next((name for name in query.methods if is_composite(name)), ACTIVATION)
        relevant: list[LayerRelevance] = []
        for name in dict.fromkeys(query.methods):
            begun = time.perf_counter()
            wanted = tuple(query.layers) if name == source else ()
            result = run_method(name, built.model, batch, of, layers=wanted, fallback=query.fallback)
            seconds = time.perf_counter() - begun
            maps[name] = result.relevance.detach()
            quality = _quality(built, batch, of, scores[of], name, result, query.steps)
            heat.append(heat_map_of(name, result, pixels, quality, seconds))
            if wanted:
                relevant = [_of_layer(layer, source, result.layers[layer.name], query.components) for layer in layers]
        if source == ACTIVATION:
            relevant = [_by_activation(built, layer, batch, of, query.components) for layer in layers]
    answer = AttributionAnswer(
        model=found.ref.id, target=class_score_of(found, scores, target),
        top=[class_score_of(found, scores, int(index)) for index in scores.topk(min(TOP, len(scores))).indices],
        picture=_base64(png(_picture(pixels))), maps=heat, layers=relevant,
    )  # fmt: skip
    return Explanation(answer, maps)


def _quality(built: Built, batch: Tensor, of: Tensor, score: Tensor, name: str, result: Found, steps: int) -> Quality:
    relevance = result.relevance.detach()
    even = not bool((relevance != 0).any())
    figures: dict[str, float | None] = {
        "gini": None if even else float(gini(relevance)),
        "entropy": None if even else float(entropy(relevance)),
        "conservation_gap": result.conservation_gap,
        "forward_change": result.forward_change,
    }
    if result.complete:
        with torch.no_grad():
            start = built.model(torch.zeros_like(batch))[0, of] if name == "integrated_gradients" else 0.0
        figures["completeness_gap"] = float(completeness_gap(relevance, score, baseline=start))
    if steps:
        probability = Scorer(built.model, probability=True, batch=32)
        ordered = on_pixels(relevance, tuple(batch.shape[-2:]))
        figures["deletion"] = float(deletion(probability, batch, ordered, of, steps=steps))
        sigma = BLUR * batch.shape[-1]
        figures["insertion"] = float(insertion(probability, batch, ordered, of, steps=steps, sigma=sigma))
    return Quality.model_validate({each: _finite(value) for each, value in figures.items()})


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def heat_map_of(name: str, result: Found, pixels: np.ndarray, quality: Quality, seconds: float) -> HeatMap:
    """Draw a method's map over the crop. `pixels`: [H, W, 3] uint8."""
    relevance = result.relevance.detach()
    over = on_pixels(relevance, pixels.shape[:2])[0].float().numpy()
    return HeatMap(
        method=name, rows=relevance.shape[-2], columns=relevance.shape[-1], absmax=float(relevance.abs().max()),
        heatmap=_base64(png(heat_picture(over, pixels))), quality=quality, absorbed=dict(result.absorbed),
        unruled=list(result.unruled), seconds=seconds,
    )  # fmt: skip


def site_of(layer: Layer) -> Site:
    """Where a layer's components lie."""
    return Site(layer.name, AXIS[layer.kind])


def _by_activation(built: Built, layer: Layer, batch: Tensor, of: Tensor, most: int) -> LayerRelevance:
    return _ranked(layer, ACTIVATION, component_relevance(built.model, site_of(layer), batch, of), most)


def _of_layer(layer: Layer, rule: str, relevance: Tensor, most: int) -> LayerRelevance:
    return _ranked(layer, rule, summed(relevance.detach(), AXIS[layer.kind]), most)


def _ranked(layer: Layer, rule: str, relevance: Tensor, most: int) -> LayerRelevance:
    share = absolute_normalised(relevance)[0]
    first = relevance[0].abs().topk(min(most, relevance.shape[1])).indices.tolist()
    components = [
        RelevantComponent(index=index, relevance=float(relevance[0, index]), share=float(share[index]))
        for index in first
    ]
    return LayerRelevance(layer=layer.name, rule=rule, components=components)


def class_score_of(found: Model, scores: Tensor, index: int) -> ClassScore:
    """Score, softmax share and name of one output. `scores`: [outputs]."""
    classes = found.classes
    name = classes[index] if classes is not None and index < len(classes) else None
    return ClassScore(index=index, name=name, score=float(scores[index]), probability=float(scores.softmax(0)[index]))


def _picture(pixels: np.ndarray) -> Image.Image:
    from PIL import Image

    return Image.fromarray(pixels)


def _base64(body: bytes) -> bytes:
    return base64.b64encode(body)  # what pydantic's Base64Bytes takes in, and decodes
