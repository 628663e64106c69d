"""Rewards, their check, floors and optimisers."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from services.model.training import LFP, Reward, rewards
from services.model.training.errors import (
    AdaptiveOptimiserWarning,
    FrozenParameterWarning,
    NonFiniteRewardError,
    RewardShapeError,
    RewardSignWarning,
)

OUT = torch.tensor([[2.5, -2.4, 0.3], [-1.0, -0.5, -2.0]])
Y = torch.tensor([1, 0])


def test_softmax_is_minus_the_gradient_of_cross_entropy():
    due = rewards.from_loss(lambda o, y: F.cross_entropy(o, y, reduction="sum"), OUT, Y)
    torch.testing.assert_close(rewards.softmax(OUT, Y).push(OUT), due.push(OUT))


def test_sigmoid_of_one_output():
    out = torch.tensor([[2.0], [-1.0]])
    torch.testing.assert_close(
        rewards.sigmoid(out, torch.tensor([0, 1])).value, torch.tensor([[-0.8808], [0.7311]]), atol=1e-4, rtol=0
    )


def test_bounds_take_probabilities_as_certain():
    push = rewards.bounded_softmax(OUT, Y, low=0.2, high=0.8).value
    torch.testing.assert_close(push[0], torch.tensor([-1.0, 1.0, 0.0]))


def test_misclassification_pushes_down_what_beats_the_true_class():
    reward = rewards.misclassification(OUT, Y)
    torch.testing.assert_close(reward.value, torch.tensor([[-1.0, 0, -1.0], [0, 1.0, 0]]))
    assert bool((reward.push(OUT) <= 0).all())


def test_correct_rewards_the_true_class_of_what_is_right():
    reward = rewards.correct(OUT, torch.tensor([0, 1]))
    torch.testing.assert_close(reward.value, torch.tensor([[1.0, 0, 0], [0, -1.0, 0]]))
    assert bool((reward.push(OUT) >= 0).all())


def test_raising_and_lowering_one_output():
    up, down = rewards.maximise(OUT, 2), rewards.minimise(OUT, 2)
    assert bool((up.push(OUT)[:, 2] > 0).all()) and bool((down.push(OUT)[:, 2] < 0).all())
    assert not up.value[:, :2].any()


def test_a_reward_with_the_flip_is_quiet():
    wanted = rewards.softmax(OUT, Y).value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rewards.check_signs(Reward(OUT * wanted, kind="reward", wanted=wanted), OUT)


def test_a_reward_without_the_flip_is_warned_of():
    wanted = rewards.softmax(OUT, Y).value
    with pytest.warns(RewardSignWarning, match="negative ones"):
        rewards.check_signs(Reward(OUT.abs() * wanted, kind="reward", wanted=wanted), OUT)
    with pytest.warns(RewardSignWarning, match="inverted"):
        rewards.check_signs(Reward(-OUT * wanted, kind="reward", wanted=wanted), OUT)


def test_bad_rewards_are_refused():
    model = nn.Linear(2, 3)
    lfp = LFP(model)
    with lfp:
        out = model(torch.ones(2, 2))
    with pytest.raises(RewardShapeError, match=r"\[2, 2\] for outputs of shape \[2, 3\]"):
        lfp.backward(out, torch.ones(2, 2))
    with pytest.raises(NonFiniteRewardError, match="1 of 6"):
        lfp.backward(out, torch.tensor([[1.0, 2, float("nan")], [1, 1, 1]]))
    assert model.weight.grad is None


def zeroed():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    nn.init.zeros_(model[0].bias), nn.init.zeros_(model[3].bias)
    return model


def test_every_tensor_moves_from_zero_with_the_default_floor():
    model, x, y = zeroed(), torch.randn(32, 4), torch.randint(3, (32,))
    lfp = LFP(model)
    before = {name: part.detach().clone() for name, part in model.named_parameters()}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(10):
        with lfp:
            out = model(x)
        lfp.backward(out, rewards.softmax(out, y))
        optimiser.step()
        optimiser.zero_grad()
    still = [name for name, part in model.named_parameters() if torch.equal(part, before[name])]
    assert still in ([], ["0.bias"])  # a bias before normalisation has no effect at all


def test_without_a_floor_zeros_are_named_and_stay():
    model, x, y = zeroed(), torch.randn(32, 4), torch.randint(3, (32,))
    with pytest.warns(FrozenParameterWarning, match=r"3\.bias \(3\)"):
        lfp = LFP(model, floor=0)
    with lfp:
        out = model(x)
    assert not lfp.feedback(out, rewards.softmax(out, y))["3.bias"].any()


def test_update_preconditioning_scales_the_step_of_any_optimiser():
    torch.manual_seed(0)
    model = nn.Linear(4, 3, bias=False)
    twin = nn.Linear(4, 3, bias=False)
    twin.load_state_dict(model.state_dict())
    x, y = torch.randn(16, 4), torch.randint(3, (16,))
    lfp = LFP(model, precondition="update")
    adam, plain = torch.optim.Adam(model.parameters(), lr=0.01), torch.optim.Adam(twin.parameters(), lr=0.01)
    handle = lfp.attach(adam)
    with lfp:
        out = model(x)
    lfp.backward(out, rewards.softmax(out, y))
    F.cross_entropy(twin(x), y).backward()
    old = model.weight.detach().clone()
    adam.step(), plain.step()
    torch.testing.assert_close(model.weight - old, old.abs() * (twin.weight - old))
    handle.remove()
    old = model.weight.detach().clone()
    adam.step()
    assert bool(((model.weight - old).abs() > 0.005).any())  # no longer scaled by |w| < 0.5


def test_adam_on_preconditioned_feedback_is_warned_of():
    model = nn.Linear(2, 2)
    with pytest.warns(AdaptiveOptimiserWarning, match="update"):
        LFP(model).attach(torch.optim.Adam(model.parameters()))


def test_frozen_parameters_are_skipped_and_reward_passes_them():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model[2].requires_grad_(False)
    lfp = LFP(model)
    with lfp:
        out = model(torch.randn(5, 3))
    found = lfp.feedback(out, rewards.softmax(out, torch.tensor([0, 1, 0, 1, 0])))
    assert set(found) == {"0.weight", "0.bias"} and bool(found["0.weight"].any())


def test_descent_inequality_on_a_quadratic():
    """L(w+) <= L(w) - eta (1 - eta beta max|w| / 2) sum |w| g^2 for the plain step on a beta-smooth loss."""
    torch.manual_seed(0)
    a = torch.randn(6, 6, dtype=torch.float64)
    h = a @ a.T + torch.eye(6, dtype=torch.float64)
    beta, w, target = (
        float(torch.linalg.eigvalsh(h)[-1]),
        torch.randn(6, dtype=torch.float64),
        torch.randn(6, dtype=torch.float64),
    )
    loss = lambda w: 0.5 * (w - target) @ h @ (w - target)  # noqa: E731
    for _ in range(50):
        g, eta = h @ (w - target), 1 / (beta * float(w.abs().max()))
        after = w - eta * w.abs() * g
        assert loss(after) <= loss(w) - eta * (1 - eta * beta * w.abs().max() / 2) * (w.abs() * g**2).sum() + 1e-12
        w = after
