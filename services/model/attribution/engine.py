"""`attribute`: relevance of a score for the inputs and layers of any torch model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from services.model.attribution.composite import Composite
from services.model.attribution.composites import composite
from services.model.attribution.conditions import conditional_maps, require_budget
from services.model.attribution.errors import BadInputs
from services.model.attribution.result import Attribution, Condition, Diagnostics
from services.model.attribution.run import Run, traced
from services.model.attribution.targets import Inputs, Target, main_input, output_tensor, require_ready

BUDGET = 2**27


def attribute(
    model: nn.Module, inputs: Inputs, target: Target, rule: str | Composite = "epsilon", *,
    layers: Sequence[str] = (), conditions: Sequence[Condition] | None = None,
    fallback: Literal["error", "gradient"] = "error", path_mass: bool = False, verify: bool = True,
    budget: int = BUDGET,
) -> Attribution:  # fmt: skip
    """Attribute a score to the inputs.

    Parameters
    ----------
    model : any module in evaluation mode; it is not changed, and other threads do not see the rules.
    inputs : [B, ...] floating (pixels, features) or integer (token ids, for models with an embedding), or the keyword
        arguments of the model; then the first floating tensor is explained, or `input_ids`.
    target : output index (one, or one per input), or a function from the output to a score [B]. Of an output
        [B, T, V] an index means the last position.
    rule : name of a composite (see `COMPOSITES`) or a composite.
    layers : module names whose relevance is wanted as well.
    conditions : maps of the plays that visit some components; all share this forward pass.
    fallback : `gradient` passes operations that have no rule by gradient x input, instead of refusing.
    path_mass : also compute the path-mass amplification (one more forward and backward pass).
    verify : also run the model plainly, to report the change of the forward pass.
    budget : largest number of entries of all conditional maps together.

    Returns
    -------
    Attribution; float tensors of the inputs' dtype. sum R + absorbed = score for conserving rules.

    Raises
    ------
    UnknownComposite, UnknownLayerName, TrainingMode, BadInputs, TargetOutOfRange, BadCondition, MapBudgetExceeded
        before any work; NoRule, FusedAttention, NoGradientPath, TargetOutOfRange when the forward pass shows it.

    Source: LRP (Bach et al. 2015), AttnLRP (arXiv 2402.05602), CP-LRP (arXiv 2202.07304), concept-conditional maps
    (arXiv 2206.03208); read as one game in docs/attribution.md.
    """
    chosen = composite(rule) if isinstance(rule, str) else rule
    wanted = tuple(conditions or ())
    require_ready(model, inputs, target, [*layers, *(name for each in wanted for name in each.units)])
    if fallback not in ("error", "gradient"):
        raise BadInputs(f"fallback {fallback!r} is neither 'error' nor 'gradient'", field="fallback")
    _, given = main_input(inputs)
    require_budget(len(wanted), given, budget)
    visited = dict.fromkeys([*layers, *(name for each in wanted for name in each.units)])
    run = traced(model, inputs, target, chosen, layers=tuple(visited), fallback=fallback)
    reached = [run.leaf, *(run.captured[name] for name in layers)]
    flows = torch.autograd.grad(
        run.carrier, reached, run.seed, retain_graph=bool(wanted), allow_unused=True, materialize_grads=True
    )
    maps = conditional_maps(run, wanted, chosen) if wanted else None
    mass = _path_mass(model, inputs, target, chosen, fallback) if path_mass else None
    change = _forward_change(model, inputs, run.output) if verify else None
    relevance = input_map(run, flows[0], chosen)
    found = {
        name: flow * run.captured[name].detach() if chosen.carrier == "gradient_x_input" else flow
        for name, flow in zip(layers, flows[1:], strict=True)
    }
    told = _diagnose(run, flows[0], chosen, mass, change)
    outputs = {name: run.captured[name].detach() for name in layers}
    return Attribution(relevance, run.output, run.score, found, told, maps, outputs)


def input_map(run: Run, flow: Tensor, chosen: Composite) -> Tensor:
    """What reached the inputs, in the shape of the inputs; token embeddings are summed."""
    payoff = flow * run.leaf.detach() if chosen.carrier == "gradient_x_input" else flow
    return payoff.sum(-1) if run.tokens else payoff


def _diagnose(run: Run, flow: Tensor, chosen: Composite, mass: float | None, change: float | None) -> Diagnostics:
    if chosen.carrier != "relevance":
        return Diagnostics(None, {}, mass, change)
    absorbed = run.ledger.totals()
    sent = run.seed.double()
    gap = abs(float(flow.double().sum()) + sum(absorbed.values()) - float(sent.sum()))
    scale = float(sent.abs().sum())
    return Diagnostics(gap / scale if scale else gap, absorbed, mass, change, tuple(run.tracer.unruled))


def _path_mass(model: nn.Module, inputs: Inputs, target: Target, chosen: Composite, fallback: str) -> float | None:
    if chosen.carrier == "gradient":
        return None
    rules = composite("lrp0") if chosen.carrier == "gradient_x_input" else chosen
    run = traced(model, inputs, target, rules, fallback=fallback, absolute=True)
    (flow,) = torch.autograd.grad(run.carrier, run.leaf, run.seed.abs())
    sent = float(run.seed.double().abs().sum())
    return float(flow.double().sum()) / sent if sent else None


def _forward_change(model: nn.Module, inputs: Inputs, output: Tensor) -> float:
    with torch.no_grad():
        plain = output_tensor(model(**inputs) if isinstance(inputs, Mapping) else model(inputs))
    return float((plain - output).abs().max() / plain.abs().max().clamp(min=torch.finfo(plain.dtype).tiny))
