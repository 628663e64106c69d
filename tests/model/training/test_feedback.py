"""Feedback: the golden network, the proposition, and what the reference package gets wrong."""

import copy
import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from services.kit.torchvision_ops import mend_torchvision
from services.model.training import LFP, Step, rewards
from services.model.training.errors import (
    FeedbackOptionError,
    FrozenParameterWarning,
    NoRuleError,
    OpaqueModuleError,
)


@pytest.fixture(autouse=True)
def exact():
    """float64 and a seed; exact zeros that need a floor are not news in here."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FrozenParameterWarning)
        yield
    torch.set_default_dtype(before)


def feedback(model, x, y, **options):
    lfp = LFP(model, floor=0, reduction="sum", **options)
    with lfp:
        out = model(x)
    return lfp.feedback(out, rewards.softmax(out, y))


def scaled_gradients(model, x, y):
    """-|p| times the gradient of the summed cross-entropy, by plain autograd."""
    parts = dict(model.named_parameters())
    loss = F.cross_entropy(model(x), y, reduction="sum")
    return {
        name: -part.detach().abs() * grad
        for (name, part), grad in zip(parts.items(), torch.autograd.grad(loss, list(parts.values())), strict=True)
    }


def assert_proposition(model, x, y, tolerance=1e-9):
    torch.manual_seed(3)  # the same dropout masks on both sides
    found = feedback(model, x, y)
    torch.manual_seed(3)
    due = scaled_gradients(model, x, y)
    assert found.keys() == due.keys()
    for name in due:
        size = due[name].abs().max().clamp(min=1e-6)  # a bias before normalisation has gradient 0 but for rounding
        assert float((found[name] - due[name]).abs().max() / size) <= tolerance, name


class Skips(nn.Module):
    """Convolutions, normalisation, both pools, dropout, a functional skip, and a linear layer used twice."""

    def __init__(self, act=F.relu, drop=0.5):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.twice, self.head = nn.Linear(24, 24), nn.Linear(24, 4)
        self.drop, self.act = nn.Dropout(drop), act
        for norm in (self.bn1,):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)

    def forward(self, x):
        x = F.max_pool2d(self.act(self.bn1(self.conv1(x))), 2)
        x = F.avg_pool2d(x + self.act(self.conv2(x)), 2)
        x = self.drop(x.flatten(1))
        x = self.drop(self.act(self.twice(x)))
        return self.head(self.act(self.twice(x)))


X, Y = (5, 3, 8, 8), torch.tensor([0, 1, 2, 3, 0])


def test_golden_network():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1, -1, 0.5], [-0.5, 2, 1], [2, 1, -1]]))
        model[0].bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
        model[2].weight.copy_(torch.tensor([[1, -0.5, 0.25], [-1, 1, 0.5]]))
        model[2].bias.copy_(torch.tensor([0.05, -0.1]))
    lfp = LFP(model, floor=0, record=["0"])
    with lfp:
        out = model(torch.tensor([[1, -0.5, 2.0]]))
    reward = rewards.softmax(out, torch.tensor([1]))
    close = lambda a, b: torch.testing.assert_close(a, torch.tensor(b), atol=1e-8, rtol=0)  # noqa: E731
    close(out.detach(), [[2.5, -2.4]])
    close(lfp.rewards(out, reward)["0"], [[-5.16156399, 0.44667381, 0]])
    found = lfp.feedback(out, reward)
    close(found["2.weight"], [[-2.58078199, -0.14889127, 0], [2.58078199, 0.29778254, 0]])
    close(found["2.bias"], [-0.04963042, 0.09926085])
    close(found["0.weight"], [[-1.98521692, 0.99260846, -1.98521692], [0.74445634, -1.48891269, 2.97782538], [0, 0, 0]])
    close(found["0.bias"], [-0.19852169, 0.29778254, 0])


@pytest.mark.parametrize("act", [F.relu, F.leaky_relu])
@pytest.mark.parametrize("training", [True, False])
def test_feedback_is_the_scaled_gradient_on_homogeneous_networks(act, training):
    """Pools, normalisation, skips, dropout (reference: doubled), a layer used twice (reference: last use only)."""
    model = Skips(act).train(training)
    assert_proposition(model, torch.randn(X), Y)


def test_an_unmodified_resnet_holds_the_proposition_and_stays_what_it_was():
    mend_torchvision()
    import torchvision

    model = torchvision.models.resnet18(num_classes=4).double().eval()
    types, keys = [type(part) for part in model.modules()], list(model.state_dict())
    assert_proposition(model, torch.randn(2, 3, 32, 32), torch.tensor([1, 2]))
    assert [type(part) for part in model.modules()] == types
    assert list(model.state_dict()) == keys
    assert not any(part._forward_hooks for part in model.modules())


def test_a_layer_used_twice_gets_the_sum_of_both_uses():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    apart = nn.Sequential(shared, nn.ReLU(), copy.deepcopy(shared))
    x, y = torch.randn(6, 4), torch.randint(4, (6,))
    one, two = feedback(model, x, y), feedback(apart, x, y)
    torch.testing.assert_close(one["0.weight"], two["0.weight"] + two["2.weight"], atol=1e-12, rtol=0)


def test_the_mean_is_the_sum_over_the_batch_size():
    model, x = Skips().eval(), torch.randn(X)
    lfp = LFP(model, floor=0)
    with lfp:
        out = model(x)
    mean = lfp.feedback(out, rewards.softmax(out, Y))
    for name, total in feedback(model, x, Y).items():
        torch.testing.assert_close(mean[name] * len(x), total, rtol=1e-12, atol=1e-15)


CURVED = {
    "tanh": (torch.tanh, lambda z: torch.tanh(z) / z),
    "silu": (F.silu, torch.sigmoid),
    "gelu": (F.gelu, lambda z: 0.5 * (1 + torch.erf(z / 2**0.5))),
    "elu": (F.elu, lambda z: F.elu(z) / z),
    "sigmoid": (torch.sigmoid, lambda z: (torch.sigmoid(z) - 0.5) / z),
    "softplus": (F.softplus, lambda z: (F.softplus(z) - torch.log(torch.tensor(2.0))) / z),
    "step": (lambda z: Step()(z), lambda z: 1 / (2 * (z.abs() + 0.5))),
    "relu6": (F.relu6, lambda z: F.relu6(z) / z),
}


@pytest.mark.parametrize("name", CURVED)
def test_reward_passes_an_activation_by_its_chord(name):
    call, slope = CURVED[name]
    z = torch.tensor([[-8.0, -1.3, -0.2, 0.4, 2.0, 9.0]], requires_grad=True)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.z = nn.Parameter(z.detach().clone())

        def forward(self):
            return call(self.z)

    model = Model()
    found = None
    lfp = LFP(model, floor=1.0, reduction="sum")
    with lfp:
        out = model()
    (found,) = torch.autograd.grad(out, [model.z], torch.ones_like(out))
    torch.testing.assert_close(found, slope(z.detach()), atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(out.detach(), call(z.detach()), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("call", "limit"), [(torch.tanh, 1.0), (torch.sigmoid, 0.25), (F.silu, 0.5), (F.softplus, 0.5)]
)
def test_the_chord_at_zero_is_the_limit(call, limit):
    model = nn.Linear(2, 2, bias=False)
    z = torch.zeros(1, 2, requires_grad=True)
    with LFP(model):
        out = call(z)
    (found,) = torch.autograd.grad(out, [z], torch.ones_like(out))
    torch.testing.assert_close(found, torch.full((1, 2), limit))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_relu6_passes_nothing_just_below_zero_and_everything_just_above(dtype):
    z = torch.tensor([[-5e-5, 0.0, 5e-5]], dtype=dtype, requires_grad=True)
    with LFP(nn.Linear(1, 1)):
        out = F.relu6(z)
    (found,) = torch.autograd.grad(out, [z], torch.ones_like(out))
    assert found.tolist() == [[0.0, 0.0, 1.0]]


def test_uncentred_chords_are_the_reference():
    z = torch.tensor([[-2.0, 0.5]], requires_grad=True)
    with LFP(nn.Linear(1, 1), centre=False):
        out, step = torch.sigmoid(z), Step()(z)
    (soft,) = torch.autograd.grad(out, [z], torch.ones_like(out))
    (hard,) = torch.autograd.grad(step, [z], torch.ones_like(step))
    torch.testing.assert_close(soft, (torch.sigmoid(z) / z).detach())
    torch.testing.assert_close(hard, torch.tensor([[0.0, 2.0]]))


def test_epsilon_absorbs_what_lrp_epsilon_absorbs():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(5, 3)
    y, eps = torch.randint(2, (5,)), 0.3
    found = feedback(model, x, y, eps=eps)
    sign = lambda z: torch.where(z >= 0, 1.0, -1.0)  # noqa: E731
    z1 = model[0](x)
    a1 = z1.relu()
    o = model[2](a1)
    r = o * (F.one_hot(y, 2) - o.softmax(-1))
    s2 = r / (o + eps * sign(o))
    r1 = a1 * (s2 @ model[2].weight)
    s1 = r1 / (z1 + eps * sign(z1))
    torch.testing.assert_close(found["2.weight"], model[2].weight.abs() * (s2.T @ a1), atol=1e-12, rtol=0)
    torch.testing.assert_close(found["0.weight"], model[0].weight.abs() * (s1.T @ x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("rule", ["gamma", "zplus"])
def test_pooled_rules_give_the_sign_of_the_weight_times_its_relevance(rule):
    """By the definition of the rule, message by message; the last layer keeps epsilon."""
    gamma = 0.25
    model, x = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), torch.randn(6, 4)
    y = torch.randint(3, (6,))
    found = feedback(model, x, y, rule=rule, gamma=gamma)
    w, b, z1 = model[0].weight, model[0].bias, model[0](x)
    a1, o = z1.relu(), model[2](z1.relu())
    s2 = F.one_hot(y, 3) - o.softmax(-1)
    torch.testing.assert_close(found["2.weight"], model[2].weight.abs() * (s2.T @ a1), atol=1e-12, rtol=0)
    r1 = a1 * (s2 @ model[2].weight)  # [B, 5]; r = s z on active units, 0 on the others
    messages = x[:, None, :] * w[None]  # [B, 5, 4]
    up, down = messages.clamp(min=0), messages.clamp(max=0)
    p, n = up.sum(-1) + b.clamp(min=0), down.sum(-1) + b.clamp(max=0)
    if rule == "zplus":
        kp, kn = r1 / (p + 1e-9), torch.zeros_like(r1)
    else:  # only z > 0 has reward here, so the generalised rule is the plain one
        share = r1 / ((1 + gamma) * p + n)
        kp, kn = (1 + gamma) * share, share
    relevance = (up * kp[..., None] + down * kn[..., None]).sum(0)
    torch.testing.assert_close(found["0.weight"], torch.sign(w) * relevance, atol=1e-6, rtol=1e-6)


def test_uniform_attention_scales_query_key_and_value():
    torch.manual_seed(1)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.randn(2, 5, 8)

    def slope(**options):
        inputs = [x.clone().requires_grad_() for _ in range(3)]
        with LFP(attention, floor=0, **options):
            out, weights = attention(*inputs)
        return torch.autograd.grad(out.sum() + out.square().sum(), inputs), out, weights

    full, out, weights = slope()
    uniform, same, told = slope(attention="uniform")
    torch.testing.assert_close(out, same)
    torch.testing.assert_close(weights, told)
    for whole, part, share in zip(full, uniform, (4, 4, 2), strict=True):
        torch.testing.assert_close(part * share, whole)


def test_an_operation_without_a_rule_is_named_with_its_call_site():
    model = nn.Linear(2, 2)
    with pytest.raises(NoRuleError, match=r"torch\.round has no derivative.*test_feedback\.py:\d+"), LFP(model):
        torch.round(model(torch.ones(1, 2)))


def test_threads_do_not_see_each_others_feedback():
    z, seen = torch.tensor([2.0], requires_grad=True), []

    def other():
        out = torch.tanh(z)
        seen.append(torch.autograd.grad(out, z, torch.ones(1))[0])

    with LFP(nn.Linear(1, 1)):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    torch.testing.assert_close(seen[0], 1 - torch.tanh(z.detach()) ** 2)


def test_nesting_is_refused_and_an_exception_leaves_nothing_behind():
    model = nn.Linear(2, 2)
    lfp = LFP(model, record=[""])
    with pytest.raises(FeedbackOptionError, match="another"), lfp, LFP(model):
        pass
    with pytest.raises(ZeroDivisionError), lfp:
        raise ZeroDivisionError
    assert not model._forward_hooks
    z = torch.tensor([2.0], requires_grad=True)
    out = torch.tanh(z)
    torch.testing.assert_close(torch.autograd.grad(out, z, torch.ones(1))[0], 1 - torch.tanh(z.detach()) ** 2)


def test_scripted_modules_are_refused():
    model = nn.Sequential(nn.Linear(2, 2), torch.jit.script(nn.Linear(2, 2)))
    with pytest.raises(OpaqueModuleError, match="1 is compiled"):
        LFP(model)


@pytest.mark.parametrize("option", [{"rule": "beta"}, {"reduction": "max"}, {"floor": {"weights": 1.0}}])
def test_unknown_options_are_refused(option):
    with pytest.raises(FeedbackOptionError, match="known are"):
        LFP(nn.Linear(1, 1), **option)
