"""Suppressed components put out zero, in models that are built so and in folded ones."""

import numpy as np
import pytest
import torch
from torch import nn

from contracts.corrections import NothingCorrected
from services.model.adapters.registry import build
from services.model.audits import predicted, thinned, to_ablate
from services.model.capture.folding import fold_batch_norm
from services.model.corrections import chosen_step, steps_of
from services.model.errors import BadConfig
from services.model.suppression import Silencer, with_suppressed

CNN = "entry_point:services.model.controlled.nets:scenes_cnn"
PICTURES = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_a_model_is_built_with_its_components_suppressed_and_otherwise_the_same():
    torch.manual_seed(0)
    whole = build(CNN, {}).model
    config = with_suppressed(with_suppressed({}, "relu4", 1, [5, 2]), "relu5", -1, [0])
    less = build(CNN, config).model
    less.load_state_dict(whole.state_dict())
    seen = {}
    less.relu4.register_forward_hook(lambda module, given, output: seen.update(map=output))
    less.relu5.register_forward_hook(lambda module, given, output: seen.update(vector=output))
    whole.relu4.register_forward_hook(lambda module, given, output: seen.update(whole=output))
    with torch.no_grad():
        assert less(PICTURES).shape == whole(PICTURES).shape == (3, 6)
    assert (seen["map"][:, [2, 5]] == 0).all() and (seen["vector"][:, 0] == 0).all()
    keep = [unit for unit in range(96) if unit not in (2, 5)]
    torch.testing.assert_close(seen["map"][:, keep], seen["whole"][:, keep])


@pytest.mark.parametrize(
    "told",
    [
        "relu4", {}, [{"layer": "relu4"}], [{"layer": "relu4", "axis": 2, "units": []}],
        [{"layer": "relu4", "axis": 1, "units": [-1]}], [{"layer": "relu4", "axis": 1, "units": [True]}],
        [{"layer": "nowhere", "axis": 1, "units": [0]}],
    ],
)  # fmt: skip
def test_anything_else_in_the_config_is_refused(told):
    with pytest.raises(BadConfig):
        build(CNN, {"suppress": told})


def test_a_unit_beyond_the_layer_is_refused_when_it_runs():
    with pytest.raises(BadConfig):
        build(CNN, {"suppress": [{"layer": "relu4", "axis": 1, "units": [96]}]}).model(PICTURES)


def test_folding_leaves_suppressed_layers_alone():
    torch.manual_seed(0)
    steps = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    model = nn.Sequential(*steps).eval()
    Silencer(model, "1", 1, [2])
    before = model(PICTURES)
    assert [pair.conv for pair in fold_batch_norm(model, PICTURES)] == ["3"]
    torch.testing.assert_close(model(PICTURES), before, rtol=1e-4, atol=1e-5)


def test_a_silencer_ends_with_its_block():
    model = build(CNN, {}).model
    with torch.no_grad():
        before = model(PICTURES)
        with Silencer(model, "relu5", -1) as silencer:
            assert torch.equal(model(PICTURES), before)
            silencer.units = list(range(64))
            assert torch.equal(model(PICTURES), model.head.bias.expand(3, 6))
        assert torch.equal(model(PICTURES), before)


def test_the_best_step_keeps_the_clean_accuracy():
    clean, artefact = np.array([0.9, 0.89, 0.88, 0.5]), np.array([0.2, 0.4, 0.4, 0.9])
    assert chosen_step(clean, artefact, 0.02) == 1
    assert chosen_step(clean, artefact, 0.5) == 3
    with pytest.raises(NothingCorrected):
        chosen_step(clean, np.array([0.9, 0.4, 0.4, 0.9]), 0.02)
    assert steps_of(3) == [1, 2, 3] and steps_of(100, most=4) == [1, 34, 67, 100]


def test_pictures_of_a_class_are_those_predicted_or_the_most_probable():
    probability = np.full((40, 3), 0.1, np.float32)
    probability[:30, 0] = 0.8
    probability[30:, 1] = np.linspace(0.5, 0.9, 10)
    seen = np.arange(40) * 2
    assert predicted(probability, 0, seen, 4).tolist() == [0, 20, 38, 58]
    assert predicted(probability, 1, seen, 64).tolist() == list(range(60, 80, 2))
    assert len(predicted(probability, 2, seen, 64)) == 8
    assert thinned(np.arange(3), 5).tolist() == [0, 1, 2]


def test_flagged_units_are_ablated_first_and_a_signed_unit_once():
    relevance = np.array([0.1, 5.0, -3.0, 0.2, 0.0, 4.0])
    flagged = np.array([True, False, False, True, False, False])
    assert to_ablate(relevance, flagged, 3, 6).tolist() == [3, 0, 1]
    assert to_ablate(relevance, flagged, 9, 3).tolist() == [0, 1, 2]
