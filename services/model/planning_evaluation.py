"""The plan of an evaluation of attribution methods: a part for each method and shard of samples, then the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from contracts.attribution_evaluation import EvaluationRequest
from contracts.base import Caller
from contracts.data import Dataset
from contracts.errors import InvalidRequest, LabelsMissingError, Unavailable, UnknownMask
from contracts.model import Model
from services.kit.keys import artifact_key
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry
from services.model.preprocess import reads_pictures

if TYPE_CHECKING:
    from services.model.service import Models

JUDGE, FIGURES = "judge-attributions", "attribution-figures"
PART_PASSES = 50_000_000  # pixel passes of a part: a minute or two on a slow core
LOOKED_AT = 32  # samples that are asked which masks they have, before the job is taken on


def plan_evaluation(
    request: EvaluationRequest, *, caller: Caller, models: Models, dataset: Dataset, registry: StageRegistry,
    numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan one evaluation.

    Raises
    ------
    UnknownMethod : with the closest names.
    UnknownMask : the samples have none of that name.
    LabelsMissingError : labels are asked for, and the dataset or the model has none.
    InvalidRequest : patches that do not divide the model's input.
    """
    from services.model.attribution.methods import described, require_method

    model = models.model(caller, request.model)
    side = reads_pictures(model.ref).crop
    for name in request.methods:
        require_method(name)
    if request.patch is not None and side % request.patch:
        raise InvalidRequest(f"patches of {request.patch} do not divide inputs of {side} pixels", field="patch")
    if request.target == "label" or request.right_only:
        _require_labels(model, dataset)
    chosen = np.random.default_rng(request.seed).permutation(dataset.ref.n)[: request.samples].tolist()
    if request.mask is not None:
        _require_mask(models, caller, dataset, chosen, request.mask)
    told = request.model_dump(mode="json", exclude={"model", "dataset", "methods"})
    common: dict[str, JsonValue] = {
        "request": request.model_dump(mode="json"), "model": model.ref.model_dump(mode="json"),
        "classes": list(model.classes or []),
    }  # fmt: skip

    def key(stage: str, inputs: list[str], output: str, params: dict[str, JsonValue]) -> str:
        return artifact_key(
            stage, version=registry.version(stage), inputs=[model.ref.model_sha256, *inputs], params=params,
            seed=request.seed, numerics=numerics, output=output,
        )  # fmt: skip

    parts, inputs = [], {}
    for name in dict.fromkeys(request.methods):
        passes = described(name)[1] * (1 + request.draws) + request.evaluations
        shard = min(64, max(1, PART_PASSES // (passes * side**2)))
        for start in range(0, len(chosen), shard):
            some = chosen[start : start + shard]
            made = key(JUDGE, [dataset.lineage], "figures", {**told, "method": name, "ids": some})
            inputs[f"{name}/{start:05d}"] = made
            spec = {**common, "method": name, "ids": some}
            parts.append(PartPlan(spec, {"manifest": dataset.lineage}, {"figures": made}, units=len(some)))
    made = key(FIGURES, list(inputs.values()), "evaluation", {**told, "methods": list(request.methods)})
    last = PartPlan(common, inputs, {"evaluation": made})
    stages = (
        StagePlan(JUDGE, tuple(parts), unit="maps", title="attribute and judge"),
        StagePlan(FIGURES, (last,), title="figures with intervals"),
    )
    title = f"{len(dict.fromkeys(request.methods))} attribution methods on {model.ref.name} over {dataset.ref.name}"
    return JobPlan("attribution-evaluation", title, stages)


def _require_labels(model: Model, dataset: Dataset) -> None:
    if not set(dataset.labels) & set(model.classes or []):
        raise LabelsMissingError(
            f"no label of {dataset.ref.name} is a class of {model.ref.name}", field="dataset"
        )  # fmt: skip


def _require_mask(models: Models, caller: Caller, dataset: Dataset, chosen: list[int], mask: str) -> None:
    if models.data is None:
        raise Unavailable("no data service is wired to this model service")
    known = set[str]()
    for index in chosen[:LOOKED_AT]:
        known |= set(models.data.sample(caller, dataset.ref.id, index).masks)
        if mask in known:
            return
    raise UnknownMask(f"samples of {dataset.ref.name} have no mask {mask}", field="mask", masks=sorted(known))
