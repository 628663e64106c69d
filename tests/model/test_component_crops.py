"""Samples cut to what a component saw: boxes from maps, and the model service's answer."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from contracts.crops import CropRequest, UnknownChannel
from contracts.errors import UnknownLayer, UnknownSample
from contracts.model import Layer, LayerKind, Preprocessing
from services.model.attribution.component_maps import Asked
from services.model.capture.boxes import box_of, component_map, in_picture, square
from services.model.component_crops import asked_of
from tests.model.test_attributions import ME, models, picture  # noqa: F401


def layer_of(kind: LayerKind) -> Layer:
    return Layer(name="x", kind=kind, module="x", width=3, signed=True, pooling="max")


HOW = Preprocessing(resize=64, crop=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


# --- boxes ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ((10, 49, 190, 222, 224, 224), (10, 49, 185, 224)),  # the published package cuts this one to 39 x 34
        ((0, 10, 0, 10, 20, 20), (0, 10, 0, 10)),
        ((5, 9, 0, 20, 12, 20), (0, 12, 4, 16)),
        ((100, 100, 50, 50, 224, 224), (100, 100, 50, 50)),
    ],
)
def test_a_square_stays_square_and_inside(edges, expected):
    assert square(*edges) == expected


def test_a_hot_corner_gives_a_box_in_that_corner_and_nothing_hot_gives_none():
    heat = torch.zeros(7, 7)
    heat[0, 6] = 1
    top, bottom, left, right = box_of(heat, 224, 0.3)
    assert (top, right) == (0, 224)
    assert bottom - top == right - left < 80
    assert box_of(torch.zeros(7, 7), 224, 0.3) is None
    assert box_of(torch.full((7, 7), float("nan")), 224, 0.3) is None


def test_a_higher_threshold_gives_a_smaller_box():
    heat = torch.zeros(9, 9)
    heat[4, 4], heat[2:7, 2:7] = 3, heat[2:7, 2:7] + 1
    sides = [box[1] - box[0] for box in (box_of(heat, 90, threshold) for threshold in (0.1, 0.3, 0.6))]
    assert sides == sorted(sides, reverse=True) and sides[0] > sides[2]


def test_a_box_is_brought_back_through_crop_and_resize():
    # 128 x 256 is resized to 64 x 128 (half) and its central 32 x 32 cut: begin (16, 48)
    found = in_picture((0, 32, 0, 32), (128, 256), HOW)
    assert (found.left, found.right, found.top, found.bottom) == (32, 96, 96, 160)


def test_a_tiny_box_grows_to_32_pixels_without_leaving_the_picture():
    found = in_picture((0, 2, 0, 2), (64, 64), HOW.model_copy(update={"resize": 32}))
    assert (found.left, found.right, found.top, found.bottom) == (0, 32, 0, 32)
    small = in_picture((0, 8, 0, 8), (20, 20), HOW.model_copy(update={"resize": 32}))
    assert (small.left, small.right, small.top, small.bottom) == (0, 20, 0, 20)


def test_maps_are_read_from_every_kind_of_layer():
    values = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4) - 20
    expected = values[:, 1].clamp(min=0)
    assert torch.equal(component_map(values, layer_of(LayerKind.MAP), 1, 1), expected)
    assert torch.equal(component_map(values.permute(0, 2, 3, 1), layer_of(LayerKind.MAP_LAST), 1, 1), expected)
    tokens = torch.cat([torch.full((2, 1, 3), 99.0), values.flatten(2).transpose(1, 2)], dim=1)
    assert torch.equal(component_map(tokens, layer_of(LayerKind.TOKENS), 1, 1, special_tokens=1), expected)
    assert torch.equal(component_map(values, layer_of(LayerKind.MAP), 0, -1), (-values[:, 0]).clamp(min=0))
    assert component_map(tokens, layer_of(LayerKind.TOKENS), 1, 1) is None
    assert component_map(values[:, :, 0, 0], layer_of(LayerKind.VECTOR), 1, 1) is None


# --- the service ----------------------------------------------------------------------------------
def ask(**fields) -> CropRequest:
    return CropRequest(**{"layer": "layer1.0", "index": 3, "dataset": "d", "samples": [0, 2]} | fields)


@pytest.mark.parametrize(("net", "layer"), [("cnn", "layer1.0"), ("vit", "blocks.1")])
def test_crops_are_squares_around_what_the_component_saw(models, net, layer):  # noqa: F811
    found = models.component_crops(ME, net, ask(layer=layer))
    assert [crop.sample for crop in found.crops] == [0, 2]
    for crop in found.crops:
        box = crop.box
        assert 0 <= box.left < box.right <= 36 and 0 <= box.top < box.bottom <= 40
        assert crop.share == pytest.approx((box.right - box.left) * (box.bottom - box.top) / (36 * 40))
        heat = np.asarray(Image.open(io.BytesIO(crop.heat)))
        assert heat.ndim == 2 and heat.max() == 255
    assert found.median_share == pytest.approx(np.mean([crop.share for crop in found.crops]))


@pytest.mark.parametrize(
    ("net", "layer", "rule"), [("cnn", "layer1.0", "epsilon_plus_flat"), ("vit", "blocks.1", "cp_gamma")]
)
def test_crops_by_relevance_follow_the_activation_to_the_pixels(models, net, layer, rule):  # noqa: F811
    found = models.component_crops(ME, net, ask(layer=layer, method="relevance"))
    assert (found.method, found.rule, found.threshold) == ("relevance", rule, 0.01)
    wide = models.component_crops(ME, net, ask(layer=layer, method="relevance", threshold=0.9))
    for crop, narrow in zip(found.crops, wide.crops, strict=True):
        if crop.whole is None:
            assert np.asarray(Image.open(io.BytesIO(crop.heat))).max() == 255
            assert narrow.share <= crop.share + 0.05  # rounding to whole pixels of a tiny picture
    assert any(crop.whole is None for crop in found.crops)


def test_relevance_has_pixels_where_the_layer_has_no_places(models):  # noqa: F811
    layers = models.model(ME, "cnn").layers
    names = [layer.name for layer in layers if layer.kind is LayerKind.VECTOR and layer.signed]
    both = [
        models.component_crops(ME, "cnn", ask(layer=names[0], index=1, sign=sign, method="relevance"))
        for sign in (1, -1)
    ]
    for first, second in zip(both[0].crops, both[1].crops, strict=True):
        assert {first.whole, second.whole} == {None, "empty"}  # a score speaks for one of its sides


def test_a_component_is_asked_for_as_its_layer_is_pooled():
    layer = layer_of(LayerKind.MAP)
    places = {
        "max": "max",
        "abs-max": "max",
        "mean": None,
        "sum": None,
        "token:0": 0,
        "token-max": "max",
        "token-mean": None,
    }
    for pooling, place in places.items():
        assert asked_of(layer.model_copy(update={"pooling": pooling}), 2, -1) == Asked(2, -1, place)


def test_the_same_question_is_answered_from_memory(models, monkeypatch):  # noqa: F811
    first = models.component_crops(ME, "cnn", ask())
    monkeypatch.setattr("services.model.component_crops._cut", lambda *_: pytest.fail("computed again"))
    assert models.component_crops(ME, "cnn", ask()) is first


def test_a_layer_without_places_gives_whole_pictures_that_say_so(models):  # noqa: F811
    names = {layer.name: layer for layer in models.model(ME, "cnn").layers if layer.kind is LayerKind.VECTOR}
    found = models.component_crops(ME, "cnn", ask(layer=next(iter(names)), index=1))
    assert [crop.whole for crop in found.crops] == ["vector"] * 2 and found.median_share == 1
    assert (found.crops[0].box.right, found.crops[0].box.bottom, found.crops[0].heat) == (36, 40, None)


def test_what_does_not_exist_is_refused(models):  # noqa: F811
    with pytest.raises(UnknownLayer):
        models.component_crops(ME, "cnn", ask(layer="nowhere"))
    with pytest.raises(UnknownSample):
        models.component_crops(ME, "cnn", ask(samples=[7]))
    with pytest.raises(UnknownChannel) as refusal:
        models.component_crops(ME, "cnn", ask(index=4000))
    assert refusal.value.facts["width"] == models.model(ME, "cnn").layers[0].width or refusal.value.facts["width"] > 0
