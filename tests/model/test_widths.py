"""A model is rebuilt from the widths that a cut left."""

import pytest
import torch
from torch import nn

from services.model.errors import BadConfig
from services.model.training.pruning import scores
from services.model.training.structured import choose_channels, cut_channels, groups_of
from services.model.widths import changed_widths, set_widths


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    ).eval()  # fmt: skip


X = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_rebuilt_model_computes_what_the_cut_one_does(scope):
    whole = net()
    groups = groups_of(whole, X[:1], scores(whole, "magnitude"), ["7"])
    cut = cut_channels(whole, X[:1], choose_channels(groups, 0.5, scope=scope)).model
    widths = changed_widths(whole, cut)
    again = net()
    set_widths(again, widths)
    again.load_state_dict(cut.state_dict())
    torch.testing.assert_close(again(X), cut(X), rtol=0, atol=0)
    assert changed_widths(cut, again) == {}
    assert sum(p.numel() for p in again.parameters()) < sum(p.numel() for p in whole.parameters())


def test_the_layer_scope_takes_the_same_share_of_every_group():
    whole = net()
    groups = groups_of(whole, X[:1], scores(whole, "magnitude"), ["7"])
    gone = choose_channels(groups, 0.5, scope="layer")
    assert len(groups) == 2 and all(len(gone[group.root]) == len(group.scores) / 2 for group in groups)


@pytest.mark.parametrize(
    "told",
    [
        [1], {"0": 3}, {"9": {"out_channels": 2}}, {"0": {"weight": 2}}, {"0": {"out_channels": 9}},
        {"0": {"out_channels": 0}}, {"0": {"out_channels": "2"}},
    ],
)  # fmt: skip
def test_other_widths_are_refused(told):
    with pytest.raises(BadConfig):
        set_widths(net(), told)
