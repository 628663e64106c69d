"""Answers to requests for a graph of components: one picture, one score, what flows from layer to layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from contracts.attribution import ComponentGraph, GraphCheck, GraphEdge, GraphNode, GraphRequest, UnknownMethod
from contracts.base import Caller
from services.model.attribution import edge_graph
from services.model.attribution.graph_check import graph_effects
from services.model.attribution.methods import is_composite, method_names, require_method
from services.model.attributions import (
    class_score_of,
    class_scores,
    picture_of,
    require_affordable,
    require_layer,
    require_output,
)
from services.model.preprocess import reads_pictures, to_batch

if TYPE_CHECKING:
    from services.model.service import Models

PASS = 2  # a backward pass costs about two forward passes


def answer_of(models: Models, caller: Caller, model: str, query: GraphRequest) -> ComponentGraph:
    """Propagate one score back and read what the strongest components of each layer hand on.

    Raises
    ------
    UnknownModel, UnknownLayer, UnknownOutput, UnknownSample, UnsafePicture, AttributionOverBudget;
    UnknownMethod : the rule is not there, or is no composite of rules: a baseline hands nothing on.
    """
    found = models.model(caller, model)
    reads = reads_pictures(found.ref)
    require_method(query.rule)
    if not is_composite(query.rule):
        rules = [name for name in method_names() if is_composite(name)]
        raise UnknownMethod(f"{query.rule} hands no relevance from layer to layer", field="rule", closest=[*rules])
    layers = [require_layer(found, name).name for name in dict.fromkeys(query.layers)]
    require_affordable((PASS + query.check) * (2 + len(layers) * query.components), reads.crop)
    batch = to_batch([picture_of(models, caller, query)], reads)
    with models.loaded(found.ref) as built:
        scores = class_scores(built.model, batch)[0]
        target = int(scores.argmax()) if query.target is None else query.target
        require_output(target, len(scores))
        graph = edge_graph(
            built.model, batch, torch.tensor([target]), query.rule, layers=layers, top=query.components,
            fallback=query.fallback,
        )  # fmt: skip
        effects = graph_effects(built.model, batch, target, graph) if query.check else None
    agreement = None if effects is None else effects.agreement(graph)
    nodes = {node: amount for node, amount in graph.nodes.items() if amount != 0}
    place = {node: number for number, node in enumerate(nodes)}
    return ComponentGraph(
        model=found.ref.id,
        target=class_score_of(found, scores, target),
        rule=query.rule,
        layers=list(graph.totals),
        nodes=[
            GraphNode(
                layer=layer, index=unit, relevance=amount, share=amount / graph.totals[layer],
                effect=None if effects is None else effects.nodes[layer, unit],
            )
            for (layer, unit), amount in nodes.items()
        ],
        edges=[
            GraphEdge(
                source=place[edge.source], target=place[edge.target], relevance=edge.relevance,
                effect=None if effects is None else effects.edges[edge.source, edge.target],
            )
            for edge in graph.edges
            if edge.source in nodes and edge.target in nodes
        ],
        check=None if agreement is None else GraphCheck(nodes=agreement[0], edges=agreement[1]),
    )  # fmt: skip
