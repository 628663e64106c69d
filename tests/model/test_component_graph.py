"""What components hand on to each other, as the service answers: one score, layer by layer."""

import base64

import pytest
import torch

from contracts.attribution import AttributionOverBudget, GraphRequest, SampleOf, UnknownMethod, UnknownOutput
from contracts.errors import UnknownLayer, UnknownModel, UnknownSample
from services.model.attribution import attribute
from services.model.preprocess import to_batch
from tests.model.test_attributions import HOW, ME, encoded, models, picture  # noqa: F401

LAYERS = {"cnn": ["layer3", "layer4"], "vit": ["blocks.0", "blocks.1"]}


def ask(net: str = "cnn", **fields) -> GraphRequest:
    return GraphRequest.model_validate({"sample": SampleOf(dataset="d", index=1), "layers": LAYERS[net]} | fields)


@pytest.mark.parametrize(("net", "rule"), [("cnn", "epsilon"), ("cnn", "epsilon_plus"), ("vit", "attnlrp")])
def test_nodes_are_the_components_that_the_attribution_ranks_first(models, net, rule):  # noqa: F811
    graph = models.component_graph(ME, net, ask(net, rule=rule, components=3, target=2, fallback="gradient"))
    assert graph.layers == LAYERS[net][::-1] and graph.target.index == 2
    batch = to_batch([picture(1)], HOW)
    with models.loaded(models.model(ME, net).ref) as built:
        found = attribute(built.model, batch, torch.tensor([2]), rule, layers=LAYERS[net], fallback="gradient").layers
    for layer in graph.layers:
        relevance = found[layer][0]
        amounts = relevance.sum((-1, -2)) if relevance.ndim == 3 else relevance.sum(0)
        nodes = [node for node in graph.nodes if node.layer == layer]
        assert [node.index for node in nodes] == amounts.abs().topk(3).indices.tolist()
        assert [node.relevance for node in nodes] == pytest.approx([float(amounts[n.index]) for n in nodes], rel=1e-4)
        shares = (amounts / amounts.abs().sum())[[node.index for node in nodes]]
        assert [node.share for node in nodes] == pytest.approx(shares.tolist(), rel=1e-4)
    sizes = [abs(node.share) for node in graph.nodes if node.layer == graph.layers[0]]
    assert sizes == sorted(sizes, reverse=True)


def test_edges_lead_from_each_node_to_each_of_the_next_layer(models):  # noqa: F811
    graph = models.component_graph(ME, "vit", ask("vit", rule="epsilon", components=12))
    lead = {(graph.nodes[edge.source].layer, graph.nodes[edge.target].layer) for edge in graph.edges}
    assert lead == {("blocks.1", "blocks.0")}
    assert len({(edge.source, edge.target) for edge in graph.edges}) == len(graph.edges) == 12 * 12
    few = models.component_graph(ME, "vit", ask("vit", rule="epsilon", components=1))
    assert few.nodes == [graph.nodes[0], graph.nodes[12]]  # how many are shown changes none of them
    assert few.edges[0].relevance == next(e.relevance for e in graph.edges if (e.source, e.target) == (0, 12))


def test_a_check_says_what_falls_with_each_component_and_changes_no_relevance(models):  # noqa: F811
    plain, checked = (models.component_graph(ME, "cnn", ask(rule="epsilon", check=check)) for check in (False, True))
    assert plain.check is None and all(one.effect is None for one in (*plain.nodes, *plain.edges))
    assert all(one.effect is not None for one in (*checked.nodes, *checked.edges))
    assert -1 <= checked.check.edges <= 1 and -1 <= checked.check.nodes <= 1
    assert [one.relevance for one in checked.edges] == [one.relevance for one in plain.edges]


def test_components_without_relevance_are_left_out(models):  # noqa: F811
    graph = models.component_graph(ME, "cnn", ask(layers=["fc", "layer4"], rule="epsilon", components=4, target=3))
    scores = [node for node in graph.nodes if node.layer == "fc"]
    assert [(node.index, abs(node.share)) for node in scores] == [(3, pytest.approx(1))]  # no other output has any
    assert all(node.relevance != 0 for node in graph.nodes)
    assert {edge.source for edge in graph.edges} == {0} and len(graph.edges) == len(graph.nodes) - 1


def test_a_picture_is_taken_like_the_same_sample(models):  # noqa: F811
    sent = ask(sample=None, picture=base64.b64encode(encoded(picture(1))))
    assert models.component_graph(ME, "cnn", sent) == models.component_graph(ME, "cnn", ask())


@pytest.mark.parametrize(
    ("model", "fields", "refusal"),
    [
        ("absent", {}, UnknownModel),
        ("cnn", {"layers": ["layer3", "layer5"]}, UnknownLayer),
        ("cnn", {"rule": "gradcam"}, UnknownMethod),
        ("cnn", {"rule": "epsilonn"}, UnknownMethod),
        ("cnn", {"target": 5}, UnknownOutput),
        ("cnn", {"sample": SampleOf(dataset="d", index=3)}, UnknownSample),
    ],
)
def test_what_does_not_exist_is_refused(models, model, fields, refusal):  # noqa: F811
    with pytest.raises(refusal):
        models.component_graph(ME, model, ask(**fields))


def test_a_graph_beyond_the_budget_is_refused_with_both_figures(models, monkeypatch):  # noqa: F811
    monkeypatch.setattr("services.model.attributions.LIMIT", 10_000)
    with pytest.raises(AttributionOverBudget) as refusal:
        models.component_graph(ME, "cnn", ask(components=4))
    assert refusal.value.facts == {"needed": 2 * (2 + 2 * 4) * 32 * 32, "limit": 10_000}
