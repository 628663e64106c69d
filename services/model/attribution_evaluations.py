"""Offline work of evaluating attribution methods: figures of each sample by method, then means with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from contracts.attribution_evaluation import EvaluationRequest
from contracts.errors import UnknownMask
from contracts.model import ModelRef
from services.kit.pictures import Manifest
from services.kit.stages import StageFunction, Work
from services.model.planning_evaluation import FIGURES, JUDGE
from services.model.service import Models

if TYPE_CHECKING:
    from torch import Tensor, nn

    from contracts.attribution_evaluation import Evidence
    from contracts.model import Preprocessing

BATCH = 8
BETTER = {
    "pointing_game": "high", "mass_accuracy": "high", "rank_accuracy": "high", "auc": "high",
    "top_k_intersection": "high", "deletion": "low", "insertion": "high", "abpc": "high", "instability": "low",
    "gini": None, "entropy": None, "effective_complexity": None,
}  # fmt: skip
GRIDS = ("pixel/positive", "pixel/absolute", "patch/positive", "patch/absolute", "")


def evaluation_stages(models: Models) -> tuple[StageFunction, ...]:
    """The stages of an evaluation."""
    return (
        StageFunction(JUDGE, 1, lambda work: judge_attributions(work, models)),
        StageFunction(FIGURES, 1, attribution_figures),
    )


def judge_attributions(work: Work, models: Models) -> None:
    """Attribute a shard of samples by one method, and put out each sample's figures: [n] float64 by name."""
    import torch

    from services.model.attributions import class_scores
    from services.model.preprocess import reads_pictures, to_batch

    request, ref = EvaluationRequest.model_validate(work.spec["request"]), ModelRef.model_validate(work.spec["model"])
    ids, classes = cast(list[int], work.spec["ids"]), cast(list[str], work.spec["classes"])
    manifest, how = Manifest.load(work.path("manifest"), work.blobs), reads_pictures(ref)
    outputs = {name: place for place, name in enumerate(classes)}
    labels = manifest.labels()
    parts: list[dict[str, Tensor]] = []
    with models.loaded(ref) as built:
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            batch = to_batch((manifest.picture(index) for index in some), how)
            predicted = class_scores(built.model, batch).argmax(1)
            truth = torch.tensor([outputs.get(str(labels[index]), -1) for index in some])
            right = predicted == truth
            counts = torch.ones(len(some), dtype=torch.bool)
            if request.target == "label":
                counts &= truth >= 0
            if request.right_only:
                counts &= right
            target = torch.where(truth >= 0, truth, predicted) if request.target == "label" else predicted
            masks = None
            if request.mask is not None:
                masks = torch.stack([mask_on_crop(manifest, index, request.mask, how) for index in some])
            figures = figures_of(built.model, batch, target, masks, str(work.spec["method"]), request)
            blank = torch.full((len(some),), torch.nan, dtype=torch.float64)
            figures = {name: torch.where(counts, values, blank) for name, values in figures.items()}
            figures["known"], figures["right"] = (truth >= 0).double(), right.double()
            parts.append(figures)
            work.advance(len(some))
    work.emit_arrays("figures", {name: torch.cat([each[name] for each in parts]).numpy() for name in parts[0]})


def mask_on_crop(manifest: Manifest, index: int, mask: str, how: Preprocessing) -> Tensor:
    """A sample's mask where the model sees it, [crop, crop] bool; a sample without it has an empty one."""
    import torch

    from services.model.preprocess import cropped

    try:
        found = manifest.mask(index, mask)
    except UnknownMask:
        return torch.zeros(how.crop, how.crop, dtype=torch.bool)
    drawn = Image.fromarray(found.astype(np.uint8) * np.uint8(255))
    return torch.from_numpy(cropped(drawn, how)[..., 0] > 127)


def figures_of(
    model: nn.Module, batch: Tensor, target: Tensor, masks: Tensor | None, method: str, request: EvaluationRequest
) -> dict[str, Tensor]:
    """Every figure of one batch, [B] float64 by `metric`, or `metric/resolution/evidence` for localisation."""
    from services.model.attribution.evaluation import (
        COMPLEXITY,
        Scorer,
        insertion,
        noise_stability,
        pixel_flipping,
    )
    from services.model.attribution.evaluation.perturbation import area, curve
    from services.model.attribution.methods import run_method
    from services.model.attribution.rendering import on_pixels
    from services.model.attributions import BLUR

    def maps_of(inputs: Tensor) -> Tensor:
        return run_method(method, model, inputs, target, fallback=request.fallback).relevance.detach()

    maps = maps_of(batch)
    ordered = on_pixels(maps, (batch.shape[-2], batch.shape[-1])).double()
    figures = {name: metric(ordered) for name, metric in COMPLEXITY.items()}
    if masks is not None:
        figures |= localised(ordered, masks, request)
    if request.steps:
        score = Scorer(model, probability=True, batch=32)
        most = pixel_flipping(score, batch, ordered, target, steps=request.steps)
        least = curve(score, batch, ordered, target, steps=request.steps, order="least")
        figures["deletion"] = area(most)
        figures["abpc"] = area(least) - area(most)
        sigma = BLUR * batch.shape[-1]
        figures["insertion"] = insertion(score, batch, ordered, target, steps=request.steps, sigma=sigma)
    if request.draws:
        figures["instability"] = noise_stability(
            maps_of, batch, noise=request.noise, draws=request.draws, seed=request.seed
        )
    return {name: values.double() for name, values in figures.items()}


def localised(ordered: Tensor, masks: Tensor, request: EvaluationRequest) -> dict[str, Tensor]:
    """Localisation by positive and by absolute relevance, at pixels and, where asked for, at patches."""
    from services.model.attribution.evaluation import LOCALISATION, patch_maps, patch_masks
    from services.model.attribution.evaluation.maps import weighed

    figures: dict[str, Tensor] = {}
    for evidence in ("positive", "absolute"):
        maps = weighed(ordered, cast("Evidence", evidence))
        grids = {"pixel": (maps, masks)}
        if request.patch is not None:
            grids["patch"] = patch_maps(maps, request.patch), patch_masks(masks, request.patch)
        for resolution, (grid, inside) in grids.items():
            k = max(1, round(request.top * grid[0].numel()))
            for name, metric in LOCALISATION.items():
                more = {"k": k} if name == "top_k_intersection" else {}
                figures[f"{name}/{resolution}/{evidence}"] = metric(grid, inside, evidence=evidence, **more)
    return figures


def attribution_figures(work: Work) -> None:
    """Means over all samples with bootstrap intervals, and how far each method stays behind the best of a figure."""
    import torch

    from services.model.attribution.evaluation import Interval, interval, paired_interval

    request = EvaluationRequest.model_validate(work.spec["request"])
    methods = list(dict.fromkeys(request.methods))
    by_method: dict[str, dict[str, Tensor]] = {}
    for method in methods:
        shards = [work.arrays(role) for role in sorted(work.inputs) if role.rpartition("/")[0] == method]
        by_method[method] = {
            name: torch.from_numpy(np.concatenate([shard[name] for shard in shards])) for name in shards[0]
        }

    def spread(found: Interval) -> dict[str, float] | None:
        return {"mean": found.mean, "low": found.low, "high": found.high} if found.n else None

    figures: list[dict[str, object]] = []
    first = by_method[methods[0]]
    names = [f"{metric}/{grid}".rstrip("/") for grid in GRIDS for metric in BETTER]
    for name in (name for name in names if name in first):
        metric, _, grid = name.partition("/")
        resolution, _, evidence = grid.partition("/")
        better = BETTER[metric]
        sign = -1.0 if better == "low" else 1.0
        means = {method: interval(by_method[method][name], seed=request.seed) for method in methods}
        known = [method for method in methods if means[method].n]
        best = max(known, key=lambda method: sign * means[method].mean) if better and known else None
        for method in methods:
            found, behind = means[method], None
            if best is not None and method != best:
                ours, theirs = sign * by_method[best][name], sign * by_method[method][name]
                behind = spread(paired_interval(ours, theirs, seed=request.seed))
            figures.append(
                {
                    "metric": metric, "method": method, "resolution": resolution or None, "evidence": evidence or None,
                    "better": better, "value": spread(found), "n": found.n, "undefined": found.undefined,
                    "best": method == best, "behind": behind,
                }
            )  # fmt: skip
    labelled = int(first["known"].sum())
    work.emit_record(
        "evaluation",
        {
            "request": request.model_dump(mode="json"), "samples": len(first["known"]),
            "right": int(first["right"].sum()) if labelled else None, "figures": figures,
        },
    )  # fmt: skip
    work.advance(1)
