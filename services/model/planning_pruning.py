"""The plan of a pruning: the cut, a stage for each epoch of training after it, and the registration."""

from __future__ import annotations

from pydantic import JsonValue

from contracts.base import Caller
from contracts.data import Dataset
from contracts.errors import Conflict, LabelsMissingError
from contracts.training import PruningRequest
from services.kit.keys import artifact_key
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry
from services.model.planning_training import EPOCH
from services.model.repository import find_model
from services.model.service import Models

PRUNE, REGISTER = "prune-channels", "register-pruned"


def plan_pruning(
    request: PruningRequest, *, caller: Caller, models: Models, dataset: Dataset, registry: StageRegistry,
    numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan one pruning.

    Raises
    ------
    LabelsMissingError : the dataset's labels are not the model's classes.
    Conflict : the new model is named like its parent.
    """
    model = models.model(caller, request.model)
    if sorted(dataset.labels) != sorted(model.classes or []) or len(dataset.labels) < 2:
        raise LabelsMissingError(
            f"{dataset.ref.name} has {len(dataset.labels)} labels, and {model.ref.name} tells "
            f"{len(model.classes or [])} classes; they have to be the same (`xsys train run` makes them so)",
            field="dataset",
        )  # fmt: skip
    if request.name == model.ref.name:
        raise Conflict("the new model needs a name of its own", field="name", model=model.ref.id)
    told = request.model_dump(mode="json", exclude={"name", "model", "dataset"})

    def key(stage: str, inputs: dict[str, str], output: str, params: dict[str, JsonValue]) -> str:
        return artifact_key(
            stage, version=registry.version(stage), inputs=[model.ref.model_sha256, *inputs.values()], params=params,
            seed=request.seed, numerics=numerics, output=output,
        )  # fmt: skip

    common: dict[str, JsonValue] = {
        "pruning": request.model_dump(mode="json"), "request": request.training().model_dump(mode="json"),
        "model": model.ref.model_dump(mode="json"), "config": dict(model.ref.config),
        "classes": list(model.classes or []),
    }  # fmt: skip
    held = {"manifest": dataset.lineage}
    cut = {output: key(PRUNE, held, output, told) for output in ("pruning", "pruned")}
    criteria = {request.criterion, "magnitude", "random"}
    shares = {*request.amounts, *([] if request.amount is None else [request.amount])}
    rounds = 2 + len(criteria) * len(shares)
    stages = [
        StagePlan(PRUNE, (PartPlan({**common, "units": rounds}, dict(held), cut, units=rounds),), title="cut channels")
    ]
    held |= cut
    for epoch in range(request.epochs):
        checkpoint = key(EPOCH, held, "checkpoint", {**told, "epoch": epoch})
        spec = {**common, "epoch": epoch, "units": dataset.ref.n}
        part = PartPlan(spec, dict(held), {"checkpoint": checkpoint}, units=dataset.ref.n)
        stages.append(StagePlan(EPOCH, (part,), unit="pictures", title=f"epoch {epoch + 1} of {request.epochs}"))
        held = {**held, "checkpoint": checkpoint}
    named: dict[str, JsonValue] = {"name": request.name}
    made = {output: key(REGISTER, held, output, named) for output in ("model", "weights")}
    stages.append(StagePlan(REGISTER, (PartPlan(common, dict(held), made),), title="register the model"))
    with models.database.reading() as db:
        known = find_model(db, caller.workspace, request.name)
    result = known.ref.id if known is not None and known.lineage == made["model"] else None
    return JobPlan("pruning", f"{request.name}: {model.ref.name} pruned", tuple(stages), result)
