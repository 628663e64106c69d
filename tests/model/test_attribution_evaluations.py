"""Attribution methods judged over a dataset: figures against the library's, samples that do not count, and the mask."""

import numpy as np
import pytest
import torch
from torch import nn

from contracts.attribution_evaluation import EvaluationRequest
from contracts.model import Preprocessing
from services.model.attribution.baselines import METHODS
from services.model.attribution.evaluation import mass_accuracy, patch_maps, patch_masks, pointing_game
from services.model.attribution_evaluations import attribution_figures, figures_of, mask_on_crop

HOW = Preprocessing(resize=8, crop=8, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class OneMask:
    """A manifest of one sample with one mask."""

    def __init__(self, mask):
        self._mask = mask

    def mask(self, index, name):
        return self._mask


class Part:
    """A part's inputs in memory, and what it put out."""

    def __init__(self, request, shards):
        self.spec, self.inputs, self._shards = {"request": request.model_dump(mode="json")}, dict(shards), shards
        self.done, self.out = 0, None

    def arrays(self, role):
        return self._shards[role]

    def emit_record(self, name, record):
        self.out = record

    def advance(self, units):
        self.done += units


def asked(**fields):
    return EvaluationRequest(model="m", dataset="d", **fields)


def test_figures_are_those_of_the_library():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    model = nn.Sequential(*layers).eval()
    batch, masks = torch.randn(5, 3, 8, 8), torch.zeros(5, 8, 8, dtype=torch.bool)
    masks[:, 2:6, 4:8] = True
    target = torch.tensor([0, 1, 2, 0, 1])
    request = asked(methods=["gradient_x_input"], mask="object", patch=4, steps=4, draws=2)
    found = figures_of(model, batch, target, masks, "gradient_x_input", request)
    maps = METHODS["gradient_x_input"](model, batch, target).sum(1).double()
    positive = maps.clamp(min=0)
    torch.testing.assert_close(found["mass_accuracy/pixel/positive"], mass_accuracy(positive, masks))
    torch.testing.assert_close(found["pointing_game/pixel/absolute"], pointing_game(maps.abs(), masks))
    patches = mass_accuracy(patch_maps(positive, 4), patch_masks(masks, 4))
    torch.testing.assert_close(found["mass_accuracy/patch/positive"], patches, equal_nan=True)
    assert {"deletion", "insertion", "abpc", "instability", "gini"} <= set(found)
    assert len(found) == 5 * 2 * 2 + 3 + 4 and all(values.shape == (5,) for values in found.values())


def test_a_mask_lies_where_the_model_sees_it():
    mask = np.zeros((16, 32), bool)  # resized to 8 x 16, cut to its middle 8 columns
    mask[:8, 8:16] = True
    seen = mask_on_crop(OneMask(mask), 0, "object", HOW)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:4, :4] = True
    assert torch.equal(seen, expected)


def test_the_best_is_named_and_the_others_stay_behind_it_by_paired_samples():
    draw = np.random.default_rng(0)
    base = draw.uniform(0, 1, 40)
    shards = {}
    for name, shift in (("sharp", 0.2), ("same", 0.2), ("blunt", 0.0)):
        values = base + shift + (draw.normal(0, 0.01, 40) if name == "same" else 0)
        values[3] = np.nan  # a sample without the mask
        for start in (0, 20):
            span = slice(start, start + 20)
            shards[f"{name}/{start:05d}"] = {
                "auc/pixel/positive": values[span], "deletion": 1 - values[span], "gini": values[span],
                "known": np.ones(20), "right": np.ones(20),
            }  # fmt: skip
    part = Part(asked(methods=["sharp", "same", "blunt"]), shards)
    attribution_figures(part)
    figures = {(each["metric"], each["method"]): each for each in part.out["figures"]}
    assert part.done == 1 and part.out["samples"] == 40 and part.out["right"] == 40
    for metric in ("auc", "deletion"):  # high is good, low is good
        assert not figures[metric, "blunt"]["best"] and figures[metric, "blunt"]["behind"]["low"] > 0.15
        (best,) = [method for method in ("sharp", "same") if figures[metric, method]["best"]]
        other = "same" if best == "sharp" else "sharp"
        assert figures[metric, best]["behind"] is None and abs(figures[metric, other]["behind"]["mean"]) < 0.02
        assert figures[metric, best]["n"] == 39 and figures[metric, best]["undefined"] == 1
    assert not any(figures["gini", method]["best"] for method in ("sharp", "same", "blunt")), "a matter of taste"


def test_a_figure_that_no_sample_has_is_none_and_no_number():
    shards = {"a/00000": {"auc/pixel/positive": np.full(4, np.nan), "known": np.zeros(4), "right": np.zeros(4)}}
    part = Part(asked(methods=["a"]), shards)
    attribution_figures(part)
    (figure,) = part.out["figures"]
    assert figure["value"] is None and figure["undefined"] == 4 and not figure["best"]
    assert part.out["right"] is None


def test_a_request_has_its_limits():
    with pytest.raises(ValueError, match="methods"):
        asked(methods=[])
    with pytest.raises(ValueError, match="samples"):
        asked(samples=1)
