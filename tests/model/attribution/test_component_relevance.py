import pytest
import torch
from torch import nn

from services.kit.torchvision_ops import mend_torchvision
from services.model.attribution.components import (
    Site,
    ablated_scores,
    ablation_check,
    ablation_effects,
    absolute_normalised,
    component_relevance,
)
from services.model.attribution.errors import BadCondition, TargetOutOfRange, UnknownLayerName

INPUTS = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
TARGET = torch.tensor([0, 1, 1])


class Net(nn.Module):
    """Linear from the named layer on, so that relevance and ablation agree exactly; `skip` adds the layer's input."""

    def __init__(self, *, concat=False):
        super().__init__()
        torch.manual_seed(0)
        self.concat = concat
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.layer = nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(12 if concat else 6, 2)
        self.first_rows = []

    def forward(self, x):
        before = self.first(x).relu()
        self.first_rows.append(len(before))
        after = self.layer(before)
        joined = torch.cat([after, before], 1) if self.concat else after + before
        return self.head(joined.mean((2, 3)))


def expected(net):
    activation = net.layer(net.first(INPUTS).relu())
    return (activation.mean((2, 3)) * net.head.weight[TARGET, :6]).detach()


@pytest.mark.parametrize("concat", [False, True], ids=["residual", "concatenation"])
def test_relevance_is_the_ablation_effect_where_the_rest_is_linear(concat):
    net = Net(concat=concat).eval()
    relevance = component_relevance(net, Site("layer"), INPUTS, TARGET)
    assert torch.allclose(relevance, expected(net), atol=1e-6)
    effects = ablation_effects(net, Site("layer"), INPUTS, TARGET, torch.arange(6))
    assert torch.allclose(effects, relevance, atol=1e-5)


def test_the_beginning_runs_on_one_row_where_the_rest_allows_it():
    net = Net().eval()
    ablation_effects(net, Site("layer"), INPUTS, TARGET, torch.arange(6))
    assert set(net.first_rows) == {1}
    joined = Net(concat=True).eval()
    ablation_effects(joined, Site("layer"), INPUTS, TARGET, torch.arange(6))
    assert 7 in joined.first_rows


def test_ablation_to_a_mean_replaces_by_that_value():
    net = Net().eval()
    value = torch.linspace(-1, 1, 6)
    effects = ablation_effects(net, Site("layer"), INPUTS, TARGET, torch.arange(6), value=value)
    assert torch.allclose(effects, expected(net) - value * net.head.weight[TARGET].detach(), atol=1e-5)


def test_the_two_signs_of_a_unit_add_up():
    net = Net().eval()
    whole = component_relevance(net, Site("layer"), INPUTS, TARGET)
    parts = [component_relevance(net, Site("layer"), INPUTS, TARGET, sign=sign) for sign in (1, -1)]
    assert torch.allclose(sum(parts), whole, atol=1e-6)
    activation = net.layer(net.first(INPUTS).relu()).clamp(min=0).mean((2, 3))
    assert torch.allclose(parts[0], (activation * net.head.weight[TARGET]).detach(), atol=1e-6)


def test_tokens_have_their_components_on_the_last_axis():
    mend_torchvision()
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    vit = VisionTransformer(img_size=8, patch_size=4, embed_dim=12, depth=2, num_heads=2, num_classes=2)
    vit = vit.eval().requires_grad_(False)
    site = Site("blocks.1.attn.qkv", axis=-1)
    assert component_relevance(vit, site, INPUTS, TARGET).shape == (3, 36)
    effects = ablation_effects(vit, site, INPUTS, TARGET, torch.tensor([30, 3]))
    blocks = Site("blocks.1", axis=-1)
    plain = vit(INPUTS).gather(1, TARGET.unsqueeze(1))
    handle = vit.blocks[1].attn.qkv.register_forward_hook(lambda m, i, out: out * (torch.arange(36) != 30))
    assert torch.allclose(effects[:, :1], plain - vit(INPUTS).gather(1, TARGET.unsqueeze(1)), atol=1e-5)
    handle.remove()
    assert component_relevance(vit, blocks, INPUTS, TARGET).shape == (3, 12)


def test_the_check_rewards_the_right_order():
    net = Net().eval()
    relevance = component_relevance(net, Site("layer"), INPUTS, TARGET)
    effects, check = ablation_check(net, Site("layer"), INPUTS, TARGET, relevance, torch.arange(6), steps=6)
    assert torch.allclose(effects, relevance, atol=1e-5)
    assert check.spearman.tolist() == pytest.approx([1, 1, 1])
    assert (check.area < check.random).all()
    _, reverse = ablation_check(net, Site("layer"), INPUTS, TARGET, -relevance, torch.arange(6), steps=6)
    assert reverse.spearman.tolist() == pytest.approx([-1, -1, -1])
    assert (reverse.area > reverse.random).all()


def test_shares_have_unit_absolute_sum():
    assert absolute_normalised(torch.tensor([[3.0, -1.0]])).tolist() == [[0.75, -0.25]]


def test_bad_places_are_refused():
    net = Net().eval()
    with pytest.raises(UnknownLayerName):
        component_relevance(net, Site("absent"), INPUTS, TARGET)
    with pytest.raises(BadCondition):
        ablation_effects(net, Site("layer"), INPUTS, TARGET, torch.tensor([6]))
    with pytest.raises(TargetOutOfRange):
        component_relevance(net, Site("layer"), INPUTS, 2)
    scores = ablated_scores(net, Site("layer"), INPUTS, TARGET, torch.zeros(1, 6, dtype=torch.bool))
    assert torch.allclose(scores, net(INPUTS).gather(1, TARGET.unsqueeze(1)))
    assert not any(module._forward_hooks for module in net.modules())
