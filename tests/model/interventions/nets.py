"""Tiny networks whose activations are known."""

import torch
from torch import nn

from services.model.interventions import Step


class Pair(nn.Module):
    """Puts out a tuple, as decoder layers do."""

    def forward(self, x):
        return x * 1.0, "cache"


class Sequence(nn.Module):
    """[B, T] token ids -> [B, T, 4]: an embedding, a block with a tuple, a second block."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.first = Pair()
        self.second = nn.Linear(4, 4)

    def forward(self, ids):
        return self.second(self.first(self.embed(ids))[0])


class Conv(nn.Module):
    """[B, 3, 8, 8] -> [B, 5]."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.act = nn.ReLU()
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.act(self.conv(x)).mean((2, 3)))


def conv_net():
    torch.manual_seed(0)
    return Conv().eval().requires_grad_(False), torch.randn(4, 3, 8, 8)


def sequence_net():
    torch.manual_seed(0)
    return Sequence().eval().requires_grad_(False), torch.arange(10).view(2, 5)


def step(layer, vector, change="add", strength=1.0, **more):
    direction = torch.tensor(vector, dtype=torch.float32)
    return Step(layer, direction / direction.norm(), change, strength, **more)


def hooks_of(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())
