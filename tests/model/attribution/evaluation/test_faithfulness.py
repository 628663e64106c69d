import math

import pytest
import torch
from torch import nn

from services.model.attribution.evaluation import (
    Scorer,
    abpc,
    area,
    average_sensitivity,
    blurred,
    curve,
    deletion,
    faithfulness_correlation,
    infidelity,
    insertion,
    max_sensitivity,
    noise_stability,
    pixel_flipping,
    sensitivity_n,
)
from services.model.attribution.evaluation.errors import BadMaps, BadMetricParameter

WEIGHT = torch.tensor([[4.0, 2.0, 1.0, 3.0], [0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)


class Linear(nn.Module):
    """Scores of 2 x 2 pictures with one channel; of each feature the exact contribution is known."""

    def forward(self, x):
        return x.flatten(1) @ WEIGHT.T


SCORE = Scorer(Linear(), batch=3)
ONES = torch.ones(2, 1, 2, 2, dtype=torch.float64)
TARGET = torch.tensor([0, 1])
MAPS = WEIGHT.view(2, 2, 2)


def test_flipping_removes_the_largest_first():
    steps = pixel_flipping(SCORE, ONES, MAPS, TARGET, steps=4)
    assert steps.tolist() == [[10, 6, 3, 1, 0], [1, 0, 0, 0, 0]]
    assert deletion(SCORE, ONES, MAPS, TARGET, steps=4).tolist() == pytest.approx([15 / 4, 0.125])


def test_the_least_relevant_first_and_the_area_between():
    least = curve(SCORE, ONES, MAPS, TARGET, order="least", steps=4)
    assert least[0].tolist() == [10, 9, 7, 4, 0]
    assert abpc(SCORE, ONES[:1], MAPS[:1], TARGET[:1], steps=4).item() == pytest.approx((25 - 15) / 4)


def test_insertion_starts_from_the_goal():
    steps = curve(SCORE, ONES, MAPS, TARGET, start_at_goal=True, steps=4)
    assert steps[0].tolist() == [0, 4, 7, 9, 10]
    blur = blurred(ONES, sigma=1.0)
    assert torch.allclose(blur, ONES)
    assert insertion(SCORE, ONES, MAPS, TARGET, steps=4, sigma=1.0).tolist() == pytest.approx([10, 1])


def test_blur_keeps_the_sum_of_an_inner_spike_and_is_gaussian():
    spike = torch.zeros(1, 1, 21, 21, dtype=torch.float64)
    spike[0, 0, 10, 10] = 1
    soft = blurred(spike, sigma=1.0)
    assert soft.sum().item() == pytest.approx(1)
    assert (soft[0, 0, 10, 11] / soft[0, 0, 10, 10]).item() == pytest.approx(math.exp(-0.5))


def test_patches_are_replaced_whole():
    picture = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    patches = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])

    class Corner(nn.Module):
        def forward(self, x):
            return x[:, 0, :2, :2].sum((1, 2)).unsqueeze(1)

    steps = curve(Scorer(Corner()), picture, patches, torch.tensor([0]), steps=4)
    assert steps.tolist() == [[4, 0, 0, 0, 0]]


def test_features_that_tie_go_in_an_order_that_is_not_the_raster():
    places = curve(SCORE, ONES[:1], torch.zeros(1, 2, 2), TARGET[:1], steps=4)
    again = curve(SCORE, ONES[:1], torch.zeros(1, 2, 2), TARGET[:1], steps=4)
    assert torch.equal(places, again)
    other = [curve(SCORE, ONES[:1], torch.zeros(1, 2, 2), TARGET[:1], steps=4, seed=s)[0].tolist() for s in range(8)]
    assert len({tuple(steps) for steps in other}) > 3


def test_the_right_attribution_correlates_perfectly():
    assert sensitivity_n(SCORE, ONES, MAPS, TARGET, steps=4)[0].item() == pytest.approx(1)
    assert faithfulness_correlation(SCORE, ONES, MAPS, TARGET, size=2, runs=20).tolist() == pytest.approx([1, 1])
    assert faithfulness_correlation(SCORE, ONES, -MAPS, TARGET, size=2, runs=20).tolist() == pytest.approx([-1, -1])
    assert math.isnan(sensitivity_n(SCORE, ONES, 0 * MAPS, TARGET, steps=4)[0])


def test_the_gradient_of_a_linear_model_has_no_infidelity():
    gradient = WEIGHT.view(2, 1, 2, 2)
    assert infidelity(SCORE, ONES, gradient, TARGET, draws=10).tolist() == pytest.approx([0, 0], abs=1e-20)
    assert infidelity(SCORE, ONES, 5 * gradient, TARGET, draws=10, rescale=True).tolist() == pytest.approx(
        [0, 0], abs=1e-20
    )
    doubled = infidelity(SCORE, ONES, 2 * gradient, TARGET, noise=0.5, draws=4000)
    assert doubled[0].item() == pytest.approx(0.25 * WEIGHT[0].square().sum().item(), rel=0.1)


def test_probabilities_come_from_a_softmax():
    score = Scorer(Linear(), probability=True)
    assert score(ONES, TARGET).tolist() == pytest.approx(torch.tensor([[10.0, 1.0]] * 2).softmax(1).diagonal().tolist())


def test_sensitivity_of_known_maps():
    constant = max_sensitivity(lambda x: torch.ones_like(x), ONES, draws=5)
    assert constant.tolist() == [0, 0]
    first = max_sensitivity(lambda x: x, ONES, radius=0.2, draws=400)
    assert (first < 0.2).all() and (first > 0.15).all()
    mean = average_sensitivity(lambda x: x, ONES, radius=0.2, draws=400)
    assert (mean < first).all()
    assert math.isnan(max_sensitivity(lambda x: torch.zeros_like(x), ONES, draws=2)[0])


def test_stability_does_not_see_the_scale():
    assert noise_stability(lambda x: x.sum((1, 2, 3), keepdim=True) * ONES, ONES).tolist() == pytest.approx([0, 0])
    flat = torch.ones(1, 1, 100, 100, dtype=torch.float64)
    # cos(x, x + η) for x of ones is 1 / sqrt(1 + σ²) in the limit
    assert noise_stability(lambda x: x, flat, noise=0.5).item() == pytest.approx(1 - 1 / math.sqrt(1.25), rel=0.02)


def test_area_is_the_mean_height():
    assert area(torch.tensor([[0.0, 1.0, 2.0]])).item() == 1


def test_what_cannot_be_perturbed_is_refused():
    with pytest.raises(BadMaps):
        deletion(SCORE, ONES, torch.zeros(2, 3, 3), TARGET, steps=4)
    with pytest.raises(BadMetricParameter):
        deletion(SCORE, ONES, MAPS, TARGET, steps=9)
    with pytest.raises(BadMetricParameter):
        curve(SCORE, ONES, MAPS, TARGET, order="random")
    with pytest.raises(BadMaps):
        infidelity(SCORE, ONES, MAPS, TARGET)
