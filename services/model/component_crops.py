"""Answers about where a component looks: samples cut to its activation map, computed when asked and kept a while."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from contracts.attribution import SampleOf
from contracts.base import Caller
from contracts.crops import THRESHOLDS, ComponentCrops, Crop, CropRequest, UnknownChannel
from contracts.data import Box
from contracts.model import Layer, LayerKind, Model
from services.model.adapters.registry import adapter_for
from services.model.attribution.component_maps import Asked, component_maps, rule_for
from services.model.attribution.rendering import png
from services.model.attributions import require_affordable, require_layer, sample_picture
from services.model.capture.boxes import around, box_of, component_map, in_picture, relevance_heat
from services.model.capture.hooks import AXIS, captured, evaluating
from services.model.capture.pooling import TOKEN, Pooled
from services.model.preprocess import reads_pictures, to_batch

if TYPE_CHECKING:
    from PIL import Image

    from services.model.capture.boxes import Rectangle
    from services.model.service import Models

MAP_PASSES = 6  # forward under interception, and back to the pixels
LARGE = 128  # px; a heat map is drawn over a picture, where half of it is enough


def answer_of(models: Models, caller: Caller, model: str, query: CropRequest) -> ComponentCrops:
    """Cut samples to what a component saw.

    Raises
    ------
    UnknownModel, UnknownLayer, UnknownChannel, UnknownSample, AttributionOverBudget
    """
    found = models.model(caller, model)
    layer = require_layer(found, query.layer)
    if query.index >= layer.width or (query.sign < 0 and not layer.signed):
        raise UnknownChannel(
            f"{layer.name} has no component {query.index} with sign {query.sign:+d}", field="index",
            width=layer.width, signed=layer.signed,
        )  # fmt: skip
    passes = 1 if query.method == "activation-map" else MAP_PASSES
    require_affordable(passes * len(query.samples), reads_pictures(found.ref).crop)
    pictures = [sample_picture(models, caller, SampleOf(dataset=query.dataset, index=i)) for i in query.samples]
    pixels = tuple(hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures)
    key = (found.ref.model_sha256, pixels, query.model_dump_json())
    return models.cropped.get(key, lambda: _cut(models, found, layer, query, pictures))


def _cut(models: Models, found: Model, layer: Layer, query: CropRequest, pictures: list[Image.Image]) -> ComponentCrops:
    threshold = THRESHOLDS[query.method] if query.threshold is None else query.threshold
    rule = None
    if query.method == "relevance":
        rule, boxes = _followed(models, found, layer, query, pictures, threshold)
    else:
        boxes = _active(models, found, layer, query, pictures, threshold)
    crops = [
        _crop(found, sample, picture, *each)
        for sample, picture, each in zip(query.samples, pictures, boxes, strict=True)
    ]
    return ComponentCrops(
        model=found.ref.id, layer=layer.name, index=query.index, sign=query.sign, method=query.method, rule=rule,
        threshold=threshold, median_share=float(np.median([crop.share for crop in crops])), crops=crops,
    )  # fmt: skip


Placed = tuple["Tensor | None", "Rectangle | None"]  # what is shown, and where to cut


def _active(
    models: Models, found: Model, layer: Layer, query: CropRequest, pictures: list[Image.Image], threshold: float
) -> list[Placed]:
    side = reads_pictures(found.ref).crop
    maps = None if layer.kind is LayerKind.VECTOR else _maps(models, found, layer, query, pictures)
    return [
        (None, None) if maps is None else (maps[place], box_of(maps[place], side, threshold))
        for place in range(len(pictures))
    ]


def _maps(models: Models, found: Model, layer: Layer, query: CropRequest, pictures: list[Image.Image]) -> Tensor | None:
    """[B, H, W] of the component, or None where the layer turns out to have no places."""
    pick = adapter_for(found.ref.architecture)[0].pick
    with models.loaded(found.ref, folded=True) as built, evaluating(built.model):
        kept: list[Tensor | None] = []

        def reduce(of: Layer, output: Tensor) -> Pooled:
            kept.append(component_map(output, of, query.index, query.sign, special_tokens=built.special_tokens))
            return Pooled(output.new_zeros(len(output), 1))

        with captured(built.model, [layer], pick=pick, reduce=reduce):
            built.model(to_batch(pictures, reads_pictures(found.ref)))
    return kept[0]


def _followed(
    models: Models, found: Model, layer: Layer, query: CropRequest, pictures: list[Image.Image], threshold: float
) -> tuple[str, list[Placed]]:
    """The rule, and |relevance| of the pixels [side, side] with its square; one picture's graph in memory at a time."""
    placed: list[Placed] = []
    asked = [[asked_of(layer, query.index, query.sign)]]
    with models.loaded(found.ref) as built:
        rule = rule_for(built.model)
        for picture in pictures:
            batch = to_batch([picture], reads_pictures(found.ref))
            (maps,) = component_maps(
                built.model, batch, layer.name, asked, rule,
                axis=AXIS[layer.kind], special_tokens=built.special_tokens if layer.kind is LayerKind.TOKENS else 0,
            )  # fmt: skip
            heat = relevance_heat(maps[0])
            placed.append((torch.zeros(1, 1), None) if heat is None else (heat, around(heat, threshold)))
    return rule, placed


def asked_of(layer: Layer, index: int, sign: Literal[1, -1]) -> Asked:
    """A component as its layer's pooling sees it: at its maximum, at one token, or everywhere."""
    token = TOKEN.fullmatch(layer.pooling)
    if token is not None:
        return Asked(index, sign, int(token[1]))
    return Asked(index, sign, "max" if layer.pooling.endswith("max") else None)


def _crop(found: Model, sample: int, picture: Image.Image, heat: Tensor | None, box: Rectangle | None) -> Crop:
    if heat is None or box is None:
        everything = Box(left=0, top=0, right=picture.width, bottom=picture.height)
        return Crop(sample=sample, box=everything, share=1.0, whole="vector" if heat is None else "empty")
    placed = in_picture(box, picture.size, reads_pictures(found.ref))
    area = (placed.right - placed.left) * (placed.bottom - placed.top)
    return Crop(sample=sample, box=placed, share=area / (picture.width * picture.height), heat=_grey(heat))


def _grey(heat: Tensor) -> bytes:
    """A grey PNG, base64 as pydantic's Base64Bytes takes it in; what is larger than a map is shown at half its size."""
    from PIL import Image

    levels = (heat / heat.max() * 255).round().to("cpu").numpy().astype(np.uint8)
    drawn = Image.fromarray(levels)
    return base64.b64encode(png(drawn if max(drawn.size) < LARGE else drawn.reduce(2)))
