"""Which components of a layer a score rests on: activation × gradient, and the effect of ablating them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from services.model.attribution.baselines.scoring import Score, Target, checked
from services.model.attribution.errors import BadCondition, UnknownLayerName
from services.model.attribution.evaluation.faithfulness import pearson
from services.model.attribution.evaluation.localisation import mid_ranks
from services.model.attribution.evaluation.perturbation import area
from services.model.capture.hooks import first_tensor

BATCH = 64
TOLERANCE = 1e-3
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Site:
    """A layer and the axis of its components: 1 for maps [B, C, H, W], -1 for tokens, vectors and [B, H, W, C]."""

    layer: str
    axis: int = 1


def component_relevance(
    model: nn.Module, site: Site, inputs: Tensor, target: Target, *, sign: Literal[1, -1] | None = None
) -> Tensor:
    """R_k = Σ_positions a_k ∂f_c/∂a_k, sign kept.

    Parameters
    ----------
    sign : count only positions where the activation has this sign: one of the two components of a signed unit.

    Returns
    -------
    [B, C] float32.

    Raises
    ------
    UnknownLayerName, BadCondition : no such layer, or one that the score does not depend on.

    Source: attributing-clip; the first-order estimate of the ablation effect.
    """
    leaf, of = checked(model, inputs, target)
    with watched(model, site, lambda output: output.clone()) as outputs, torch.enable_grad():
        score = Score(model)(leaf, of)
    activation = _only(outputs, site)
    (slope,) = torch.autograd.grad(score.sum(), activation, allow_unused=True)
    if slope is None:
        raise BadCondition(f"the score does not depend on {site.layer}", field="layer")
    return summed(activation.detach() * slope, site.axis, where=activation.detach(), sign=sign)


def summed(relevance: Tensor, axis: int, *, where: Tensor | None = None, sign: Literal[1, -1] | None = None) -> Tensor:
    """Relevance of components: the sum over all positions. [B, ..., C, ...] -> [B, C] float32.

    Parameters
    ----------
    where, sign : count only positions where this tensor has that sign.
    """
    if sign is not None and where is not None:
        relevance = torch.where(where * sign > 0, relevance, 0)
    return relevance.movedim(axis, 1).flatten(2).sum(2).float() if relevance.ndim > 2 else relevance.float()


def absolute_normalised(relevance: Tensor) -> Tensor:
    """Shares R_k / (Σ_k |R_k| + 1e-10), [B, C]. Source: zennit-crp, `abs_norm`."""
    return relevance / (relevance.abs().sum(1, keepdim=True) + 1e-10)


def ablation_effects(
    model: nn.Module, site: Site, inputs: Tensor, target: Target, components: Tensor, *, value: Tensor | float = 0.0
) -> Tensor:
    """Δ_k = f_c(x) - f_c(x | a_k ← value), for each of some components.

    Parameters
    ----------
    components : [K] int64, distinct or not.
    value : 0, or [C] such as the mean activation over a dataset.

    Returns
    -------
    [B, K] float32, positive where the component speaks for the class.
    """
    width = _width(model, site, inputs, target)
    if components.ndim != 1 or not bool(((components >= 0) & (components < width)).all()):
        raise BadCondition(f"{site.layer} has components 0 to {width - 1}", field="components", width=width)
    chosen = torch.nn.functional.one_hot(components.to(inputs.device), width).bool()
    none = torch.zeros(1, width, dtype=torch.bool, device=inputs.device)
    scores = ablated_scores(model, site, inputs, target, torch.cat([none, chosen]), value=value)
    return scores[:, :1] - scores[:, 1:]


def ablated_scores(
    model: nn.Module, site: Site, inputs: Tensor, target: Target, ablated: Tensor, *, value: Tensor | float = 0.0
) -> Tensor:
    """Score under sets of ablated components.

    The network runs once up to the layer; from there on many sets run as one batch. Where the rest of the network does
    not allow that (it also reads something of the old batch size), whole passes are batched instead, which is checked
    once a sample by value.

    Parameters
    ----------
    ablated : [K, C] bool, the components to replace.
    value : 0, or [C].

    Returns
    -------
    [B, K] float32.
    """
    leaf, of = checked(model, inputs, target)
    rows = []
    with torch.no_grad():
        for sample, one in zip(leaf.detach().split(1), of, strict=True):
            run = _from_layer_on if _can_widen(model, site, sample, one) else _whole
            rows.append(torch.cat([run(model, site, sample, one, some, value) for some in ablated.split(BATCH)]))
    return torch.stack(rows).float()


@dataclass(frozen=True)
class Check:
    """How well relevance predicts ablation.

    Parameters
    ----------
    spearman : [B] rank correlation of R and Δ over components; NaN where either is constant.
    area : [B] area under the score while components are ablated in the order of R, the score without scaled to 1.
    random : [B] the same for random orders, their mean; the difference is what the order is worth.
    """

    spearman: Tensor
    area: Tensor
    random: Tensor


def ablation_check(
    model: nn.Module, site: Site, inputs: Tensor, target: Target, relevance: Tensor, components: Tensor, *,
    value: Tensor | float = 0.0, steps: int = 8, orders: int = 5, seed: int = 0,
) -> tuple[Tensor, Check]:  # fmt: skip
    """Return effects Δ [B, K] of some components, and how well `relevance` [B, C] predicts them.

    Deletion curves go over the same components, so that their cost does not grow with the layer's width.
    """
    effects = ablation_effects(model, site, inputs, target, components, value=value)
    of_these = relevance[:, components]
    spearman = pearson(mid_ranks(of_these.double()), mid_ranks(effects.double()))
    generator = torch.Generator().manual_seed(seed)
    steps = min(steps, len(components))
    areas = []
    for row in range(len(inputs)):
        by_relevance = components[of_these[row].argsort(descending=True)]
        drawn = [components[torch.randperm(len(components), generator=generator)] for _ in range(orders)]
        sets = torch.cat([_nested(order, relevance.shape[1], steps) for order in (by_relevance, *drawn)])
        one = target[row : row + 1] if isinstance(target, Tensor) and target.ndim else target
        scores = ablated_scores(model, site, inputs[row : row + 1], one, sets.to(inputs.device), value=value)
        curves = scores.view(orders + 1, steps + 1)
        areas.append(area(curves / curves[:, :1].abs().clamp(min=1e-12)))
    table = torch.stack(areas)
    return effects, Check(spearman, table[:, 0], table[:, 1:].mean(1))


def _nested(order: Tensor, width: int, steps: int) -> Tensor:
    sets = torch.zeros(steps + 1, width, dtype=torch.bool)
    for step in range(1, steps + 1):
        sets[step, order[: round(step * len(order) / steps)]] = True
    return sets


def ablate(output: Tensor, ablated: Tensor, axis: int, value: Tensor | float) -> Tensor:
    """Replace components: row k of the batch loses those of `ablated[k]`; [K, ...] and [K, C]."""
    shape = [len(ablated), *[1] * (output.ndim - 1)]
    shape[axis] = ablated.shape[1]
    held = torch.as_tensor(value, dtype=output.dtype, device=output.device)
    if held.ndim:
        held = held.view([1, *shape[1:]])
    return torch.where(ablated.view(shape), held, output)


def _from_layer_on(
    model: nn.Module, site: Site, sample: Tensor, target: Tensor, ablated: Tensor, value: Tensor | float
) -> Tensor:
    with watched(model, site, lambda output: ablate(output, ablated, site.axis, value)):
        return Score(model)(sample, target.expand(len(ablated)))


def _whole(
    model: nn.Module, site: Site, sample: Tensor, target: Tensor, ablated: Tensor, value: Tensor | float
) -> Tensor:
    wide = sample.expand(len(ablated), *sample.shape[1:])
    with watched(model, site, lambda output: ablate(output, ablated, site.axis, value)):
        return Score(model)(wide, target.expand(len(ablated)))


def _can_widen(model: nn.Module, site: Site, sample: Tensor, target: Tensor) -> bool:
    """Whether the rest of the network takes a larger batch than its beginning, and computes the same."""
    plain = Score(model)(sample, target.expand(1))
    nothing = torch.zeros(2, _width(model, site, sample, target), dtype=torch.bool, device=sample.device)
    try:
        twice = _from_layer_on(model, site, sample, target, nothing, 0.0)
    except (RuntimeError, IndexError):  # shapes that do not broadcast are torch's RuntimeError, nothing narrower
        return False
    scale = plain.abs().clamp(min=1.0)
    return twice.shape == (2,) and bool(((twice - plain).abs() <= TOLERANCE * scale).all())


def _width(model: nn.Module, site: Site, inputs: Tensor, target: Target) -> int:
    with watched(model, site, lambda output: output) as outputs, torch.no_grad():
        model(inputs[:1])
    return _only(outputs, site).shape[site.axis]


@contextmanager
def watched(model: nn.Module, site: Site, change: Change) -> Iterator[list[Tensor]]:
    """Replace the layer's output in forward passes of this thread, and keep what replaced it."""
    modules = dict(model.named_modules())
    if site.layer not in modules:
        raise UnknownLayerName(f"the model has no module {site.layer}", field="layer")
    owner, kept = threading.get_ident(), []

    def hook(module: nn.Module, given: object, output: object) -> object:
        if threading.get_ident() != owner:
            return None
        tensor = first_tensor(site.layer, output)
        changed = change(tensor)
        kept.append(changed)
        if isinstance(output, tuple | list):
            return type(output)(changed if part is tensor else part for part in output)
        return changed

    handle = modules[site.layer].register_forward_hook(hook)
    try:
        yield kept
    finally:
        handle.remove()


def _only(outputs: list[Tensor], site: Site) -> Tensor:
    if len(outputs) != 1:
        raise BadCondition(f"{site.layer} ran {len(outputs)} times in one forward pass", field="layer")
    return outputs[0]
