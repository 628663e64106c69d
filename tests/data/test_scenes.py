"""Scenes as a dataset: captions, factors and masks arrive as they were generated."""

import io

import numpy as np
import pytest
from PIL import Image

from contracts.data import ScenesSource
from contracts.errors import UnknownMask
from services.kit.scenes import caption_of, draw_scene, render
from tests.data.desk import caller

SOURCE = ScenesSource(n=10, seed=2, strength=0.5, side=48)


@pytest.fixture
def dataset(desk):
    return desk.register(SOURCE.model_dump(), part_size=4)


def test_every_sample_has_the_caption_factors_pixels_and_masks_of_its_scene(desk, dataset):
    assert (dataset.ref.n, dataset.n_captions, dataset.n_rejected) == (10, 10, 0)
    manifest = desk.data.manifest(caller(), dataset.ref.id)
    for sample in desk.samples(dataset):
        scene = draw_scene(SOURCE, sample.index)
        rendered = render(scene, 48)
        assert (sample.label, sample.caption, sample.factors) == (scene.item.kind, caption_of(scene), scene.factors())
        assert sample.masks == ["object", "artefact", "context"]
        assert np.array_equal(np.asarray(manifest.picture(sample.index)), rendered.pixels)
        for name in sample.masks:
            assert np.array_equal(manifest.mask(sample.index, name), rendered.masks[name])


def test_a_mask_is_delivered_as_a_picture_of_the_same_size(desk, dataset):
    answer = desk.data.mask(caller(), dataset.ref.id, 3, "object")
    picture = Image.open(io.BytesIO(answer.body))
    assert (answer.media_type, picture.size, picture.mode) == ("image/png", (48, 48), "1")
    assert np.array_equal(np.asarray(picture), render(draw_scene(SOURCE, 3), 48).masks["object"])


def test_a_mask_that_a_sample_does_not_have_is_unknown(desk, dataset):
    with pytest.raises(UnknownMask) as refusal:
        desk.data.mask(caller(), dataset.ref.id, 0, "sky")
    assert refusal.value.facts == {"masks": ["object", "artefact", "context"]}
    plain = desk.register({"kind": "demo", "crops": 22}, name="photographs")
    assert desk.samples(plain)[0].masks == []
    with pytest.raises(UnknownMask):
        desk.data.mask(caller(), plain.ref.id, 0, "object")


def test_two_runs_make_the_same_dataset_and_another_strength_another_one(desk):
    plan = desk.plan(SOURCE.model_dump())
    first = [desk.run_part("ingest", part).emitted for part in plan.stages[0].parts]
    assert [desk.run_part("ingest", part).emitted for part in plan.stages[0].parts] == first
    other = desk.plan({**SOURCE.model_dump(), "strength": 0.6})
    assert other.stages[0].parts[0].outputs != plan.stages[0].parts[0].outputs
