"""Folding: the same function and the same names, with fewer passes over memory."""

import copy

import pytest
import torch
from torch import nn

from services.kit.torchvision_ops import mend_torchvision
from services.model.capture.catalogue import catalogue
from services.model.capture.folding import FoldedConv, Pair, fold_batch_norm
from services.model.capture.hooks import captured, evaluating, first_tensor


def with_statistics(model):
    """The model with running statistics of data, in eval mode."""
    torch.manual_seed(0)
    model.train()
    for _ in range(3):
        model(torch.randn(8, 3, 16, 16) * 2 + 1)
    return model.eval()


class Two(nn.Module):
    """Two convolutions with normalisations; `twin` reads the first convolution's output a second time."""

    def __init__(self, twin=False):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, groups=3, bias=False), nn.BatchNorm2d(6, affine=False)
        self.twin = twin

    def forward(self, x):
        first = self.conv1(x)
        x = self.bn1(first).relu()
        if self.twin:
            x = x + first
        return self.bn2(self.conv2(x)).flatten(1)


@pytest.fixture
def x():
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_the_function_is_the_same_to_rounding(x):
    model = with_statistics(Two())
    before = model(x)
    assert fold_batch_norm(model, x) == [Pair("conv1", "bn1"), Pair("conv2", "bn2")]
    torch.testing.assert_close(model(x), before, atol=1e-5, rtol=1e-5)
    assert isinstance(model.conv1, FoldedConv)


def test_every_layer_has_the_activations_of_the_model_as_it_was(x):
    model = with_statistics(Two())
    plain = copy.deepcopy(model)
    layers = catalogue(plain, x, pick=first_tensor)
    fold_batch_norm(model, x)
    found = {}
    for name, subject in (("plain", plain), ("folded", model)):
        with evaluating(subject), captured(subject, layers) as kept:
            subject(x)
        found[name] = kept.take()
    assert {"conv1", "bn1", "conv2", "bn2"} <= set(found["plain"]) == set(found["folded"])
    for name, pooled in found["plain"].items():
        torch.testing.assert_close(found["folded"][name].values, pooled.values, atol=1e-5, rtol=1e-5)


def test_what_else_is_captured_does_not_change_a_bit(x):
    model = with_statistics(Two())
    layers = {layer.name: layer for layer in catalogue(model, x, pick=first_tensor)}
    fold_batch_norm(model, x)
    kept = []
    for asked in ([layers["bn2"]], [layers["conv1"], layers["bn2"]]):
        with evaluating(model), captured(model, asked) as latest:
            model(x)
        kept.append(latest.take()["bn2"].values)
    assert torch.equal(kept[0], kept[1])


def test_a_convolution_that_something_else_reads_stays_as_it_is(x):
    model = with_statistics(Two(twin=True))
    before = model(x)
    assert fold_batch_norm(model, x) == []
    assert torch.equal(model(x), before)


def test_a_model_that_reads_its_convolutions_weights_stays_as_it_is(x):
    class Reads(Two):
        def forward(self, x):
            return super().forward(x) + self.conv1.weight.sum()

    model = with_statistics(Reads())
    before = model(x)
    assert fold_batch_norm(model, x) == []
    assert torch.equal(model(x), before)


def test_timms_normalisation_keeps_its_activation(x):
    mend_torchvision()
    import timm

    model = with_statistics(timm.create_model("tf_efficientnet_lite0", num_classes=5))
    before = model(x)
    pairs = fold_batch_norm(model, x)
    assert len(pairs) == 49
    torch.testing.assert_close(model(x), before, atol=1e-4, rtol=1e-4)
