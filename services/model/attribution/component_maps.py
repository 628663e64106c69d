"""What components saw: where in the inputs their own activation comes from, many components for one forward pass.

No score is explained here. Plays begin at a component, with its activation as what there is to win, and end at the
inputs, so the map does not depend on a class. Source: concept relevance propagation (arXiv 2206.03208), as
SemanticLens (arXiv 2501.05398) cuts the examples of CNNs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from services.model.attribution.composite import Composite
from services.model.attribution.composites import composite
from services.model.attribution.conditions import KEPT, require_budget
from services.model.attribution.engine import BUDGET
from services.model.attribution.errors import BadCondition, BadInputs
from services.model.attribution.run import Run, traced
from services.model.attribution.targets import require_ready

CONVOLUTIONS, TRANSFORMERS = "epsilon_plus_flat", "cp_gamma"


@dataclass(frozen=True)
class Asked:
    """A component, one side of it where it is signed, and where its activation counts.

    Parameters
    ----------
    place : a flat position of the map, `max` for where the activation of its sign is largest, None for everywhere.
    """

    index: int
    sign: Literal[1, -1] = 1
    place: int | Literal["max"] | None = None


def rule_for(model: nn.Module) -> str:
    """The rule for maps of components: that of SemanticLens for CNNs; CP-LRP with gamma for what has no convolutions.

    A single convolution is how transformers cut patches, which does not make them CNNs.
    """
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    return CONVOLUTIONS if convolutions > 1 else TRANSFORMERS


def component_maps(
    model: nn.Module, inputs: Tensor, layer: str, asked: Sequence[Sequence[Asked]], rule: str | Composite, *,
    axis: int = 1, special_tokens: int = 0, budget: int = BUDGET,
) -> list[Tensor]:  # fmt: skip
    """Maps of some components of a layer for each input, conditioned on what is pooled.

    Parameters
    ----------
    inputs : [B, ...] floating. layer : name of a module.
    asked : components for each input, [B][n_b]. With a place only the activation there counts, as maximum pooling
        sees it; without, all activations of the component's sign do, as means and sums see them.
    axis : of the components in the layer's output. special_tokens : leading places that only a number can ask for.
    budget : largest number of entries of all maps together.

    Returns
    -------
    A tensor [n_b, ...] for each input, signed, of the inputs' dtype: sum = activation - absorbed. All zeros where the
    component has no activation of its sign. One forward pass, and max(n_b) backward passes from the layer down.

    Raises
    ------
    BadInputs, BadCondition : numbers of lists that differ, a component or place that is not there.
    UnknownComposite, UnknownLayerName, TrainingMode, MapBudgetExceeded, NoRule, NoGradientPath
    """
    chosen = composite(rule) if isinstance(rule, str) else rule
    require_ready(model, inputs, lambda output: output.flatten(1).sum(1), [layer])
    if len(asked) != len(inputs) or not inputs.is_floating_point():
        raise BadInputs(f"{len(inputs)} floating inputs need as many lists, not {len(asked)}", field="asked")
    most = max((len(each) for each in asked), default=0)
    require_budget(sum(map(len, asked)), inputs[:1], budget)
    run = traced(model, inputs, lambda output: output.flatten(1).sum(1), chosen, layers=(layer,))
    run.stop_booking()
    found: list[list[Tensor]] = [[] for _ in asked]
    for turn in range(most):
        now = [each[turn] if turn < len(each) else None for each in asked]
        seed = _seed(run, layer, now, chosen, axis, special_tokens)
        (flow,) = torch.autograd.grad(run.captured[layer], run.leaf, seed, **KEPT)
        payoff = flow * run.leaf.detach() if chosen.carrier == "gradient_x_input" else flow
        for place, each in enumerate(asked):
            if turn < len(each):
                found[place].append(payoff[place])
    return [torch.stack(each) if each else inputs.new_zeros(0, *inputs.shape[1:]) for each in found]


def _seed(
    run: Run, layer: str, asked: Sequence[Asked | None], chosen: Composite, axis: int, special_tokens: int
) -> Tensor:
    """What flows down from the layer: each input's own component, and nothing of the others."""
    here = run.captured[layer].detach()
    seed = torch.zeros_like(here)
    columns, own = here.movedim(axis, 1), seed.movedim(axis, 1)
    for row, one in enumerate(asked):
        if one is None:
            continue
        if not 0 <= one.index < columns.shape[1]:
            raise BadCondition(f"{layer} has components 0 to {columns.shape[1] - 1}, not {one.index}", field="asked")
        values = one.sign * columns[row, one.index].flatten()
        counts = (values > 0) & _where(values, one, layer, special_tokens)
        worth = values if chosen.carrier == "relevance" else torch.full_like(values, one.sign)
        own[row, one.index] = torch.where(counts, worth, 0).view_as(own[row, one.index])
    return seed


def _where(values: Tensor, one: Asked, layer: str, special_tokens: int) -> Tensor:
    """The places [P] that count."""
    there = torch.zeros_like(values, dtype=torch.bool)
    if one.place is None:
        there[special_tokens:] = True
    elif one.place == "max":
        there[special_tokens + int(values[special_tokens:].argmax())] = True
    elif 0 <= one.place < len(values):
        there[one.place] = True
    else:
        raise BadCondition(f"{layer} has positions 0 to {len(values) - 1}, not {one.place}", field="asked")
    return there
