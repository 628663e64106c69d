"""Concept-conditional maps and edge graphs: plays restricted to those that visit some components.

The restriction is a mask on the relevance at a layer. All maps use the graph and the prices of one forward pass; each
is one backward pass from its layer down. (Batches of backward passes were measured: they are slower on a CPU.)
Source: concept relevance propagation (arXiv 2206.03208).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from services.model.attribution.composite import Composite
from services.model.attribution.composites import composite
from services.model.attribution.errors import BadCondition, MapBudgetExceeded
from services.model.attribution.result import Condition, Edge, EdgeGraph
from services.model.attribution.run import Run, traced
from services.model.attribution.targets import Inputs, Target, require_ready

KEPT = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}


def require_budget(conditions: int, given: Tensor, budget: int) -> None:
    """Refuse maps that would not fit."""
    pixels = given.numel()
    if conditions * pixels > budget:
        raise MapBudgetExceeded(
            f"{conditions} conditions x {pixels} entries are {conditions * pixels}, above {budget}",
            field="conditions", entries=conditions * pixels, budget=budget,
        )  # fmt: skip


def conditional_maps(run: Run, conditions: Sequence[Condition], chosen: Composite) -> Tensor:
    """Return one map per condition, [C, B, *input]. What they absorb is not booked: it belongs to none of them."""
    run.stop_booking()
    order = {name: index for index, name in enumerate(run.captured)}
    above: dict[str, Tensor] = {}
    maps = []
    for each in conditions:
        path = sorted(each.units, key=lambda name: -order[name])  # from the output to the input
        if not path:
            raise BadCondition("a condition names no layer", field="conditions")
        if path[0] not in above:
            (above[path[0]],) = torch.autograd.grad(run.carrier, run.captured[path[0]], run.seed, **KEPT)
        flow = above[path[0]]
        for name, below in zip(path, [*path[1:], None], strict=True):
            here = run.captured[name]
            goal = run.leaf if below is None else run.captured[below]
            (flow,) = torch.autograd.grad(here, goal, flow * mask(here, each, name), **KEPT)
        payoff = flow * run.leaf.detach() if chosen.carrier == "gradient_x_input" else flow
        maps.append(payoff.sum(-1) if run.tokens else payoff)
    return torch.stack(maps)


def mask(tensor: Tensor, condition: Condition, name: str) -> Tensor:
    """1 at the condition's components and 0 elsewhere, ready to broadcast against [B, ...]."""
    axis = condition.axis if condition.axis is not None else 1 if tensor.ndim == 4 else -1
    width = tensor.shape[axis]
    units = list(condition.units[name])
    wrong = [unit for unit in units if not 0 <= unit < width]
    if wrong or not units:
        raise BadCondition(f"layer {name!r} has components 0 to {width - 1}, not {wrong}", field="conditions")
    chosen = torch.zeros(width, dtype=tensor.dtype, device=tensor.device)
    chosen[units] = 1
    shape = [1] * tensor.ndim
    shape[axis] = width
    return chosen.view(shape)


def edge_graph(
    model: nn.Module, inputs: Inputs, target: Target, rule: str | Composite = "epsilon", *, layers: Sequence[str],
    top: int = 5, fallback: str = "error",
) -> EdgeGraph:  # fmt: skip
    """The `top` components of each layer by |relevance|, and what flows from each to those of the layer below.

    Parameters
    ----------
    layers : names in any order; edges connect neighbours in order of execution.
    top : components kept per layer, summed over batch and positions.

    Returns
    -------
    EdgeGraph; an edge's relevance is the part of the source's relevance that reaches the target.
    """
    chosen = composite(rule) if isinstance(rule, str) else rule
    require_ready(model, inputs, target, layers)
    run = traced(model, inputs, target, chosen, layers=layers, fallback=fallback)
    run.stop_booking()
    names = list(reversed(run.captured))  # from the output to the input
    nodes: dict[tuple[str, int], float] = {}
    flows = torch.autograd.grad(run.carrier, [run.captured[name] for name in names], run.seed, **KEPT)
    kept = {name: _strongest(flow, top) for name, flow in zip(names, flows, strict=True)}
    for name, found in kept.items():
        nodes |= {(name, unit): amount for unit, amount in found.items()}
    edges: list[Edge] = []
    for name, below, flow in zip(names, names[1:], flows, strict=False):
        here = run.captured[name]
        for unit in kept[name]:
            only = flow * mask(here, Condition({name: [unit]}), name)
            (reached,) = torch.autograd.grad(here, run.captured[below], only, **KEPT)
            amounts = per_component(reached)
            edges += [Edge((name, unit), (below, lower), float(amounts[lower])) for lower in kept[below]]
    totals = {name: float(per_component(flow).abs().sum()) for name, flow in zip(names, flows, strict=True)}
    relevance = {name: flow.detach() for name, flow in zip(names, flows, strict=True)}
    return EdgeGraph(nodes, tuple(edges), totals, relevance)


def per_component(flow: Tensor) -> Tensor:
    """Relevance per component, summed over batch and positions, [C]."""
    axis = 1 if flow.ndim == 4 else flow.ndim - 1
    return flow.sum([each for each in range(flow.ndim) if each != axis])


def _strongest(flow: Tensor, top: int) -> dict[int, float]:
    amounts = per_component(flow)
    chosen = amounts.abs().topk(min(top, amounts.numel())).indices.tolist()
    return {unit: float(amounts[unit]) for unit in chosen}
