"""Receptive fields are measured; for plain convolutions the arithmetic is known."""

import pytest
import torch
from torch import nn

from contracts.model import Layer, LayerKind
from services.model.capture.receptive_field import receptive_field


def layer(name: str, kind: LayerKind = LayerKind.MAP) -> Layer:
    return Layer(name=name, kind=kind, module="Conv2d", width=8, signed=False, pooling="max")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU6(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.SiLU(),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2),
    ).eval()  # fmt: skip


@pytest.mark.parametrize(
    ("name", "size", "step"), [("0", 3, 2), ("2", 3, 2), ("3", 7, 2), ("5", 9, 4), ("6", 17, 4), ("8", 33, 4)]
)
def test_sizes_and_steps_follow_the_arithmetic_of_convolutions(name, size, step):
    model = network()
    before = {key: part.clone() for key, part in model.state_dict().items()}
    found = receptive_field(model, layer(name), 128)
    assert (found.size, found.step) == (size, step)
    assert all(torch.equal(part, before[key]) for key, part in model.state_dict().items())


def test_the_box_moves_with_the_place_and_stays_inside():
    found = receptive_field(network(), layer("6"), 64)
    assert found.box(8 * 16 + 8) == (25, 42, 25, 42)
    assert found.box(8 * 16 + 9) == (25, 42, 29, 46)
    assert found.box(0) == (0, 17, 0, 17) and found.box(16 * 16 - 1) == (47, 64, 47, 64)


def test_small_fields_are_a_quarter_of_the_side():
    top, bottom, left, right = receptive_field(network(), layer("0"), 64).box(16 * 32 + 16)
    assert (bottom - top, right - left) == (16, 16) and top <= 31 < bottom


def test_a_gate_over_the_whole_picture_makes_it_the_whole_picture():
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.gate = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 8)
            self.out = nn.Identity()

        def forward(self, x):
            x = self.conv(x)
            return self.out(x * torch.sigmoid(self.gate(x.mean(dim=(2, 3))))[:, :, None, None])

    found = receptive_field(Gated().eval(), layer("out"), 32)
    assert found.size == 32 and found.box(5) == (0, 32, 0, 32)


def test_what_has_no_map_has_no_field():
    assert receptive_field(network(), layer("0", LayerKind.TOKENS), 32) is None
