"""Offline work: where each component looks in each of its examples, as squares of the original pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from contracts.data import Box
from contracts.model import Layer, LayerKind, ModelRef
from services.kit.arrays import load_arrays
from services.kit.pictures import Manifest
from services.kit.stages import Work
from services.model.service import Models

if TYPE_CHECKING:
    from torch import Tensor

    from services.model.capture.boxes import Rectangle

CUT, NO_PLACES, EMPTY_MAP = 0, 1, 2  # why a box may be the whole picture
GRAPHS = 8  # pictures whose graphs are in memory at once
Pair = tuple[int, int]  # row of the part, rank of the example


def crop_boxes(work: Work, models: Models) -> None:
    """Put out `boxes` [R, k, 4] int32 (left, top, right, bottom) and `state` [R, k] for some components of a layer.

    What is no example (id -1, or beyond the valid ones) has the box 0, 0, 0, 0. A component that is not active anywhere
    in an example, or a layer without places, gives the whole picture, and the state says why.
    """
    spec = cast(dict[str, Any], work.spec)
    layer, ref = Layer.model_validate(spec["layer"]), ModelRef.model_validate(spec["model"])
    table = load_arrays(work.path("examples"), ["ids", "n_valid", "index", "sign"])
    rows = slice(int(spec["start"]), int(spec["stop"]))
    ids = np.where(np.arange(table["ids"].shape[1]) < table["n_valid"][rows, None], table["ids"][rows], -1)
    manifest = Manifest.load(work.path("manifest"), work.blobs)
    boxes, state = np.zeros((*ids.shape, 4), np.int32), np.zeros(ids.shape, np.uint8)
    by_picture: dict[int, list[Pair]] = {}
    for row, rank in zip(*np.nonzero(ids >= 0), strict=True):
        by_picture.setdefault(int(ids[row, rank]), []).append((int(row), int(rank)))
    how = ref.preprocessing
    index, sign = table["index"][rows], table["sign"][rows]
    if spec["crop"] == "receptive-field":
        found = _fields(work, models, ref, layer, by_picture, rows)
    elif spec["crop"] == "relevance":
        found = _followed(work, models, ref, layer, by_picture, index, sign, manifest)
    else:
        found = _maps(work, models, ref, layer, by_picture, index, sign, manifest)
    for picture, (row, rank), rectangle, why in found:
        sample = manifest.sample(picture)
        whole = Box(left=0, top=0, right=sample.width, bottom=sample.height)
        box = whole if rectangle is None or how is None else _in_picture(rectangle, (sample.width, sample.height), how)
        boxes[row, rank], state[row, rank] = (box.left, box.top, box.right, box.bottom), why
    work.emit_arrays("boxes", {"boxes": boxes, "state": state}, {"layer": layer.name, "start": rows.start})
    work.advance(rows.stop - rows.start)


Found = Iterator[tuple[int, Pair, "Rectangle | None", int]]


def _in_picture(rectangle: Rectangle, size: tuple[int, int], how: Any) -> Box:
    from services.model.capture.boxes import in_picture

    return in_picture(rectangle, size, how)


def _fields(
    work: Work, models: Models, ref: ModelRef, layer: Layer, by_picture: dict[int, list[Pair]], rows: slice
) -> Found:
    """Squares around what the place of each maximum can see."""
    from services.model.capture.receptive_field import receptive_field
    from services.model.preprocess import reads_pictures

    positions = load_arrays(work.path("examples"), ["positions"])["positions"][rows]
    with models.loaded(ref) as built:
        field = receptive_field(built.model, layer, reads_pictures(ref).crop)
    for picture, pairs in by_picture.items():
        for row, rank in pairs:
            box = None if field is None else field.box(int(positions[row, rank]))
            yield picture, (row, rank), box, NO_PLACES if box is None else CUT
    work.advance(0)


def _maps(
    work: Work, models: Models, ref: ModelRef, layer: Layer, by_picture: dict[int, list[Pair]],
    index: np.ndarray, sign: np.ndarray, manifest: Manifest,
) -> Found:  # fmt: skip
    """Squares around what is active in the component's own map, one forward pass for all that share a picture."""
    import torch

    from services.model.adapters.registry import adapter_for
    from services.model.capture.boxes import box_of, component_map
    from services.model.capture.hooks import captured, evaluating
    from services.model.capture.pooling import Pooled
    from services.model.preprocess import reads_pictures, to_batch

    how, threshold = reads_pictures(ref), float(str(work.spec["threshold"]))
    size, order = int(str(work.spec["batch"])), sorted(by_picture)
    pick = adapter_for(ref.architecture)[0].pick
    with models.loaded(ref, folded=True) as built, evaluating(built.model):
        kept: list[Tensor] = []

        def reduce(of: Layer, output: Tensor) -> Pooled:
            kept.append(output)
            return Pooled(output.new_zeros(len(output), 1))

        for start in range(0, len(order), size):
            some = order[start : start + size]
            with torch.inference_mode(), captured(built.model, [layer], pick=pick, reduce=reduce):
                built.model(to_batch((manifest.picture(one) for one in some), how))
            output = kept.pop()
            for place, picture in enumerate(some):
                for row, rank in by_picture[picture]:
                    heat = component_map(
                        output[place : place + 1], layer, int(index[row]), int(sign[row]),
                        special_tokens=built.special_tokens,
                    )  # fmt: skip
                    box = None if heat is None else box_of(heat[0], how.crop, threshold)
                    yield picture, (row, rank), box, NO_PLACES if heat is None else EMPTY_MAP if box is None else CUT
            work.advance(0)


def _followed(
    work: Work, models: Models, ref: ModelRef, layer: Layer, by_picture: dict[int, list[Pair]],
    index: np.ndarray, sign: np.ndarray, manifest: Manifest,
) -> Found:  # fmt: skip
    """Squares around the pixels that the activation comes from: one forward pass for all that share a picture.

    Pictures with like numbers of components share a batch, so that few backward passes carry nothing.
    """
    from services.model.attribution.component_maps import component_maps, rule_for
    from services.model.capture.boxes import around, relevance_heat
    from services.model.capture.hooks import AXIS
    from services.model.component_crops import asked_of
    from services.model.preprocess import reads_pictures, to_batch

    how, threshold = reads_pictures(ref), float(str(work.spec["threshold"]))
    order = sorted(by_picture, key=lambda picture: (-len(by_picture[picture]), picture))
    with models.loaded(ref) as built:
        rule = rule_for(built.model)
        special = built.special_tokens if layer.kind is LayerKind.TOKENS else 0
        for start in range(0, len(order), GRAPHS):
            some = order[start : start + GRAPHS]
            maps = component_maps(
                built.model, to_batch((manifest.picture(one) for one in some), how), layer.name,
                [
                    [asked_of(layer, int(index[row]), 1 if sign[row] > 0 else -1) for row, _ in by_picture[picture]]
                    for picture in some
                ],
                rule, axis=AXIS[layer.kind], special_tokens=special,
            )  # fmt: skip
            for picture, own in zip(some, maps, strict=True):
                for pair, relevance in zip(by_picture[picture], own, strict=True):
                    heat = relevance_heat(relevance)
                    box = None if heat is None else around(heat, threshold)
                    yield picture, pair, box, EMPTY_MAP if box is None else CUT
            work.advance(0)
