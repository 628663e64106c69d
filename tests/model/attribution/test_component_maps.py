"""What components saw: maps that add up to activations, of one side and one place, many for one forward pass."""

import pytest
import torch
from torch import nn

from services.model.attribution.component_maps import CONVOLUTIONS, TRANSFORMERS, Asked, component_maps, rule_for
from services.model.attribution.errors import BadCondition, BadInputs, MapBudgetExceeded
from tests.model.attribution.nets import FunctionalResidual, Transformer, doubles, seeded
from tests.model.attribution.test_conditions import Counted


def outputs(model, layer, x):
    seen = []
    handle = model.get_submodule(layer).register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    model(x)
    handle.remove()
    return seen[0]


def bare() -> nn.Module:
    """Convolutions without biases: nothing is absorbed, so maps add up to what they explain."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 5, 3, bias=False), nn.Flatten(), nn.Linear(20, 3)]
    return nn.Sequential(*layers).double().eval()


@pytest.mark.parametrize("sign", [1, -1])
def test_maps_add_up_to_the_activations_of_their_side(sign):
    model, x = bare(), doubles(2, 3, 6, 6)
    here = outputs(model, "2", x)
    found = component_maps(model, x, "2", [[Asked(unit, sign) for unit in range(5)]] * 2, "lrp0")
    for place in range(2):
        own = (sign * here[place]).clamp(min=0).flatten(1).sum(1)
        torch.testing.assert_close(found[place].flatten(1).sum(1), own)


def test_a_position_keeps_the_activation_there_and_sees_its_receptive_field_alone():
    model, x = bare(), doubles(1, 3, 6, 6)
    here = outputs(model, "2", x)[0, 1].flatten()
    (place,) = (here > 0).nonzero()[0].tolist()
    (found,) = component_maps(model, x, "2", [[Asked(1, 1, place)]], "lrp0")
    torch.testing.assert_close(found.sum(), here[place])
    row, column = divmod(place, 2)
    outside = found[0].abs().sum(0)
    outside[row : row + 5, column : column + 5] = 0
    assert float(outside.sum()) == 0
    best = int(here.argmax())
    largest, there = component_maps(model, x, "2", [[Asked(1, 1, "max"), Asked(1, 1, best)]], "lrp0")[0]
    assert torch.equal(largest, there)
    elsewhere = component_maps(model, x, "2", [[Asked(1, -1, place)]], "lrp0")[0]
    assert float(elsewhere.abs().max()) == 0  # there the component speaks for its other side


@pytest.mark.parametrize(
    ("make", "shape", "layer", "axis"),
    [
        (bare, (3, 3, 6, 6), "2", 1),
        (lambda: seeded(FunctionalResidual), (3, 3, 6, 6), "norm", 1),
        (lambda: seeded(Transformer), (3, 3, 8, 8), "blocks.0", -1),
    ],
)
@pytest.mark.parametrize("rule", ["epsilon", "gamma", "gradient_x_input"])
def test_lists_of_different_lengths_give_what_single_runs_give(make, shape, layer, axis, rule):
    model, x = make(), doubles(*shape)
    asked = [[Asked(2), Asked(0, -1), Asked(4)], [], [Asked(3, -1)]]
    together = component_maps(model, x, layer, asked, rule, axis=axis)
    assert [len(each) for each in together] == [3, 0, 1]
    for place, each in enumerate(asked):
        for turn, one in enumerate(each):
            (alone,) = component_maps(model, x[place : place + 1], layer, [[one]], rule, axis=axis)
            torch.testing.assert_close(together[place][turn], alone[0])


def test_special_tokens_count_only_where_a_number_asks_for_them():
    model, x = seeded(Transformer), doubles(1, 3, 8, 8)
    here = outputs(model, "blocks.0", x)[0]
    unit = int(here[0].argmax())
    assert float(here[0, unit]) > 0
    every, spared, first = (
        component_maps(model, x, "blocks.0", [[Asked(unit, 1, place)]], "lrp0", axis=-1, special_tokens=tokens)[0]
        for place, tokens in ((None, 0), (None, 1), (0, 1))
    )
    torch.testing.assert_close(every - spared, first)
    assert float(first.abs().max()) > 0


def test_all_components_share_one_forward_pass():
    model = Counted(bare()).eval()
    component_maps(model, doubles(2, 3, 6, 6), "model.2", [[Asked(unit) for unit in range(5)]] * 2, "epsilon")
    assert model.calls == 1


def test_the_rule_follows_the_kind_of_model():
    assert rule_for(bare()) == CONVOLUTIONS
    assert rule_for(seeded(Transformer)) == TRANSFORMERS


@pytest.mark.parametrize("asked", [[[Asked(5)]], [[Asked(-1)]], [[Asked(0, 1, 4)]]])
def test_a_component_or_position_that_is_not_there_is_refused(asked):
    with pytest.raises(BadCondition, match="0 to"):
        component_maps(bare(), doubles(1, 3, 6, 6), "2", asked, "epsilon")


def test_lists_that_do_not_fit_the_inputs_and_maps_over_budget_are_refused():
    with pytest.raises(BadInputs, match="1 floating inputs need as many lists, not 2"):
        component_maps(bare(), doubles(1, 3, 6, 6), "2", [[], []], "epsilon")
    with pytest.raises(MapBudgetExceeded, match="3 conditions x 108"):
        component_maps(bare(), doubles(1, 3, 6, 6), "2", [[Asked(0)] * 3], "epsilon", budget=300)
