"""Answers about the components of a layer: their relevance over some samples, and whether ablation agrees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from contracts.attribution import ComponentEffect, ComponentRelevance, ComponentRequest, SampleOf, UnknownMethod
from contracts.base import Arrays, Caller
from contracts.model import Layer, Model
from services.model.attribution.components import (
    Check,
    ablation_check,
    absolute_normalised,
    component_relevance,
    summed,
)
from services.model.attribution.methods import described, is_composite, require_method, run_method
from services.model.attributions import (
    ACTIVATION,
    class_scores,
    require_affordable,
    require_layer,
    require_output,
    sample_picture,
    site_of,
)
from services.model.capture.hooks import AXIS
from services.model.preprocess import reads_pictures, to_batch

if TYPE_CHECKING:
    from services.model.adapters.port import Built
    from services.model.service import Models

SHOWN = 100
STEPS, ORDERS = 8, 5


@dataclass(frozen=True)
class Measured:
    """Everything computed for a request; `components` [K] are those that were ablated, `effects` [B, K]."""

    model: Model
    relevance: Tensor  # [B, C]
    scores: Tensor  # [B]
    targets: Tensor  # [B]
    components: Tensor
    effects: Tensor
    check: Check | None


def answer_of(models: Models, caller: Caller, model: str, query: ComponentRequest) -> ComponentRelevance:
    """Rank the components of a layer, with means over the samples."""
    found = _measured(models, caller, model, query)
    mean, share = found.relevance.mean(0), absolute_normalised(found.relevance).mean(0)
    effect = dict(zip(found.components.tolist(), found.effects.mean(0).tolist(), strict=True))
    first = mean.abs().argsort(descending=True, stable=True)[:SHOWN].tolist()
    return ComponentRelevance(
        model=found.model.ref.id, layer=query.layer, rule=query.rule, samples=len(query.samples),
        targets=found.targets.tolist(), width=len(mean), checked=len(found.components),
        components=[
            ComponentEffect(
                index=index, relevance=float(mean[index]), share=float(share[index]), effect=effect.get(index)
            )
            for index in first
        ],
        **({} if found.check is None else _figures(found.check)),
    )  # fmt: skip


def arrays_of(models: Models, caller: Caller, model: str, query: ComponentRequest) -> Arrays:
    """The same as arrays."""
    found = _measured(models, caller, model, query)
    return {
        "relevance": found.relevance.numpy(),
        "effects": found.effects.numpy(),
        "components": found.components.numpy(),
        "scores": found.scores.float().numpy(),
        "targets": found.targets.numpy(),
    }


def _figures(check: Check) -> dict[str, float | None]:
    spearman = check.spearman[~check.spearman.isnan()]
    return {
        "spearman": float(spearman.mean()) if len(spearman) else None,
        "deletion": float(check.area.mean()),
        "random": float(check.random.mean()),
    }


def _measured(models: Models, caller: Caller, model: str, query: ComponentRequest) -> Measured:
    found = models.model(caller, model)
    layer = require_layer(found, query.layer)
    cost = 4 if query.rule == ACTIVATION else _cost(query.rule)
    checked = min(query.ablate, layer.width)
    check = checked + (ORDERS + 1) * (STEPS + 1) + 4 if checked else 0
    require_affordable(len(query.samples) * (1 + cost + check), reads_pictures(found.ref).crop)
    pictures = [sample_picture(models, caller, SampleOf(dataset=query.dataset, index=i)) for i in query.samples]
    batch = to_batch(pictures, reads_pictures(found.ref))
    with models.loaded(found.ref) as built:
        scores = class_scores(built.model, batch)
        if query.target is not None:
            require_output(query.target, scores.shape[1])
        targets = scores.argmax(1) if query.target is None else torch.full((len(batch),), query.target)
        relevance = _relevance(built, layer, query.rule, batch, targets)
        components = spread(relevance.mean(0), checked)
        effects, figures = torch.zeros(len(batch), 0), None
        if checked > 1:
            effects, figures = ablation_check(
                built.model, site_of(layer), batch, targets, relevance, components, steps=STEPS, orders=ORDERS
            )
    return Measured(
        found, relevance, scores.gather(1, targets.unsqueeze(1)).squeeze(1), targets,
        components if figures is not None else components[:0], effects, figures,
    )  # fmt: skip


def _cost(rule: str) -> int:
    require_method(rule)
    if not is_composite(rule):
        raise UnknownMethod(f"{rule} gives no relevance of components", field="rule", closest=[ACTIVATION])
    return described(rule)[1]


def _relevance(built: Built, layer: Layer, rule: str, batch: Tensor, targets: Tensor) -> Tensor:
    """[B, C]."""
    if rule == ACTIVATION:
        return component_relevance(built.model, site_of(layer), batch, targets)
    found = run_method(rule, built.model, batch, targets, layers=(layer.name,))
    return summed(found.layers[layer.name].detach(), AXIS[layer.kind])


def spread(relevance: Tensor, most: int) -> Tensor:
    """Choose components for ablation: half of them the most relevant, half spread evenly over the other ranks.

    Only the most relevant would hide what relevance overlooks; only even ranks would miss what matters.
    """
    order = relevance.abs().argsort(descending=True, stable=True)
    top = (most + 1) // 2
    rest = order[top:]
    if most >= len(order) or not len(rest):
        return order[:most]
    places = torch.linspace(0, len(rest) - 1, most - top).round().long()
    return torch.cat([order[:top], rest[places]])
