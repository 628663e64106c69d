"""CP-LRP and AttnLRP against an independent form: modified gradients times input (LXT's efficient formulation)."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from services.model.attribution import COMPOSITES, Assignment, Attention, Composite, Gate, Residual, attribute
from services.model.attribution.attention import routed
from services.model.attribution.errors import BadRuleParameter
from tests.model.attribution.nets import GatedLanguage, Transformer, doubles, seeded

CP, ATTN = Attention(), Attention(0.5, 0.25, 0.25)


def exact(*assignments: Assignment) -> Composite:
    lrp0 = COMPOSITES["lrp0"]
    return replace(lrp0, assignments=(*assignments, *lrp0.assignments))


def slowed(x, share):
    return x * share + (x * (1 - share)).detach()


def normed(x, layer):
    centred = x - x.mean(-1, keepdim=True)
    spread = (centred.detach().pow(2).mean(-1, keepdim=True) + layer.eps).sqrt()
    return centred / spread * layer.weight + layer.bias


def block(x, layer, *, cp):
    h = normed(x, layer.norm1)
    both = F.linear(h, layer.attention.in_proj_weight, layer.attention.in_proj_bias)
    q, k, v = both.reshape(*h.shape[:2], 3, layer.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    if not cp:
        q, k, v = slowed(q, 0.25), slowed(k, 0.25), slowed(v, 0.5)
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
    out = (weights.detach() if cp else weights) @ v
    x = x + layer.attention.out_proj(out.transpose(1, 2).flatten(2))
    z = layer.up(normed(x, layer.norm2))
    return x + layer.down(z * (F.gelu(z) / z).detach())


def reference(model, x, target, *, cp):
    leaf = x.clone().requires_grad_()
    h = model.patches(leaf).flatten(2).transpose(1, 2)
    h = torch.cat([model.token.expand(len(x), -1, -1), h], dim=1) + model.positions
    for layer in model.blocks:
        h = block(h, layer, cp=cp)
    out = model.head(normed(h, model.norm)[:, 0])
    return x * torch.autograd.grad(out[:, target].sum(), leaf)[0]


@pytest.mark.parametrize(("policy", "cp"), [(CP, True), (ATTN, False)])
def test_transformer_relevance_is_input_times_the_modified_gradient(policy, cp):
    model, x = seeded(Transformer), doubles(2, 3, 8, 8)
    found = attribute(model, x, 2, exact(Assignment(policy)))
    torch.testing.assert_close(found.relevance, reference(model, x, 2, cp=cp), rtol=1e-8, atol=1e-12)


def test_a_gate_shares_as_it_is_told():
    class Product(torch.nn.Module):
        def forward(self, x):
            return (x[:, :1] * x[:, 1:]).sum(1, keepdim=True)

    x = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    for first in (0.0, 0.5, 1.0):
        found = attribute(seeded(Product), x, 0, exact(Assignment(Gate(first))))
        torch.testing.assert_close(found.relevance, 6 * torch.tensor([[first, 1 - first]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("policy", "shares"),
    [
        (Residual("eps", eps=0.0), [3.0, -1.0]),
        (Residual("abs", eps=0.0), [1.5, 0.5]),
        (Residual("positive", eps=0.0), [2.0, 0.0]),
        (Residual("fixed", skip=0.25), [0.5, 1.5]),
    ],
)
def test_a_sum_of_3_and_minus_1_is_shared_by_the_residual_rule(policy, shares):
    class Sum(torch.nn.Module):
        def forward(self, x):
            return x[:, :1] + x[:, 1:]

    found = attribute(
        seeded(Sum), torch.tensor([[3.0, -1.0]], dtype=torch.float64), 0, Composite((Assignment(policy),))
    )
    torch.testing.assert_close(found.relevance[0], torch.tensor(shares, dtype=torch.float64))


def test_routing_sharpens_and_mixes_with_its_anchor():
    weights = torch.tensor([[0.8, 0.2], [0.4, 0.6]], dtype=torch.float64)
    torch.testing.assert_close(
        routed(weights, Attention(temperature=0.5))[0], torch.tensor([0.64, 0.04], dtype=torch.float64) / 0.68
    )
    torch.testing.assert_close(routed(weights, Attention(mix=0.5))[0], torch.tensor([0.7, 0.3], dtype=torch.float64))
    torch.testing.assert_close(
        routed(weights, Attention(mix=0.5, anchor="identity"))[1], torch.tensor([0.2, 0.8], dtype=torch.float64)
    )
    assert routed(weights, Attention()) is None


@pytest.mark.parametrize(
    "parameters", [{"value": 0.5}, {"value": 2.0, "query": -1.0}, {"temperature": 0.0}, {"mix": 2.0}]
)
def test_attention_parameters_outside_their_range_are_refused(parameters):
    with pytest.raises(BadRuleParameter):
        Attention(**parameters)


def test_rms_norm_written_out_passes_relevance_like_the_function():
    class Written(torch.nn.Module):
        def forward(self, x):
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)

    class Called(torch.nn.Module):
        def forward(self, x):
            return F.rms_norm(x, (4,), eps=1e-6)

    x = doubles(2, 4)
    first, second = (attribute(seeded(kind), x, 1, "epsilon") for kind in (Written, Called))
    torch.testing.assert_close(first.relevance, second.relevance)
    torch.testing.assert_close(first.relevance[:, 1], first.score)


def test_later_tokens_get_nothing_from_an_earlier_position():
    model, ids = seeded(GatedLanguage), torch.tensor([[1, 5, 3, 2]])
    found = attribute(model, ids, lambda output: output[:, 1, 7], "attnlrp")
    assert float(found.relevance[0, 2:].abs().max()) == 0
    assert float(found.relevance[0, :2].abs().min()) > 0
