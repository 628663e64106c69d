"""The small classifiers of scenes: a convolutional net and a vision transformer."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import torch
from torch import nn

from contracts.model import Preprocessing
from services.kit.scenes import SHAPES
from services.model.adapters.port import Built

SIDE = 64
HALF = (0.5, 0.5, 0.5)
HOW = Preprocessing(resize=SIDE, crop=SIDE, interpolation="bilinear", mean=HALF, std=HALF)
CLASSES = list(SHAPES)
WIDTHS = (32, 48, 64, 96)
HIDDEN = 64


def scenes_cnn() -> Built:
    """Four convolutions with ReLU, mean over the picture, one hidden layer; every layer has a name.

    Layers `relu1` … `relu4` are maps [B, 32|48|64|96, 32|16|16|8, …], `relu5` is [B, 64], `head` [B, 6] logits.
    """
    return Built(_convolutions(normed=False), HOW, classes=CLASSES)


def _convolutions(*, normed: bool) -> nn.Sequential:
    first, second, third, fourth = WIDTHS
    steps: list[tuple[str, nn.Module]] = []
    for number, (before, width, kernel, stride) in enumerate(
        ((3, first, 5, 2), (first, second, 3, 2), (second, third, 3, 1), (third, fourth, 3, 2)), 1
    ):
        steps.append((f"conv{number}", nn.Conv2d(before, width, kernel, stride, kernel // 2)))
        if normed:
            steps.append((f"norm{number}", nn.BatchNorm2d(width)))
        steps.append((f"relu{number}", nn.ReLU()))
    steps += [
        ("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten()), ("fc", nn.Linear(fourth, HIDDEN)),
        ("relu5", nn.ReLU()), ("head", nn.Linear(HIDDEN, len(CLASSES))),
    ]  # fmt: skip
    return nn.Sequential(OrderedDict(steps))


def cnn_for_training() -> nn.Module:
    """The same net with batch norm behind every convolution: it learns faster, and `without_norm` removes it."""
    return _convolutions(normed=True)


def without_norm(trained: nn.Module, plain: nn.Module) -> nn.Module:
    """Give `plain` the weights of `trained`, each batch norm folded into its convolution; outputs stay as they are."""
    state = {name: part for name, part in trained.state_dict().items() if name in plain.state_dict()}
    for name, norm in trained.named_modules():
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        conv = name.replace("norm", "conv")
        factor = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
        state[f"{conv}.weight"] = state[f"{conv}.weight"] * factor[:, None, None, None]
        state[f"{conv}.bias"] = (state[f"{conv}.bias"] - norm.running_mean) * factor + norm.bias.detach()
    plain.load_state_dict(state)
    return plain.eval()


class Stem(nn.Module):
    """Three convolutions in place of one patch embedding, to tokens of 8 px; [B, 3, 64, 64] -> [B, 64, width].

    A transformer this small learns several times faster behind early convolutions (Xiao et al. 2021,
    arXiv 2106.14881). Only `width` is used of what timm hands to an embedding.
    """

    def __init__(self, *, embed_dim: int, normed: bool, **_: object) -> None:
        super().__init__()
        self.num_patches, self.grid_size, self.patch_size = 64, (8, 8), (8, 8)
        steps: list[tuple[str, nn.Module]] = []
        for number, (before, width) in enumerate(((3, 24), (24, 48)), 1):
            steps.append((f"conv{number}", nn.Conv2d(before, width, 3, 2, 1)))
            if normed:
                steps.append((f"norm{number}", nn.BatchNorm2d(width)))
            steps.append((f"relu{number}", nn.ReLU()))
        steps.append(("proj", nn.Conv2d(48, embed_dim, 2, 2)))
        self.steps = nn.Sequential(OrderedDict(steps))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Tokens row by row."""
        return self.steps(pictures).flatten(2).transpose(1, 2)


def scenes_vit() -> Built:
    """A vision transformer of timm with a convolutional stem: 64 patches and a class token, 3 blocks of width 64."""
    return Built(_transformer(normed=False), HOW, classes=CLASSES, special_tokens=1)


def vit_for_training() -> nn.Module:
    """The same net with batch norm in the stem, and position embeddings that begin as sines."""
    model = _transformer(normed=True)
    with torch.no_grad():
        model.pos_embed[0, 1:] = 0.3 * _sines(8, model.embed_dim)
    return model


def _transformer(*, normed: bool) -> nn.Module:
    from services.kit.torchvision_ops import mend_torchvision

    mend_torchvision()
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=SIDE, patch_size=8, embed_dim=64, depth=3, num_heads=4, mlp_ratio=2.0, num_classes=len(CLASSES),
        embed_layer=partial(Stem, normed=normed),
    )  # fmt: skip


def _sines(side: int, width: int) -> torch.Tensor:
    """Sines and cosines of row and column; [side², width]."""
    row, column = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    waves = 1.2 * 10.0 ** (-torch.arange(width // 4) / (width // 4))
    parts = [turn(place.flatten()[:, None] * waves) for place in (row, column) for turn in (torch.sin, torch.cos)]
    return torch.cat(parts, dim=1)
