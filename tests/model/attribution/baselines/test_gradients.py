import math
import threading

import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion
from torch import nn
from torch.nn import functional

from services.model.attribution.baselines import (
    METHODS,
    gradcam,
    gradient,
    gradient_x_input,
    integrated_gradients,
    occlusion,
    smoothgrad,
)
from services.model.attribution.baselines.errors import NoSpatialMap
from services.model.attribution.errors import BadInputs, TargetOutOfRange, TrainingMode


class Picture(nn.Module):
    """A linear model of 3 x 8 x 8 pictures."""

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randn(4, 3, 8, 8, generator=draw, dtype=torch.float64))

    def forward(self, x):
        return torch.einsum("bchw,kchw->bk", x, self.weight)


def small_cnn():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4),
    )  # fmt: skip
    return net.double().eval().requires_grad_(False)


INPUTS = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TARGET = torch.tensor([0, 3, 1])


def test_every_gradient_method_is_exact_on_a_linear_model():
    model = Picture().eval()
    expected = model.weight[TARGET]
    assert torch.allclose(gradient(model, INPUTS, TARGET), expected)
    assert torch.allclose(smoothgrad(model, INPUTS, TARGET, samples=3), expected)
    assert torch.allclose(gradient_x_input(model, INPUTS, TARGET), expected * INPUTS)
    assert torch.allclose(integrated_gradients(model, INPUTS, TARGET, steps=4), expected * INPUTS)


def test_integrated_gradients_are_captums_and_nearly_complete():
    model = small_cnn()
    ours = integrated_gradients(model, INPUTS, TARGET, steps=200)
    theirs = IntegratedGradients(model).attribute(INPUTS.clone().requires_grad_(), target=TARGET, n_steps=200)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-14)
    rise = (model(INPUTS) - model(torch.zeros_like(INPUTS))).gather(1, TARGET.unsqueeze(1)).squeeze(1)
    assert torch.allclose(ours.sum((1, 2, 3)), rise, atol=1e-3)


def test_smoothgrad_leaves_the_global_generator_alone():
    model = small_cnn()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = smoothgrad(model, INPUTS, TARGET, samples=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, smoothgrad(model, INPUTS, TARGET, samples=4))
    assert not torch.equal(first, smoothgrad(model, INPUTS, TARGET, samples=4, seed=1))


def test_occlusion_of_a_linear_model_is_the_windows_contribution():
    model = Picture().eval()
    found = occlusion(model, INPUTS, TARGET, cells=2)
    parts = (model.weight[TARGET] * INPUTS).sum(1)
    windows = functional.avg_pool2d(parts, 4) * 16
    assert torch.allclose(found, windows.repeat_interleave(4, 1).repeat_interleave(4, 2))


def test_occlusion_is_captums_to_single_precision():
    model, inputs = small_cnn(), torch.cat([INPUTS, INPUTS], 3)[..., :11]
    theirs = Occlusion(model).attribute(inputs, (3, 2, 2), strides=(3, 2, 2), target=TARGET)
    assert torch.allclose(occlusion(model, inputs, TARGET, cells=4), theirs[:, 0].double(), atol=1e-6)


def test_gradcam_is_captums_relu():
    model = small_cnn()
    ours = gradcam(model, INPUTS, TARGET)
    theirs = LayerGradCam(model, model[4]).attribute(INPUTS.clone().requires_grad_(), TARGET, relu_attributions=True)
    assert ours.shape == (3, 4, 4)
    assert torch.allclose(ours, theirs.squeeze(1).detach())
    assert torch.allclose(gradcam(model, INPUTS, TARGET, layer="4"), ours)


def test_gradcam_reads_maps_with_channels_last():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.stage = nn.Linear(3, 5).double()

        def forward(self, x):
            return self.stage(x.permute(0, 2, 3, 1)).relu().mean((1, 2))

    model = Last().eval()
    found = gradcam(model, INPUTS, TARGET, layer="stage", channels_last=True)
    first = model.stage(INPUTS.permute(0, 2, 3, 1)).detach()
    slope = (first > 0).double()[torch.arange(3), :, :, TARGET] / 64
    assert torch.allclose(found, (slope.mean((1, 2)).view(3, 1, 1) * first[torch.arange(3), :, :, TARGET]).clamp(min=0))


def test_gradcam_does_not_see_another_threads_pass():
    model = small_cnn()
    alone = gradcam(model, INPUTS, TARGET)
    stop = threading.Event()

    def busy():
        other = torch.ones(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
        while not stop.is_set():
            model(other)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        together = [gradcam(model, INPUTS, TARGET) for _ in range(20)]
    finally:
        stop.set()
        thread.join()
    assert all(torch.equal(alone, found) for found in together)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", ["gradient", "gradient_x_input", "integrated_gradients", "gradcam"])
def test_a_batch_is_its_samples(name):
    model = small_cnn()
    together = METHODS[name](model, INPUTS, TARGET)
    single = torch.cat([METHODS[name](model, INPUTS[i : i + 1], int(TARGET[i])) for i in range(3)])
    assert torch.allclose(together, single, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_bad_requests_are_refused_before_any_work(name):
    method, model = METHODS[name], small_cnn()
    if name not in ("rollout", "chefer"):
        with pytest.raises(TargetOutOfRange) as refusal:
            method(model, INPUTS, 4)
        assert refusal.value.facts["outputs"] == 4
    with pytest.raises(TargetOutOfRange):
        method(model, INPUTS, torch.tensor([0, 1]))
    with pytest.raises(BadInputs):
        method(model, INPUTS * math.nan, 0)
    with pytest.raises(BadInputs):
        method(model, torch.zeros(1, 3, 8, 8, dtype=torch.int64), 0)
    with pytest.raises(TrainingMode):
        method(small_cnn().train(), INPUTS, 0)


def test_a_network_without_maps_has_no_gradcam():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).double().eval()
    with pytest.raises(NoSpatialMap):
        gradcam(model, INPUTS, 0)
    with pytest.raises(NoSpatialMap):
        gradcam(model, INPUTS, 0, layer="absent")
