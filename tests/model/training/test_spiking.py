"""Spiking layers: snntorch's neurons, and feedback by the definition."""

import pytest
import torch
from torch import nn

from services.model.training.errors import FeedbackOptionError
from services.model.training.spiking import (
    Neuron,
    SpikingNet,
    backward,
    encode_constant,
    feedback,
    predict,
    rate_coded,
)


def small(reset, seed=0):
    torch.manual_seed(seed)
    return SpikingNet([nn.Linear(4, 6), nn.Linear(6, 3)], Neuron(reset=reset))


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_spikes_are_those_of_snntorch(reset):
    snntorch = pytest.importorskip("snntorch")
    net, inputs = small(reset), torch.randn(12, 5, 4) * 2
    leaky = [snntorch.Leaky(beta=0.9, threshold=1.0, reset_mechanism=reset, reset_delay=True) for _ in range(2)]
    memories = [neuron.init_leaky() for neuron in leaky]
    due = []
    for x in inputs:
        for place, neuron in enumerate(leaky):
            x, memories[place] = neuron(net.layers[place](x), memories[place])
        due.append(x)
    found = net(inputs)
    assert 0 < float(found.mean()) < 1
    assert torch.equal(found, torch.stack(due))


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


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_feedback_through_time_by_the_definition(reset):
    net = small(reset).double()
    inputs = torch.randn(7, 1, 4).double() * 2
    spikes, traces = net.run(inputs, trace=True)
    reward = rate_coded(spikes, torch.tensor([1]))
    found = feedback(net, traces, reward)
    for place, due in enumerate(by_definition(net, inputs[:, 0], reward[:, 0], 1e-6)):
        torch.testing.assert_close(found[f"layers.{place}.weight"], due, atol=1e-12, rtol=1e-9)


def test_a_convolution_has_the_feedback_of_the_linear_map_that_it_is():
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 2, 2, bias=False)
    flat = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        flat.weight.copy_(conv.weight.flatten(1))
    one, two = SpikingNet([conv]), SpikingNet([flat])
    inputs = torch.randn(5, 3, 1, 2, 2) * 2
    reward = torch.randn(5, 3, 2)
    _, traces = one.run(inputs, trace=True)
    _, same = two.run(inputs.flatten(2), trace=True)
    mine = feedback(one, traces, reward[..., None, None])["layers.0.weight"]
    torch.testing.assert_close(mine.flatten(1), feedback(two, same, reward)["layers.0.weight"])


def test_rewards_raise_the_true_class_at_every_step_and_lower_only_spikes():
    spikes = torch.tensor([[[1.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]]])
    reward = rate_coded(spikes, torch.tensor([1]))
    torch.testing.assert_close(reward[:, 0, 1], (1 - torch.sigmoid(torch.tensor(-1.0))).expand(3) / 3)
    assert bool((reward[:, 0, 0] < 0).all()) and not reward[1:, 0, 2].any() and float(reward[0, 0, 2]) < 0


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the matrices are small
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_digits_are_learnt_without_a_surrogate(reset, one_thread):
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    pictures, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pictures / 8 - 1, dtype=torch.float32), torch.tensor(labels)
    train, test = torch.arange(len(y)) % 4 != 0, torch.arange(len(y)) % 4 == 0
    net = SpikingNet([nn.Linear(64, 100), nn.Linear(100, 10)], Neuron(reset=reset))
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(8):
        for batch in train.nonzero().flatten()[torch.randperm(int(train.sum()))].split(128):
            spikes, traces = net.run(encode_constant(x[batch], 10), trace=True)
            backward(net, traces, rate_coded(spikes, y[batch]))
            optimiser.step()
            optimiser.zero_grad()
    right = (predict(net(encode_constant(x[test], 10))) == y[test]).float().mean()
    assert float(right) > 0.85


def test_ties_go_to_the_lowest_class():
    assert predict(torch.tensor([[[0.0, 1.0, 1.0]]])).tolist() == [1]


def test_an_unknown_reset_is_refused():
    with pytest.raises(FeedbackOptionError, match="subtract, zero"):
        Neuron(reset="none")
