"""What repairs a net that an audit flags: silencing the flagged components, and retraining against them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from benchmarks.controlled import loaded
from benchmarks.report import Report
from contracts.corrections import NothingCorrected
from contracts.data import ScenesSource
from contracts.model import Layer
from services.kit.scenes import SHAPES, draw_scene
from services.kit.scenes.checkpoints import packaged_weights
from services.model.attribution.components import Site, component_relevance
from services.model.audits import to_ablate
from services.model.capture.catalogue import catalogue
from services.model.capture.hooks import first_tensor
from services.model.controlled.pictures import Pictures, rendered, to_input
from services.model.controlled.truth import activations_of
from services.model.corrections import chosen_step, controls, steps_of
from services.model.retraining import Recipe, Retraining, presence
from services.model.suppression import Silencer

CONFOUNDED = list(SHAPES).index("triangle")


def repair(report: Report, name: str, net: nn.Module, layer: str, flagged: np.ndarray, count: int, full: bool) -> None:
    """Suppress the flagged components, or retrain against them; even scenes choose, odd ones judge."""
    if not len(flagged):
        return
    clean, planted = twice(ScenesSource(n=count, split="validation", planting="never"))
    relevance = relevance_of(net, layer, planted)
    order = to_ablate(relevance, np.isin(np.arange(len(relevance)), flagged), len(flagged), len(relevance)).tolist()
    steps = [0, *steps_of(len(order))]
    others, even = planted.labels != CONFOUNDED, np.arange(count) % 2 == 0
    activity = activations_of(net, layer_of(net, layer), clean)[even].mean(axis=0)
    with Silencer(net, layer, 1) as silencer:
        right = {
            kind: judged(net, silencer, some, [order[:n] for n in steps])
            for kind, some in (("clean", clean), ("artefact", planted))
        }
        try:
            best = chosen_step(right["clean"][:, even].mean(1), right["artefact"][:, even & others].mean(1), 0.02)
        except NothingCorrected:
            best = 0
        alike = judged(net, silencer, planted, controls(activity, steps[best], seed=0))
    judging = ~even & others
    was = {"clean": right["clean"][0][~even].mean(), "artefact": right["artefact"][0][judging].mean()}
    gain, least, random = (
        float(rows[:, judging].mean() - was["artefact"])
        for rows in (right["artefact"][best : best + 1], alike[:1], alike[1:])
    )
    n = int(judging.sum())
    report.line(metric=f"audit.{name}.artefact_accuracy.before", value=float(was["artefact"]), unit="share", n=n)
    report.line(
        metric=f"audit.{name}.suppressed.gain", value=gain, unit="share", n=n,
        peer="the better of random and least active units", peer_value=max(random, least),
    )  # fmt: skip
    lost = float(was["clean"] - right["clean"][best][~even].mean()) * 100
    report.line(metric=f"audit.{name}.suppressed.clean_loss", value=lost, unit="points")

    goal = float(alone(loaded("cnn-0", packaged_weights("cnn-0")), planted)[judging].mean()) - 0.05
    recipe = Recipe(steps=400 if full else 200)
    apart = rendered([scene for half in twice(ScenesSource(n=2 * count, seed=7)) for scene in half.scenes])
    mended = retrained(net, layer, apart, order, recipe)
    reached = float(alone(mended, planted)[judging].mean())
    report.line(
        metric=f"audit.{name}.retrained.artefact_accuracy", value=reached, unit="share", n=n,
        goal=f">= {goal:.3f}, 5 points below a net trained on clean scenes", ok=reached >= goal,
    )  # fmt: skip
    lost = float(was["clean"] - alone(mended, clean)[~even].mean()) * 100
    report.line(
        metric=f"audit.{name}.retrained.clean_loss", value=lost, unit="points", goal="<= 2", ok=lost <= 2 + 1e-9
    )
    if not full:
        return
    source = ScenesSource(n=4000, seed=7, strength=0.95)  # few scenes show the tag elsewhere, so finding them matters
    biased = rendered([draw_scene(source, index) for index in range(source.n)])
    found, random, least = (
        float(alone(retrained(net, layer, biased, units, recipe), planted)[judging].mean())
        for units in (order, *reversed(controls(activity, len(order), seed=0)[:2]))
    )
    report.line(
        metric=f"audit.{name}.retrained_on_biased.artefact_accuracy", value=found, unit="share", n=n,
        peer="the better of random and least active units telling", peer_value=max(random, least),
    )  # fmt: skip


def twice(source: ScenesSource) -> tuple[Pictures, Pictures]:
    """Scenes without the artefact and the same with it."""
    scenes = [draw_scene(source, index) for index in range(source.n)]
    return rendered(scenes), rendered([scene.with_artefact("tag") for scene in scenes])


def retrained(net: nn.Module, layer: str, lesson: Pictures, units: Sequence[int], recipe: Recipe) -> nn.Module:
    """A copy of the net, retrained as `xsys audit repair --retrain` does it, where `units` tell the artefact."""
    present = presence(activations_of(net, layer_of(net, layer), lesson), units)
    other = copy.deepcopy(net)
    truth = lesson.labels.astype(np.int64)
    Retraining(other, recipe, truth, present, lambda rows: to_input(lesson.pixels[rows])).run(recipe.steps)
    return other


def alone(net: nn.Module, pictures: Pictures) -> np.ndarray:
    """Whether each scene is classified rightly: [N] bool."""
    return np.asarray(judged(net, SimpleNamespace(units=[]), pictures, [[]])[0])


def relevance_of(net: nn.Module, layer: str, pictures: Pictures) -> np.ndarray:
    """Mean relevance for the confounded class over 64 planted scenes of other classes."""
    chosen = np.flatnonzero(pictures.labels != CONFOUNDED)[:64]
    found = component_relevance(net, Site(layer, 1), to_input(pictures.pixels[chosen]), CONFOUNDED)
    return np.asarray(found.mean(0).double().numpy())


def judged(net: nn.Module, silencer: Silencer | SimpleNamespace, pictures: Pictures, sets: list) -> np.ndarray:
    """Whether each scene is classified rightly with each set suppressed: [S, N] bool."""
    found = np.zeros((len(sets), len(pictures)), dtype=bool)
    for place, units in enumerate(sets):
        silencer.units = list(units)
        with torch.inference_mode():
            for start in range(0, len(pictures), 200):
                span = slice(start, start + 200)
                found[place, span] = net(to_input(pictures.pixels[span])).argmax(1).numpy() == pictures.labels[span]
    silencer.units = []
    return found


def layer_of(net: nn.Module, name: str) -> Layer:
    sample = torch.zeros(2, 3, 64, 64).normal_(generator=torch.Generator().manual_seed(0))
    return next(one for one in catalogue(net, sample, pick=first_tensor) if one.name == name)
