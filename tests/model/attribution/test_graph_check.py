"""Edge graphs held against ablation: exact where the rule is exact, and told apart from graphs that say nothing."""

import pytest
import torch
from torch import nn

from services.model.attribution import edge_graph
from services.model.attribution.errors import BadCondition
from services.model.attribution.graph_check import GraphEffects, graph_effects
from services.model.attribution.result import Edge, EdgeGraph


def positive() -> nn.Module:
    """All weights and inputs are positive and there is no bias: no unit falls silent for another's ablation."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False)
    )
    for weight in net.parameters():
        weight.data.abs_()
    return net.eval()


def test_what_falls_is_what_lrp_hands_on_where_all_summands_are_positive():
    net, x = positive(), torch.rand(1, 6) + 0.1
    graph = edge_graph(net, x, 2, "lrp0", layers=["1", "3"], top=5)
    found = graph_effects(net, x, 2, graph)
    for node, effect in found.nodes.items():
        assert effect == pytest.approx(graph.nodes[node], rel=1e-4)
    assert len(found.edges) == 4 * 5 == len(graph.edges)
    for edge in graph.edges:
        assert found.edges[edge.source, edge.target] == pytest.approx(edge.relevance, rel=1e-3, abs=1e-6)
    assert found.agreement(graph) == (pytest.approx(1), pytest.approx(1))


def test_maps_are_ablated_at_all_places():
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(5, 4),
    ).eval()  # fmt: skip
    x = torch.randn(1, 3, 9, 9)
    graph = edge_graph(net, x, 1, "epsilon", layers=["1", "3"], top=6)
    found = graph_effects(net, x, 1, graph)
    with torch.no_grad():
        hidden = net[1](net[0](x))
        for (layer, unit), effect in found.nodes.items():
            if layer == "1":
                without = hidden.clone()
                without[:, unit] = 0
                assert effect == pytest.approx(float(net(x)[0, 1] - net[2:](without)[0, 1]), abs=1e-5)
    nodes, edges = found.agreement(graph)
    assert nodes > 0.5 and edges > 0.5
    wrong = EdgeGraph(
        graph.nodes, tuple(Edge(e.source, e.target, -e.relevance) for e in graph.edges), graph.totals, graph.relevance
    )
    assert found.agreement(wrong)[1] == pytest.approx(-edges)


def test_nothing_is_claimed_where_ranks_are_constant_and_several_inputs_are_refused():
    graph = EdgeGraph({("a", 0): 1.0, ("a", 1): 1.0, ("a", 2): 1.0})
    assert GraphEffects({("a", n): float(n) for n in range(3)}, {}).agreement(graph) == (None, None)
    net = positive()
    found = edge_graph(net, torch.rand(1, 6), 0, "epsilon", layers=["1", "3"], top=2)
    with pytest.raises(BadCondition, match="2 inputs"):
        graph_effects(net, torch.rand(2, 6), 0, found)
