"""Whether an edge graph says what happens: each of its components is ablated, and what falls is measured."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.model.attribution.baselines.scoring import Score, Target, checked
from services.model.attribution.components import Site, ablate, summed, watched
from services.model.attribution.errors import BadCondition
from services.model.attribution.evaluation.faithfulness import pearson
from services.model.attribution.evaluation.localisation import mid_ranks
from services.model.attribution.result import EdgeGraph, Node

TINY = 1e-6  # of the largest activation: below it nothing can fall


@dataclass(frozen=True)
class GraphEffects:
    """What ablation does, in the units of the graph.

    Attributes
    ----------
    nodes : node -> f_c(x) - f_c(x | a_node ← 0).
    edges : (source, target) -> the part of the source's relevance that goes with the target: Σ_p R_p (a_p - a'_p) / a_p
        over the source's positions p, where a' is its activation without the target. For a layer of positive summands
        it equals what LRP-0 hands on.
    """

    nodes: Mapping[Node, float]
    edges: Mapping[tuple[Node, Node], float]

    def agreement(self, graph: EdgeGraph) -> tuple[float | None, float | None]:
        """Spearman's correlation of relevance and effect, over nodes and over edges; None where either is constant."""
        nodes = [(graph.nodes[node], effect) for node, effect in self.nodes.items()]
        edges = [(edge.relevance, self.edges[edge.source, edge.target]) for edge in graph.edges]
        return _spearman(nodes), _spearman(edges)


def graph_effects(model: nn.Module, inputs: Tensor, target: Target, graph: EdgeGraph) -> GraphEffects:
    """Ablate every node of a graph of one input, a forward pass a layer.

    Raises
    ------
    BadCondition : more than one input, or a layer that runs more than once.
    """
    if len(inputs) != 1:
        raise BadCondition(f"a graph of {len(inputs)} inputs together cannot be checked", field="inputs")
    leaf, of = checked(model, inputs, target)
    nodes: dict[Node, float] = {}
    edges: dict[tuple[Node, Node], float] = {}
    names = list(graph.totals)
    for above, name in zip([None, *names], names, strict=False):
        units = [unit for layer, unit in graph.nodes if layer == name]
        relevance = graph.relevance[name]
        axis = 1 if relevance.ndim == 4 else -1
        sets = torch.zeros(len(units) + 1, relevance.shape[axis], dtype=torch.bool, device=leaf.device)
        sets[range(1, len(units) + 1), units] = True
        wide = leaf.detach().expand(len(sets), *leaf.shape[1:])
        change = functools.partial(ablate, ablated=sets, axis=axis, value=0.0)
        with ExitStack() as held, torch.no_grad():
            held.enter_context(watched(model, Site(name, axis), change))
            seen = None if above is None else held.enter_context(watched(model, Site(above), lambda output: output))
            scores = Score(model)(wide, of.expand(len(sets)))
        nodes |= {(name, unit): float(scores[0] - score) for unit, score in zip(units, scores[1:], strict=True)}
        if above is None or seen is None:
            continue
        if len(seen) != 1:
            raise BadCondition(f"{above} ran {len(seen)} times in one forward pass", field="layer")
        fallen = _fallen(seen[0], graph.relevance[above])
        for layer, source in graph.nodes:
            if layer == above:
                edges |= {((above, source), (name, unit)): float(fallen[row, source]) for row, unit in enumerate(units)}
    return GraphEffects(nodes, edges)


def _fallen(outputs: Tensor, relevance: Tensor) -> Tensor:
    """Relevance that goes when something is ablated: [1 + K, ...] and [1, ...] -> [K, C]; row 0 is the whole."""
    whole, without = outputs[:1].double(), outputs[1:].double()
    large = whole.abs() > TINY * whole.abs().max()
    share = torch.where(large, (whole - without) / torch.where(large, whole, 1.0), 0.0)
    amounts = share * relevance.double()
    return summed(amounts, 1 if amounts.ndim == 4 else -1)


def _spearman(pairs: list[tuple[float, float]]) -> float | None:
    if len(pairs) < 3:
        return None
    relevance, effect = (torch.tensor([row], dtype=torch.float64) for row in zip(*pairs, strict=True))
    found = float(pearson(mid_ranks(relevance), mid_ranks(effect)))
    return None if found != found else found
