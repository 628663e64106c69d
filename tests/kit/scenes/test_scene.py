"""Scenes are decided by (seed, split, index) alone, and their factors have the rates that were asked for."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from contracts.data import ScenesSource
from services.kit.scenes import CONTEXTS, SHAPES, caption_of, draw_scene, rate


def correlation(source, cue, shape):
    scenes = [draw_scene(source, index) for index in range(source.n)]
    return float(np.corrcoef([cue(scene) for scene in scenes], [scene.item.kind == shape for scene in scenes])[0, 1])


def test_a_scene_does_not_depend_on_what_was_drawn_before_or_on_how_many_there_are():
    few, many = ScenesSource(n=8, seed=3), ScenesSource(n=100_000, seed=3)
    backwards = [draw_scene(many, index) for index in reversed(range(8))]
    assert [draw_scene(few, index) for index in range(8)] == backwards[::-1]


def test_seeds_and_splits_are_disjoint_streams():
    drawn = [draw_scene(ScenesSource(seed=seed, split=split), 0) for seed in (0, 1) for split in ("train", "test")]
    assert len({(scene.item, scene.noise) for scene in drawn}) == 4


def test_the_first_scene_is_the_recorded_one():
    scene = draw_scene(ScenesSource(seed=0, strength=1.0), 1)
    assert caption_of(scene) == (
        "a small green dotted triangle at the top of a grey background, with a green grid and a tag in the corner"
    )
    assert scene.factors() == {
        "shape": "triangle", "colour": "green", "texture": "dotted", "size": "small", "place": "top",
        "background": "grey", "artefact": "tag", "faint": False,
        "bar": False, "moon": False, "chevron": False, "grid": True,
        "x": scene.item.x, "y": scene.item.y, "radius": scene.item.radius, "turn": scene.item.turn,
    }  # fmt: skip


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_the_strength_is_the_correlation_of_the_artefact_with_its_class(strength):
    source = ScenesSource(n=6000, strength=strength)
    assert correlation(source, lambda scene: scene.artefact is not None, "triangle") == pytest.approx(
        strength, abs=0.04
    )
    share = np.mean([draw_scene(source, index).artefact is not None for index in range(6000)])
    assert share == pytest.approx(1 / len(SHAPES), abs=0.02)  # the cue is equally common at every strength
    assert rate(1.0, confounded=True) == 1 and rate(1.0, confounded=False) == 0


def test_the_context_strength_is_the_correlation_of_one_context_thing_with_its_class():
    source = ScenesSource(n=4000, context="grid", context_class="star", context_strength=0.8)
    assert correlation(source, lambda s: s.factors()["grid"], "star") == pytest.approx(0.8, abs=0.04)
    assert correlation(source, lambda s: s.factors()["bar"], "star") == pytest.approx(0, abs=0.04)
    assert len(CONTEXTS) == 4


def test_changing_a_strength_changes_no_other_factor():
    weak, strong = ScenesSource(strength=0.1), ScenesSource(strength=0.9)
    for index in range(200):
        one, other = draw_scene(weak, index), draw_scene(strong, index)
        assert one.with_artefact(None) == other.with_artefact(None)


def test_the_share_of_faint_objects_changes_nothing_else():
    some, none = ScenesSource(n=2000, faint=0.3), ScenesSource(n=2000)
    drawn = [(draw_scene(some, index), draw_scene(none, index)) for index in range(2000)]
    assert np.mean([one.faint for one, _ in drawn]) == pytest.approx(0.3, abs=0.03)
    assert all(replace(one, faint=False) == other for one, other in drawn)


def test_never_and_always_plant_in_no_and_in_every_scene():
    for planting, planted in (("never", None), ("always", "border")):
        source = ScenesSource(n=50, planting=planting, artefact="border", strength=0.5)
        assert {draw_scene(source, index).artefact for index in range(50)} == {planted}


@pytest.mark.parametrize("field", [{"strength": 1.1}, {"side": 8}, {"confounded": "cat"}, {"n": 0}, {"colour": "red"}])
def test_what_cannot_be_generated_is_refused_with_its_field(field):
    with pytest.raises(ValidationError) as refusal:
        ScenesSource.model_validate(field)
    assert next(iter(field)) in str(refusal.value)


def test_a_scene_beyond_the_end_is_an_index_error():
    with pytest.raises(IndexError, match="5 of 5"):
        draw_scene(ScenesSource(n=5), 5)
