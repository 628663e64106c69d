"""Rules are stakes: the table of the game's family, and golden values on one state."""

import pytest
import torch

from services.model.attribution import (
    AlphaBeta,
    Assignment,
    Composite,
    Epsilon,
    Gamma,
    Magnitude,
    StakeCap,
    ZBox,
    ZPlus,
    attribute,
)
from services.model.attribution.errors import BadRuleParameter
from services.model.attribution.kernel import Pools, stakes

UP, DOWN = torch.tensor([3.0, 1.0], dtype=torch.float64), torch.tensor([-1.0, -4.0], dtype=torch.float64)
ROOT6 = 6**0.5 / (6**0.5 + 0.5**0.5)
POOLS = Pools(UP, DOWN, UP + DOWN)  # z = 2 and -3


@pytest.mark.parametrize(
    ("rule", "alpha", "beta"),
    [
        (Epsilon(eps=0.0), [3 / 2, -1 / 3], [1 / 2, -4 / 3]),
        (Epsilon(eps=0.5), [3 / 2.5, -1 / 3.5], [1 / 2.5, -4 / 3.5]),
        (Gamma(gamma=1.0, eps=0.0), [6 / 5, -1 / 7], [1 / 5, -8 / 7]),
        (AlphaBeta(2.0, 1.0, eps=0.0), [2, 2], [1, 1]),
        (ZPlus(eps=0.0), [1, 1], [0, 0]),
        (Magnitude(eps=0.0), [3 / 4, 1 / 5], [-1 / 4, -4 / 5]),
        (StakeCap(cap=1.2, eps=0.0), [1.2, -0.2], [0.2, -1.2]),
        (StakeCap(cap=9.0, eps=0.0), [3 / 2, -1 / 3], [1 / 2, -4 / 3]),
    ],
    ids=repr,
)
def test_a_rule_stakes_on_its_pools_what_the_table_says(rule, alpha, beta):
    up, down = stakes(rule, POOLS)
    torch.testing.assert_close(up, torch.tensor(alpha, dtype=torch.float64))
    torch.testing.assert_close(down, torch.tensor(beta, dtype=torch.float64))


@pytest.mark.parametrize(
    "rule", [Epsilon(0.0), Gamma(0.3, 0.0), AlphaBeta(eps=0.0), ZPlus(0.0), Magnitude(0.0), StakeCap(1.5, 0.0)]
)
def test_conserving_rules_pass_on_all_that_they_get(rule):
    up, down = stakes(rule, POOLS)
    torch.testing.assert_close(up - down, torch.ones(2, dtype=torch.float64))


def test_epsilon_kills_the_share_that_it_adds_to_the_sum():
    up, down = stakes(Epsilon(eps=0.5), POOLS)
    torch.testing.assert_close(up - down, POOLS.total / (POOLS.total + 0.5 * POOLS.total.sign()))


def test_an_infinite_gamma_is_z_plus_where_the_sum_is_positive():
    up, down = stakes(Gamma(gamma=1e9), POOLS)
    torch.testing.assert_close(torch.stack([up[0], down[0]]), torch.tensor([1.0, 0.0], dtype=torch.float64))


def one_state(rule):
    """One output z = 2*3 + 1*(-1) + (-1)*2 + bias 0.5 = 3.5: contributions 6, -1, -2 and a bias."""
    layer = torch.nn.Linear(3, 1).double().eval()
    layer.weight.data = torch.tensor([[3.0, -1.0, 2.0]], dtype=torch.float64)
    layer.bias.data = torch.tensor([0.5], dtype=torch.float64)
    x = torch.tensor([[2.0, 1.0, -1.0]], dtype=torch.float64)
    return attribute(layer, x, 0, Composite((Assignment(rule),)))


@pytest.mark.parametrize(
    ("rule", "relevance", "bias"),
    [
        (Epsilon(0.0), [6.0, -1.0, -2.0], 0.5),
        (Epsilon(0.0, use_bias=False), [7.0, -7 / 6, -7 / 3], 0.0),
        (ZPlus(0.0), [3.5 * 6 / 6.5, 0.0, 0.0], 3.5 * 0.5 / 6.5),
        (AlphaBeta(eps=0.0), [42 / 6.5, -3.5 / 3, -7 / 3], 3.5 / 6.5),
        (AlphaBeta(1.0, 0.0, 0.0, temperature=0.5), [3.5 * 36 / 36.25, 0.0, 0.0], 3.5 * 0.25 / 36.25),
        (
            AlphaBeta(eps=0.0, temperature=2.0),
            [7 * ROOT6, -3.5 / (1 + 2**0.5), -3.5 * 2**0.5 / (1 + 2**0.5)],
            7 * (1 - ROOT6),
        ),
        (Magnitude(0.0), [3.5 * 6 / 9.5, 3.5 / 9.5, 7 / 9.5], 3.5 * 0.5 / 9.5),
        (Gamma(1.0, 0.0), [3.5 * 12 / 10, -0.35, -0.7], 0.35),
    ],
    ids=repr,
)  # fmt: skip
def test_one_state_shares_its_relevance_by_hand_calculation(rule, relevance, bias):
    found = one_state(rule)
    torch.testing.assert_close(found.relevance[0], torch.tensor(relevance, dtype=torch.float64))
    assert found.diagnostics.absorbed.get("bias", 0.0) == pytest.approx(bias)
    assert found.diagnostics.conservation_gap < 1e-14


def test_z_box_shares_by_the_distance_to_the_box():
    found = one_state(ZBox(-3.0, 3.0)).relevance[0]
    parts = torch.tensor([6 + 9.0, -1 + 3.0, -2 + 6.0], dtype=torch.float64)  # x w - low w+ - high w-
    torch.testing.assert_close(found, 3.5 * parts / parts.sum(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Epsilon(-1.0), "eps"),
        (lambda: Gamma(-0.1), "gamma"),
        (lambda: AlphaBeta(2.0, 0.5), "beta"),
        (lambda: StakeCap(0.5), "cap"),
        (lambda: ZBox(1.0, -1.0), "low"),
        (lambda: ZPlus(temperature=0.0), "temperature"),
    ],
)
def test_a_parameter_outside_its_range_is_refused_by_name(make, field):
    with pytest.raises(BadRuleParameter) as refusal:
        make()
    assert refusal.value.field == field
