"""Concept-conditional maps and edge graphs: plays restricted to those that visit some components.

The restriction is a mask on the relevance at a layer. All maps use the graph of one forward pass, and are carried in
batches of backward passes.
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
TOGETHER = 16  # backward passes carried at once; more costs memory and gains nothing on a CPU


def require_budget(conditions: int, given: Tensor, budget: int) -> None:
    """Refuse maps that would not fit."""
    pixels = given.numel()
    if conditions * pixels > budget:
        raise MapBudgetExceeded(
            f"{conditions} conditions x {pixels} entries are {conditions * pixels}, above {budget}",
            field="conditions", entries=conditions * pixels, budget=budget,
        )  # fmt: skip


def conditional_maps(run: Run, conditions: Sequence[Condition], chosen: Composite) -> Tensor:
    """Return one map per condition, [C, B, *input]."""
    order = {name: index for index, name in enumerate(run.captured)}
    paths = [tuple(sorted(each.units, key=lambda name: -order[name])) for each in conditions]
    maps: list[Tensor | None] = [None] * len(conditions)
    run.ledger.closed = True  # amounts of a batch of backward passes do not belong to the one that is reported
    for path in dict.fromkeys(paths):
        members = [index for index, each in enumerate(paths) if each == path]
        if not path:
            raise BadCondition("a condition names no layer", field="conditions")
        (above,) = torch.autograd.grad(run.carrier, run.captured[path[0]], run.seed, **KEPT)
        for start in range(0, len(members), TOGETHER):
            group = members[start : start + TOGETHER]
            flow = _carried(run, path, [conditions[index] for index in group], above)
            for index, each in zip(group, flow, strict=True):
                payoff = each * run.leaf.detach() if chosen.carrier == "gradient_x_input" else each
                maps[index] = payoff.sum(-1) if run.tokens else payoff
    return torch.stack([each for each in maps if each is not None])


def _carried(run: Run, path: tuple[str, ...], conditions: Sequence[Condition], above: Tensor) -> Tensor:
    flow = above.expand(len(conditions), *above.shape)
    for name, below in zip(path, [*path[1:], None], strict=True):
        here = run.captured[name]
        flow = flow * torch.stack([mask(here, each, name) for each in conditions])
        goal = run.leaf if below is None else run.captured[below]
        (flow,) = torch.autograd.grad(here, goal, flow, is_grads_batched=True, **KEPT)
    return flow


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
    run.ledger.closed = True
    names = list(reversed(run.captured))  # from the output to the input
    nodes: dict[tuple[str, int], float] = {}
    flows = torch.autograd.grad(run.carrier, [run.captured[name] for name in names], run.seed, **KEPT)
    kept = {name: _strongest(flow, top) for name, flow in zip(names, flows, strict=True)}
    for name, found in kept.items():
        nodes |= {(name, unit): amount for unit, amount in found.items()}
    edges: list[Edge] = []
    for name, below, flow in zip(names, names[1:], flows, strict=False):
        here = run.captured[name]
        masks = torch.stack([mask(here, Condition({name: [unit]}), name) for unit in kept[name]])
        (reached,) = torch.autograd.grad(here, run.captured[below], flow * masks, is_grads_batched=True, **KEPT)
        for unit, each in zip(kept[name], reached, strict=True):
            amounts = per_component(each)
            edges += [Edge((name, unit), (below, lower), float(amounts[lower])) for lower in kept[below]]
    return EdgeGraph(nodes, tuple(edges))


def per_component(flow: Tensor) -> Tensor:
    """Relevance per component, summed over batch and positions, [C]."""
    axis = 1 if flow.ndim == 4 else flow.ndim - 1
    return flow.sum([each for each in range(flow.ndim) if each != axis])


def _strongest(flow: Tensor, top: int) -> dict[int, float]:
    amounts = per_component(flow)
    chosen = amounts.abs().topk(min(top, amounts.numel())).indices.tolist()
    return {unit: float(amounts[unit]) for unit in chosen}
