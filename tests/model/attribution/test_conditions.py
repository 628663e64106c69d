"""Conditional maps: restricted plays, many for one forward pass, and they add up."""

import pytest
import torch

from services.model.attribution import Condition, attribute, edge_graph
from services.model.attribution.errors import BadCondition, MapBudgetExceeded
from tests.model.attribution.nets import FunctionalResidual, GatedLanguage, Transformer, doubles, mlp, seeded


class Counted(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.calls = model, 0

    def forward(self, x):
        self.calls += 1
        return self.model(x)


@pytest.mark.parametrize(
    ("make", "shape", "layer", "width"),
    [
        (lambda: seeded(FunctionalResidual), (2, 3, 6, 6), "norm", 6),
        (lambda: seeded(FunctionalResidual), (2, 3, 6, 6), "first", 6),
        (lambda: seeded(Transformer), (2, 3, 8, 8), "blocks.0", 8),
        (mlp, (3, 12), "1", 16),
    ],
)
@pytest.mark.parametrize("rule", ["epsilon", "gamma", "zplus", "attnlrp", "gradient_x_input"])
def test_the_maps_of_all_components_of_a_layer_add_up_to_the_map(make, shape, layer, width, rule):
    model, x = make(), doubles(*shape)
    found = attribute(model, x, 1, rule, conditions=[Condition({layer: [unit]}) for unit in range(width)])
    assert found.conditional.shape == (width, *shape)
    torch.testing.assert_close(found.conditional.sum(0), found.relevance)


def test_many_conditions_share_one_forward_pass():
    model = Counted(mlp()).eval()
    attribute(model, doubles(3, 12), 1, conditions=[Condition({"model.1": [unit]}) for unit in range(16)], verify=False)
    assert model.calls == 1


def test_a_condition_on_two_layers_keeps_plays_that_visit_both():
    model, x = mlp(), doubles(1, 12)
    every = range(14)
    pairs = [Condition({"1": [5], "3": [unit]}) for unit in every]
    found = attribute(model, x, 1, "epsilon", conditions=[*pairs, Condition({"1": [5]})])
    torch.testing.assert_close(found.conditional[:14].sum(0), found.conditional[14])


def test_tokens_are_conditioned_on_components_of_a_layer():
    model, ids = seeded(GatedLanguage), torch.tensor([[1, 5, 3]])
    found = attribute(model, ids, 2, "cp_lrp", conditions=[Condition({"q": [unit]}) for unit in (0, 1)], layers=["v"])
    assert found.conditional.shape == (2, 1, 3)
    assert float(found.conditional.abs().max()) == 0  # CP-LRP sends nothing through queries
    assert found.layers["v"].shape == (1, 3, 4)


@pytest.mark.parametrize("units", [{"1": [16]}, {"1": []}, {"1": [-1]}, {}])
def test_a_condition_that_names_nothing_is_refused(units):
    with pytest.raises(BadCondition):
        attribute(mlp(), doubles(1, 12), 0, conditions=[Condition(units)])


def test_a_request_over_budget_is_refused_with_both_numbers():
    with pytest.raises(MapBudgetExceeded, match=r"are 36, above 30") as refusal:
        attribute(mlp(), doubles(1, 12), 0, conditions=[Condition({"1": [unit]}) for unit in range(3)], budget=30)
    assert refusal.value.facts == {"entries": 36, "budget": 30}


def test_edges_of_a_layer_add_up_to_the_node_below():
    model, x = mlp(), doubles(2, 12)
    graph = edge_graph(model, x, 1, "gamma", layers=["1", "3"], top=16)
    for unit in range(16):
        into = sum(edge.relevance for edge in graph.edges if edge.target == ("1", unit))
        assert into == pytest.approx(graph.nodes["1", unit])
    alone = attribute(model, x, 1, "gamma", layers=["1"]).layers["1"].sum(0)
    torch.testing.assert_close(torch.tensor([graph.nodes["1", unit] for unit in range(16)], dtype=torch.float64), alone)
