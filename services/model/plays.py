"""Answers to requests for plays: a few random walks from one score down to the picture, with their places in it."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING

import torch
from PIL import Image

from contracts.attribution import Play, Plays, PlaysRequest, PlayStep, UnknownMethod
from contracts.base import Caller
from services.model.attribution import sample_plays
from services.model.attribution.composites import composite, without_biases
from services.model.attribution.methods import is_composite, method_names, require_method
from services.model.attribution.rendering import png
from services.model.attribution.sampler import Step
from services.model.attributions import (
    class_score_of,
    class_scores,
    picture_of,
    require_affordable,
    require_output,
)
from services.model.preprocess import cropped, reads_pictures, to_batch

if TYPE_CHECKING:
    from services.model.service import Models

PASSES = 40  # forward passes that a request costs, measured with 64 plays on EfficientNet-Lite0
MIXING = frozenset({"matmul", "bmm", "baddbmm", "softmax", "scaled_dot_product_attention", "einsum"})


def answer_of(models: Models, caller: Caller, model: str, query: PlaysRequest) -> Plays:
    """Play the game of a rule.

    Raises
    ------
    UnknownModel, UnknownOutput, UnknownSample, UnsafePicture, AttributionOverBudget; UnknownMethod : no composite of
    rules, or one that carries gradients, which is no game.
    """
    found = models.model(caller, model)
    reads = reads_pictures(found.ref)
    require_method(query.rule)
    games = [name for name in method_names() if is_composite(name) and composite(name).carrier == "relevance"]
    if query.rule not in games:
        raise UnknownMethod(f"{query.rule} is no game that could be played", field="rule", closest=games)
    require_affordable(PASSES, reads.crop)
    picture = picture_of(models, caller, query)
    rule = composite(query.rule) if query.biases else without_biases(composite(query.rule))
    batch = to_batch([picture], reads)
    with models.loaded(found.ref) as built:
        scores = class_scores(built.model, batch)[0]
        target = int(scores.argmax()) if query.target is None else query.target
        require_output(target, len(scores))
        played = sample_plays(
            built.model, batch, torch.tensor([target]), rule, plays=query.plays, seed=query.seed, paths=query.plays
        )
    return Plays(
        model=found.ref.id, target=class_score_of(found, scores, target), rule=query.rule,
        picture=base64.b64encode(png(Image.fromarray(cropped(picture, reads)))),
        plays=[
            Play(
                weight=weight, ended="picture" if path[-1].name == "input" else "absorbed",
                steps=[step_of(each) for each in path if each.name != "absorbed"],
            )
            for path, weight in zip(played.paths, played.weights.tolist(), strict=True)
        ],
    )  # fmt: skip


def step_of(step: Step) -> PlayStep:
    """Component and place of a step: of maps [B, C, H, H], of patches [B, T, D] in a square grid, of neither.

    The heads of an attention, [B, heads, T, d], have no place; what mixes tokens may be square and has none either.
    """
    name = "picture" if step.name == "input" else step.name
    if len(step.shape) == 4 and step.shape[2] == step.shape[3] and step.name not in MIXING:
        _, component, row, column = step.entry
        return PlayStep(
            function=name, component=component, x=(column + 0.5) / step.shape[3], y=(row + 0.5) / step.shape[2]
        )
    if len(step.shape) == 3:
        _, token, component = step.entry
        side = math.isqrt(step.shape[1])
        patch = token - (step.shape[1] - side * side)  # class token and registers come first
        if side < 2 or patch < 0:
            return PlayStep(function=name, component=component, x=None, y=None)
        return PlayStep(
            function=name, component=component, x=(patch % side + 0.5) / side, y=(patch // side + 0.5) / side
        )
    return PlayStep(function=name, component=step.entry[-1] if len(step.shape) == 2 else None, x=None, y=None)
