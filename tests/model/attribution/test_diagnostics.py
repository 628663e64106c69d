"""Path mass, absorbed relevance, risk and composites from YAML."""

import pytest
import torch

from services.model.attribution import (
    AlphaBeta,
    Assignment,
    Attention,
    Composite,
    Epsilon,
    Gamma,
    Residual,
    Risk,
    ZPlus,
    attribute,
)
from services.model.attribution.errors import BadComposite
from services.model.attribution.risk import Risk as Attitude
from tests.model.attribution.nets import FunctionalResidual, doubles, mlp, seeded


def kernels(model, x, weight):
    """Dense kernels [in, out] of an MLP's linear layers for `weight(c, z) -> K`, from the input on."""
    found = []
    for layer in model:
        if isinstance(layer, torch.nn.Linear):
            contributions = x[:, None] * layer.weight.T
            found.append(weight(contributions, layer(x)))
        x = layer(x)
    return found


def test_path_mass_is_the_sum_over_all_paths_of_the_absolute_weight():
    model, x = mlp(), doubles(1, 12)
    found = kernels(model, x[0], lambda c, z: (c / (z + 1e-6 * torch.where(z >= 0, 1.0, -1.0))).abs())
    mass = found[0] @ found[1] @ found[2]
    assert attribute(model, x, 1, "epsilon", path_mass=True).diagnostics.path_mass == pytest.approx(
        float(mass[:, 1].detach().sum())
    )


def test_gradient_and_lrp_0_have_the_same_path_mass():
    model, x = seeded(FunctionalResidual), doubles(1, 3, 6, 6)
    first, second = (attribute(model, x, 1, rule, path_mass=True) for rule in ("gradient_x_input", "lrp0"))
    assert first.diagnostics.path_mass == pytest.approx(second.diagnostics.path_mass)


def test_fixed_stakes_amplify_and_one_sided_stakes_do_not():
    model, x = mlp(), doubles(8, 12)
    mass = {
        rule: attribute(model, x, 1, rule, path_mass=True).diagnostics.path_mass for rule in ("zplus", "alpha2_beta1")
    }
    assert mass["zplus"] < 1
    assert mass["alpha2_beta1"] > 3 * mass["zplus"]


def test_a_stake_cap_bounds_the_path_mass_by_layer():
    from services.model.attribution import StakeCap

    capped = Composite((Assignment(StakeCap(cap=1.5)),))
    for seed in range(5):
        found = attribute(mlp(), doubles(1, 12, seed=seed), 1, capped, path_mass=True)
        assert found.diagnostics.path_mass <= 2.0**3 + 1e-9


def test_a_bias_left_out_of_the_game_absorbs_nothing():
    free = Composite((Assignment(Epsilon(0.0, use_bias=False)),))
    found = attribute(mlp(), doubles(2, 12), 1, free)
    assert "bias" not in found.diagnostics.absorbed
    assert float(found.relevance.sum()) == pytest.approx(float(found.score.sum()), rel=1e-9)


@pytest.mark.parametrize(
    ("risk", "expected"),
    [
        (Attitude("deviation", 0.5), [1.5, -2.5]),
        (Attitude("deviation", 0.5, strength_down=0.0), [1.5, -2.5]),
        (Attitude("exponential", 1.0), [1.5, -2.5]),
        (Attitude("cvar", 1.0), [2.0, -3.0]),
        (Attitude("deviation", 4.0), [0.0, 0.0]),
    ],
)
def test_an_activation_counts_by_its_certainty_equivalent(risk, expected):
    from dataclasses import replace

    known = replace(risk, deviation=torch.ones(2, dtype=torch.float64))
    up, down = known.certain(torch.tensor([2.0, -3.0], dtype=torch.float64))
    torch.testing.assert_close(up, torch.tensor(expected, dtype=torch.float64))
    if risk.strength_down == 0.0:
        torch.testing.assert_close(down, torch.tensor([2.0, -3.0], dtype=torch.float64))


def test_the_worst_tenth_of_a_gaussian_lies_1_755_deviations_below_its_mean():
    known = Attitude("cvar", 0.1, deviation=torch.ones(1, dtype=torch.float64))
    assert float(known.certain(torch.tensor([5.0], dtype=torch.float64))[0]) == pytest.approx(5 - 1.7550, abs=1e-3)


def test_risk_watches_the_input_noise():
    layer = torch.nn.Linear(2, 1, bias=False).double().eval()
    layer.weight.data = torch.ones(1, 2, dtype=torch.float64)
    x = torch.tensor([[3.0, 0.01]], dtype=torch.float64)
    wary = Composite((Assignment(AlphaBeta(1.0, 0.0, risk=Risk("deviation", 1.0, noise=0.1, samples=64))),))
    found = attribute(layer, x, 0, wary).relevance[0]
    assert float(found[1]) == 0  # less than one deviation: not certain at all
    assert float(found[0]) == pytest.approx(3.01, rel=1e-5)


YAML = """
rules:
  - {rule: Gamma, gamma: 0.5, kind: linear, layer: "blocks.*", calls: [0, 1]}
  - {rule: AlphaBeta, alpha: 1.0, beta: 0.0, temperature: 0.5, risk: {kind: cvar, strength: 0.1}}
  - {rule: Attention, value: 0.5, query: 0.25, key: 0.25}
  - {rule: Residual, kind: residual}
  - {rule: ZPlus, kind: [conv, linear], first: true, type: Conv2d}
"""


def test_a_composite_is_read_from_yaml():
    assert Composite.from_yaml(YAML) == Composite(
        (
            Assignment(Gamma(0.5), kind="linear", layer="blocks.*", calls=(0, 1)),
            Assignment(AlphaBeta(1.0, 0.0, temperature=0.5, risk=Risk("cvar", 0.1))),
            Assignment(Attention(0.5, 0.25, 0.25)),
            Assignment(Residual(), kind="residual"),
            Assignment(ZPlus(), kind=("conv", "linear"), first=True, type="Conv2d"),
        )
    )


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("rules: [{rule: Gama}]", "rules[0].rule"),
        ("rules: [{rule: Gamma, gama: 1}]", "rules[0]"),
        ("rules: [{rule: Gamma, kind: residual}]", "rule"),
        ("rules: [{rule: Gamma, kind: dense}]", "kind"),
        ("rules: 3", "rules"),
        ("{", "rules"),
    ],
)
def test_a_composite_that_cannot_be_read_is_refused_with_its_place(text, field):
    with pytest.raises(BadComposite) as refusal:
        Composite.from_yaml(text)
    assert refusal.value.field == field
