"""Cutting channels: the smaller network is the one with silenced channels."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from services.kit.torchvision_ops import mend_torchvision
from services.model.training.errors import PruneAllError
from services.model.training.pruning import scores
from services.model.training.structured import choose_channels, cut_channels, groups_of, masked_channels
from services.model.weights import draw_weights


class Net(nn.Module):
    """A skip, a depthwise convolution and a flattened map."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.block = nn.Conv2d(8, 8, 3, padding=1)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 12, 1)
        self.fc, self.head = nn.Linear(12 * 16, 20), nn.Linear(20, 5)

    def forward(self, x):
        x = F.relu(self.bn(self.stem(x)))
        x = F.relu(x + self.block(x))
        x = F.relu(self.point(F.relu(self.depth(x))))
        x = F.max_pool2d(x, 2).flatten(1)
        return self.head(F.relu(self.fc(x)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    model = Net()
    model.train()
    for _ in range(3):
        model(torch.randn(8, 3, 8, 8))
    return model.eval()


X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_channels_that_meet_are_one_group(net):
    found = {frozenset(group.members) for group in groups_of(net, X[:1], scores(net, "magnitude"), ["head"])}
    assert found == {frozenset({"stem", "block", "depth"}), frozenset({"point"}), frozenset({"fc"})}


def test_a_groups_score_is_the_sum_over_its_members(net):
    size = scores(net, "magnitude")
    group = next(group for group in groups_of(net, X[:1], size, ["head"]) if "stem" in group.members)
    due = sum(size[f"{name}.weight"].flatten(1).sum(1) for name in ("stem", "block", "depth"))
    torch.testing.assert_close(group.scores, due)


@pytest.mark.parametrize("amount", [0.2, 0.5, 0.8])
def test_the_cut_network_is_the_silenced_one(net, amount):
    groups = groups_of(net, X[:1], scores(net, "magnitude"), ["head"])
    removed = choose_channels(groups, amount)
    assert sum(len(channels) for channels in removed.values()) == int(amount * 40)
    cut = cut_channels(net, X[:1], removed)
    torch.testing.assert_close(cut.model(X), masked_channels(net, groups, removed)(X), atol=1e-5, rtol=1e-5)
    count = lambda model: sum(part.numel() for part in model.parameters())  # noqa: E731
    assert count(cut.model) < count(net) * (1 - amount / 2)
    assert count(net) == count(Net())  # the original is untouched


def test_one_channel_of_each_group_stays(net):
    groups = groups_of(net, X[:1], scores(net, "magnitude"), ["head"])
    removed = choose_channels(groups, 37 / 40)
    assert [len(removed[group.root]) for group in groups] == [len(group.scores) - 1 for group in groups]
    with pytest.raises(PruneAllError, match="would empty"):
        choose_channels(groups, 0.95)


@pytest.mark.parametrize("criterion", ["magnitude", "relevance"])
def test_a_spiking_net_is_cut_and_is_the_silenced_one(criterion):
    spiking, _ = draw_weights("spiking:cnn", {"side": 16, "num_classes": 4}, 0)
    model, x = spiking.model, torch.randn(8, 3, 16, 16)
    answers = model(x)
    worth = scores(model, criterion, [(x, answers.argmax(1))])
    groups = groups_of(model, x[:1], worth, keep=["layers.2.1"])
    assert {group.root: len(group.scores) for group in groups} == {"layers.0.0": 16, "layers.1.0": 32}
    removed = choose_channels(groups, 0.4)
    smaller = cut_channels(model, x[:1], removed).model
    assert smaller.layers[2][1].in_features < model.layers[2][1].in_features
    assert torch.equal(smaller(x), masked_channels(model, groups, removed)(x))
    assert torch.equal(model(x), answers)


def test_an_efficientnet_is_cut():
    mend_torchvision()
    import timm

    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnet_lite0", num_classes=5).eval()
    example = torch.randn(1, 3, 64, 64)
    groups = groups_of(model, example, scores(model, "magnitude"), ["classifier"])
    cut = cut_channels(model, example, choose_channels(groups, 0.3))
    assert cut.model(example).shape == (1, 5)
    assert sum(part.numel() for part in cut.model.parameters()) < 0.7 * sum(part.numel() for part in model.parameters())
