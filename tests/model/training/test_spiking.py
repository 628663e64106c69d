"""Spiking layers: snntorch's neurons and surrogate gradients, and feedback by the definition."""

import pytest
import torch
from torch import nn

from services.model.attribution.engine import attribute
from services.model.attribution.errors import NoRule
from services.model.training.engine import LFP
from services.model.training.errors import FeedbackOptionError
from services.model.training.rewards import Reward
from services.model.training.spiking import Neuron, SpikingNet, encode_constant, encode_rate, leaky, rate_coded

RESETS = pytest.mark.parametrize("reset", ["subtract", "zero"])


def small(reset, seed=0):
    torch.manual_seed(seed)
    return SpikingNet([nn.Linear(4, 6), nn.Linear(6, 3)], Neuron(reset=reset))


def fed_back(net, inputs, push):
    """Feedback of a push at the counts, by parameter name, summed over the batch."""
    lfp = LFP(net, reduction="sum", floor=0.0)
    with lfp:
        counts = net.spikes(inputs).sum(0)
    return lfp.feedback(counts, Reward(push) if isinstance(push, torch.Tensor) else push(counts))


def snn(net, inputs, reset):
    """The same net by snntorch."""
    snntorch = pytest.importorskip("snntorch")
    leak = [
        snntorch.Leaky(
            beta=0.9, threshold=1.0, reset_mechanism=reset, reset_delay=True, spike_grad=snntorch.surrogate.atan()
        )
        for _ in range(2)
    ]
    memories = [neuron.init_leaky() for neuron in leak]
    due = []
    for x in inputs:
        for place, neuron in enumerate(leak):
            x, memories[place] = neuron(net.layers[place](x), memories[place])
        due.append(x)
    return torch.stack(due)


@RESETS
def test_spikes_are_those_of_snntorch(reset):
    net, inputs = small(reset), torch.randn(12, 5, 4) * 2
    found = net.spikes(inputs)
    assert 0 < float(found.detach().mean()) < 1
    assert torch.equal(found, snn(net, inputs, reset))
    with LFP(net):
        assert torch.equal(net.spikes(inputs), found)


@RESETS
def test_gradients_are_those_of_snntorch(reset):
    net, inputs = small(reset), torch.randn(12, 5, 4) * 2
    weight = torch.randn(12, 5, 3)
    (net.spikes(inputs) * weight).sum().backward()
    found = {name: part.grad.clone() for name, part in net.named_parameters()}
    net.zero_grad()
    (snn(net, inputs, reset) * weight).sum().backward()
    for name, part in net.named_parameters():
        torch.testing.assert_close(found[name], part.grad)


def by_definition(net, inputs, reward, eps):
    """One sample, one neuron, one message at a time."""
    neuron, layers = net.neuron, [(layer.weight.double(), layer.bias.double()) for layer in net.layers]
    u = [torch.zeros(len(b)).double() for _, b in layers]
    fired = [torch.zeros(len(b)).double() for _, b in layers]
    kept = []
    for x in inputs.double():
        row = []
        for place, (w, b) in enumerate(layers):
            held = u[place] if neuron.reset == "subtract" else (1 - fired[place]) * u[place]
            current = w @ x + b
            v = neuron.beta * held + current
            u[place] = v - neuron.threshold * fired[place] if neuron.reset == "subtract" else v
            row.append((x, neuron.beta * held, current))
            fired[place] = (u[place] > neuron.threshold).double()
            x = fired[place]
        kept.append(row)
    total = [torch.zeros_like(w) for w, _ in layers]
    later = [torch.zeros(len(b)).double() for _, b in layers]
    for step in reversed(range(len(kept))):
        arriving = reward[step].double()
        for place in reversed(range(len(layers))):
            x, decayed, current = kept[step][place]
            w = layers[place][0]
            s = (arriving + later[place]) / (decayed.abs() + current.abs() + eps)
            total[place] += torch.outer(s, x)
            later[place] = decayed * s
            arriving = torch.stack([sum(x[i] * w[j, i] * s[j] for j in range(len(s))) for i in range(len(x))])
    return [w.abs() * part for (w, _), part in zip(layers, total, strict=True)]


@RESETS
def test_feedback_through_time_by_the_definition(reset):
    net = small(reset).double()
    inputs, y = torch.randn(7, 1, 4).double() * 2, torch.tensor([1])
    spikes = net.spikes(inputs)
    push = rate_coded(spikes.sum(0), y, 7).value
    reward = torch.where(push > 0, push, push * spikes)
    found = fed_back(net, inputs, push)
    for place, due in enumerate(by_definition(net, inputs[:, 0], reward[:, 0].detach(), 1e-6)):
        torch.testing.assert_close(found[f"layers.{place}.weight"], due, atol=1e-12, rtol=1e-9)


def test_one_input_for_all_steps_is_mapped_once_and_fed_back_the_same():
    net, x, push = small("subtract").double(), torch.randn(5, 4).double() * 2, torch.randn(5, 3).double()
    calls = []
    net.layers[0].register_forward_hook(lambda _, given, out: calls.append(len(out)))
    once, each = fed_back(net, encode_constant(x, 9), push), fed_back(net, encode_constant(x, 9).contiguous(), push)
    assert calls == [5, 45]
    for name in once:
        torch.testing.assert_close(once[name], each[name])


def test_a_convolution_has_the_feedback_of_the_linear_map_that_it_is():
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 2, 2, bias=False)
    flat = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        flat.weight.copy_(conv.weight.flatten(1))
    inputs, push = torch.randn(5, 3, 1, 2, 2) * 2, torch.randn(3, 2)
    mine = fed_back(SpikingNet([conv]), inputs, push[..., None, None])["layers.0.weight"]
    torch.testing.assert_close(
        mine.flatten(1), fed_back(SpikingNet([flat]), inputs.flatten(2), push)["layers.0.weight"]
    )


def test_rewards_raise_the_true_class_and_lower_others_more_the_more_they_fire():
    push = rate_coded(torch.tensor([[3.0, 0.0, 1.0]]), torch.tensor([1]), 3).value
    torch.testing.assert_close(push[0, 1], (1 - torch.sigmoid(torch.tensor(-1.0))) / 3)
    assert float(push[0, 0]) < float(push[0, 2]) < 0


def test_what_is_wanted_is_told_to_every_step_and_what_is_not_to_those_that_fired():
    current = torch.tensor([[[2.0, 2.0]], [[0.1, 0.1]], [[0.1, 0.1]]], requires_grad=True)
    neuron = Neuron(beta=0.0)
    with LFP(nn.Identity()):
        out = leaky(current, neuron, readout=True)
    assert out[:, 0, 0].tolist() == [1, 0, 0]
    (found,) = torch.autograd.grad(out.sum(0), current, torch.tensor([[1.0, -1.0]]))
    assert bool((found[:, 0, 0] > 0).all())
    assert float(found[0, 0, 1]) < 0 and not found[1:, 0, 1].any()


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the matrices are small
    yield
    torch.set_num_threads(before)


@RESETS
def test_digits_are_learnt_without_a_surrogate(reset, one_thread):
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    pictures, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pictures / 8 - 1, dtype=torch.float32), torch.tensor(labels)
    train, test = torch.arange(len(y)) % 4 != 0, torch.arange(len(y)) % 4 == 0
    net = SpikingNet([nn.Linear(64, 100), nn.Linear(100, 10)], Neuron(reset=reset), steps=10)
    lfp, optimiser = LFP(net), torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(8):
        for batch in train.nonzero().flatten()[torch.randperm(int(train.sum()))].split(128):
            with lfp:
                counts = net(x[batch])
            lfp.backward(counts, rate_coded(counts, y[batch], net.steps))
            optimiser.step()
            optimiser.zero_grad()
    assert float((net(x[test]).argmax(1) == y[test]).float().mean()) > 0.85


def test_rates_are_what_neurons_fire_and_a_hook_that_changes_them_changes_the_answer():
    net, x = small("subtract").eval(), torch.randn(5, 4) * 2
    alone = SpikingNet([net.layers[1]], net.neuron).eval()
    seen = []
    watch = net.rates[0].register_forward_hook(lambda _, given, out: seen.append(out.detach()))
    with torch.no_grad():
        net(x)
        watch.remove()
        assert 0 < float(seen[0].mean()) < 1
        torch.testing.assert_close(seen[0] * net.steps, (seen[0] * net.steps).round())
        before = net(x)
        net.rates[0].register_forward_hook(lambda _, given, out: torch.zeros_like(out))
        silenced = net(x)
    assert torch.equal(silenced, alone(torch.zeros(5, 6)))
    assert not torch.equal(silenced, before)


def test_gradients_pass_the_rates_as_if_they_were_not_there():
    net, x = small("subtract").double(), torch.randn(5, 4).double() * 2
    net(x).sum().backward()
    due = [part.grad.clone() for part in net.parameters()]
    net.zero_grad()
    net.eval()(x).sum().backward()
    for part, gradient in zip(net.parameters(), due, strict=True):
        torch.testing.assert_close(part.grad, gradient)


def test_rates_become_evenly_spaced_spikes():
    spikes = encode_rate(torch.tensor([[0.0, 0.25, 0.5, 1.0, 7.0]]), 8)
    assert spikes.sum(0).tolist() == [[0, 2, 4, 8, 8]]
    assert set(spikes.unique().tolist()) == {0, 1}
    gaps = spikes[:, 0, 1].nonzero().flatten().diff()
    assert gaps.tolist() == [4]


def test_relevance_has_no_rule_for_spikes_and_says_so():
    with pytest.raises(NoRule, match="leaky"):
        attribute(small("subtract").eval(), torch.randn(1, 4), target=0, rule="epsilon")


def test_layers_may_be_bfloat16_and_potentials_stay_exact():
    net, x = small("subtract").bfloat16(), (torch.randn(50, 4) * 2).bfloat16()
    current = net.layers[0](x).float()
    due = leaky(current.expand(15, *current.shape), net.neuron)
    seen = []
    net.layers[1].register_forward_hook(lambda _, given, out: seen.append(given[0]))
    with LFP(net):
        counts = net(x)
    assert counts.dtype == torch.bfloat16
    assert torch.equal(seen[0].float(), due.flatten(0, 1))


def test_an_unknown_reset_is_refused():
    with pytest.raises(FeedbackOptionError, match="subtract, zero"):
        Neuron(reset="none")
