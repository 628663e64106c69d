"""Answers about where a component looks: samples cut to its activation map, computed when asked and kept a while."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from contracts.attribution import SampleOf
from contracts.base import Caller
from contracts.crops import ComponentCrops, Crop, CropRequest, UnknownChannel
from contracts.data import Box
from contracts.model import Layer, LayerKind, Model
from services.model.adapters.registry import adapter_for
from services.model.attribution.rendering import png
from services.model.attributions import require_affordable, require_layer, sample_picture
from services.model.capture.boxes import box_of, component_map, in_picture
from services.model.capture.hooks import captured, evaluating
from services.model.capture.pooling import Pooled
from services.model.preprocess import reads_pictures, to_batch

if TYPE_CHECKING:
    from PIL import Image

    from services.model.service import Models


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
    require_affordable(len(query.samples), reads_pictures(found.ref).crop)
    pictures = [sample_picture(models, caller, SampleOf(dataset=query.dataset, index=i)) for i in query.samples]
    pixels = tuple(hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures)
    key = (found.ref.model_sha256, pixels, query.model_dump_json())
    return models.cropped.get(key, lambda: _cut(models, found, layer, query, pictures))


def _cut(models: Models, found: Model, layer: Layer, query: CropRequest, pictures: list[Image.Image]) -> ComponentCrops:
    maps = None if layer.kind is LayerKind.VECTOR else _maps(models, found, layer, query, pictures)
    crops = [
        _crop(found, sample, picture, None if maps is None else maps[place], query.threshold)
        for place, (sample, picture) in enumerate(zip(query.samples, pictures, strict=True))
    ]
    return ComponentCrops(
        model=found.ref.id, layer=layer.name, index=query.index, sign=query.sign, threshold=query.threshold,
        median_share=float(np.median([crop.share for crop in crops])), crops=crops,
    )  # fmt: skip


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


def _crop(found: Model, sample: int, picture: Image.Image, heat: Tensor | None, threshold: float) -> Crop:
    how = reads_pictures(found.ref)
    box = None if heat is None else box_of(heat, how.crop, threshold)
    if heat is None or box is None:
        everything = Box(left=0, top=0, right=picture.width, bottom=picture.height)
        return Crop(sample=sample, box=everything, share=1.0, whole="vector" if heat is None else "empty")
    placed = in_picture(box, picture.size, how)
    area = (placed.right - placed.left) * (placed.bottom - placed.top)
    return Crop(sample=sample, box=placed, share=area / (picture.width * picture.height), heat=_grey(heat))


def _grey(heat: Tensor) -> bytes:
    """A grey PNG, base64 as pydantic's Base64Bytes takes it in."""
    from PIL import Image

    levels = (heat / heat.max() * 255).round().to("cpu").numpy().astype(np.uint8)
    return base64.b64encode(png(Image.fromarray(levels)))
