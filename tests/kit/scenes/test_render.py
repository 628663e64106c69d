"""Pixels and masks: equal bytes on every run, and masks that hold exactly what was drawn."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from contracts.data import ScenesSource
from services.kit.scenes import COLOURS, CONTEXTS, SHAPES, draw_scene, render
from services.kit.scenes.scene import Scene, Thing

SOURCE = ScenesSource(n=200, strength=0.5)


def scene_of(kind="square", colour="red", texture="plain", artefact=None, context=()):
    item = Thing(kind, colour, texture, 32.0, 32.0, 15.0, 2)
    return Scene(0, item, tuple(context), "dark", (30, 50), artefact, (2, 3), (0, 0, 0, 1))


def test_the_bytes_are_the_recorded_ones():
    """A change here changes every dataset of scenes: raise `GENERATOR` and train the packaged models again."""
    digest = hashlib.sha256()
    for index in range(40):
        rendered = render(draw_scene(SOURCE, index))
        digest.update(rendered.pixels.tobytes())
        for name in sorted(rendered.masks):
            digest.update(np.packbits(rendered.masks[name]).tobytes())
    assert digest.hexdigest() == "ef12c91878b843244311ff893336754192cf633f9ace267aec2798a25dfa65a4"


def test_an_artefact_changes_exactly_the_pixels_of_its_mask():
    for kind in ("tag", "watermark", "border"):
        for index in range(20):
            scene = draw_scene(SOURCE, index)
            clean, planted = render(scene.with_artefact(None)), render(scene.with_artefact(kind))
            changed = (clean.pixels != planted.pixels).any(axis=2)
            assert not changed[~planted.masks["artefact"]].any()
            assert changed.sum() > 0.8 * planted.masks["artefact"].sum() > 0
            assert not clean.masks["artefact"].any()
            assert np.array_equal(planted.masks["object"], clean.masks["object"] & ~planted.masks["artefact"])


def test_masks_are_disjoint_and_the_object_is_always_there():
    for index in range(200):
        rendered = render(draw_scene(SOURCE, index))
        assert np.stack(list(rendered.masks.values())).sum(axis=0).max() <= 1
        assert rendered.masks["object"].sum() >= 60
        assert bool(rendered.masks["artefact"].any()) == (draw_scene(SOURCE, index).artefact is not None)


@pytest.mark.parametrize("colour", COLOURS)
def test_the_object_has_its_colour_inside_its_mask_and_the_background_is_grey(colour):
    rendered = render(scene_of(colour=colour))
    inside = rendered.pixels[rendered.masks["object"]].astype(float).mean(axis=0)
    assert inside == pytest.approx(COLOURS[colour], abs=14)
    outside = rendered.pixels[~rendered.masks["object"]].astype(float).mean(axis=0)
    assert np.ptp(outside) < 6 and 25 < outside.mean() < 55


def test_the_area_of_a_square_is_that_of_its_outline():
    assert render(scene_of()).masks["object"].sum() == pytest.approx((2 * 0.8 * 15) ** 2, rel=0.05)


def test_all_shapes_and_context_things_have_different_outlines():
    drawn = [render(scene_of(kind)).masks["object"] for kind in (*SHAPES, *CONTEXTS)]
    for place, one in enumerate(drawn):
        for other in drawn[:place]:
            assert (one & other).sum() / (one | other).sum() < 0.87


def test_every_texture_darkens_a_part_of_the_object():
    plain = render(scene_of()).pixels
    for texture in ("striped", "dotted", "checked"):
        rendered = render(scene_of(texture=texture))
        darker = (plain.astype(int) - rendered.pixels).max(axis=2) > 60
        assert 0.1 < darker[rendered.masks["object"]].mean() < 0.6
        assert not darker[~rendered.masks["object"]].sum() > 30  # only the softened edge


def test_the_object_covers_what_is_beneath_it():
    beneath = Thing("bar", "white", "plain", 32.0, 32.0, 6.0, 2)
    rendered = render(scene_of(context=[beneath]))
    assert not rendered.masks["context"].any()
    assert np.array_equal(rendered.pixels, render(scene_of()).pixels)


def test_a_faint_object_keeps_its_mask_and_hardly_differs_from_the_background():
    clear, faint = render(scene_of(colour="white")), render(replace(scene_of(colour="white"), faint=True))
    assert np.array_equal(clear.masks["object"], faint.masks["object"])
    inside = clear.masks["object"]
    without = faint.pixels[~inside].astype(float).mean()
    assert 0 < faint.pixels[inside].astype(float).mean() - without < 10 < clear.pixels[inside].mean() - without


@pytest.mark.parametrize("side", [32, 50, 128, 256])
def test_a_scene_can_be_rendered_at_any_size(side):
    large, small = render(draw_scene(SOURCE, 1), side), render(draw_scene(SOURCE, 1), 64)
    assert large.pixels.shape == (side, side, 3)
    for name in ("object", "context"):
        assert large.masks[name].mean() == pytest.approx(small.masks[name].mean(), rel=0.15, abs=0.003)
