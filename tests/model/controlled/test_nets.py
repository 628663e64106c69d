"""The small nets: named layers, batch norms that fold away, the same input as the service gives."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from contracts.data import ScenesSource
from services.kit.scenes import SHAPES
from services.model.controlled.nets import (
    HOW,
    cnn_for_training,
    scenes_cnn,
    scenes_vit,
    vit_for_training,
    without_norm,
)
from services.model.controlled.pictures import course_of, pictures_of, shuffled, to_input
from services.model.preprocess import to_batch


@pytest.mark.parametrize(("trained", "built"), [(cnn_for_training, scenes_cnn), (vit_for_training, scenes_vit)])
def test_batch_norm_folds_away_without_changing_an_output(trained, built):
    torch.manual_seed(0)
    model = trained()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, -1, 2)
            nn.init.uniform_(part.bias, -1, 1)
    pictures = to_input(pictures_of(ScenesSource(n=6)).pixels)
    plain = without_norm(model.eval(), built().model)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in plain.modules())
    with torch.no_grad():
        assert (plain(pictures) - model(pictures)).abs().max() < 1e-4


def test_the_classes_are_the_shapes_and_layers_have_names():
    for built in (scenes_cnn(), scenes_vit()):
        assert built.classes == list(SHAPES)
        assert built.model(torch.zeros(2, 3, 64, 64)).shape == (2, 6)
    names = dict(scenes_cnn().model.named_modules())
    assert {f"relu{number}" for number in range(1, 6)} | {"conv1", "fc", "head"} <= names.keys()
    assert scenes_vit().special_tokens == 1
    assert scenes_vit().model.forward_features(torch.zeros(1, 3, 64, 64)).shape == (1, 65, 64)


def test_training_sees_exactly_what_the_service_feeds():
    pixels = pictures_of(ScenesSource(n=3)).pixels
    fed = to_batch([Image.fromarray(picture) for picture in pixels], HOW)
    assert torch.equal(to_input(pixels), fed) or (to_input(pixels) - fed).abs().max() < 1e-6


def test_batches_are_epochs_without_repetition():
    batches = list(shuffled(10, 4, 5, torch.Generator().manual_seed(1)))
    assert len(batches) == 5 and all(len(batch) == 4 for batch in batches)
    assert len(set(np.concatenate(batches[:2]))) == len(set(np.concatenate(batches[2:4]))) == 8


def test_the_first_steps_of_a_course_are_those_of_the_whole():
    source = ScenesSource(n=60)
    short, whole = course_of(source, size=8, steps=2, seed=3), course_of(source, size=8, steps=14, seed=3)
    for one, other in zip(short.batches, whole.batches, strict=False):
        assert np.array_equal(short.pictures.pixels[one], whole.pictures.pixels[other])
    assert len(short.pictures) == 16
