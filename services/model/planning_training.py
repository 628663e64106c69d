"""The plan of a training: a stage for each epoch, so that a kill costs one epoch, and the registration at the end."""

from __future__ import annotations

from pydantic import JsonValue

from contracts.base import Caller
from contracts.data import Dataset
from contracts.errors import Conflict, InvalidRequest, LabelsMissingError
from contracts.model import Model
from contracts.training import TrainingRequest
from services.kit.keys import artifact_key
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry
from services.model.adapters.spiking_nets import is_spiking
from services.model.repository import find_model
from services.model.service import Models

EPOCH, REGISTER = "train-epoch", "register-trained"


def plan_training(
    request: TrainingRequest, *, caller: Caller, models: Models, dataset: Dataset, registry: StageRegistry,
    numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan one training.

    Raises
    ------
    LabelsMissingError : a dataset without two labels.
    Conflict : the new model is named like its parent.
    InvalidRequest : a reward for a training by gradients, or one that counts spikes where there are none.
    """
    model = models.model(caller, request.model)
    if len(dataset.labels) < 2:
        raise LabelsMissingError(
            f"{dataset.ref.name} has {len(dataset.labels)} labels; two are needed", field="dataset"
        )
    if request.name == model.ref.name:
        raise Conflict("the new model needs a name of its own", field="name", model=model.ref.id)
    if request.method == "gradient" and request.reward != "softmax":
        raise InvalidRequest(
            f"gradients follow cross-entropy; the reward {request.reward} is for method lfp", field="reward"
        )
    if request.reward == "rate_coded" and not is_spiking(model.ref.architecture):
        raise InvalidRequest(f"rate_coded counts spikes, and {model.ref.name} has none", field="reward")
    told = request.model_dump(mode="json", exclude={"name", "model", "dataset"})
    common: dict[str, JsonValue] = {
        "request": request.model_dump(mode="json"), "model": model.ref.model_dump(mode="json"),
        "config": config_of(model, len(dataset.labels)),
    }  # fmt: skip
    stages, inputs = [], {"manifest": dataset.lineage}
    for epoch in range(request.epochs):
        key = artifact_key(
            EPOCH, version=registry.version(EPOCH), inputs=[model.ref.model_sha256, *inputs.values()],
            params={**told, "epoch": epoch}, seed=request.seed, numerics=numerics, output="checkpoint",
        )  # fmt: skip
        spec = {**common, "epoch": epoch, "units": dataset.ref.n}
        part = PartPlan(spec, dict(inputs), {"checkpoint": key}, units=dataset.ref.n)
        stages.append(StagePlan(EPOCH, (part,), unit="pictures", title=f"epoch {epoch + 1} of {request.epochs}"))
        inputs = {"manifest": dataset.lineage, "checkpoint": key}
    keys = {
        output: artifact_key(
            REGISTER, version=registry.version(REGISTER), inputs=[model.ref.model_sha256, *inputs.values()],
            params={"name": request.name}, seed=request.seed, numerics=numerics, output=output,
        )
        for output in ("model", "weights")
    }  # fmt: skip
    stages.append(StagePlan(REGISTER, (PartPlan(common, dict(inputs), keys),), title="register the model"))
    title = f"{request.name}: {model.ref.name} trained on {dataset.ref.name}"
    with models.database.reading() as db:
        known = find_model(db, caller.workspace, request.name)
    result = known.ref.id if known is not None and known.lineage == keys["model"] else None
    return JobPlan("training", title, tuple(stages), result)


def config_of(model: Model, classes: int) -> dict[str, JsonValue]:
    """Constructor arguments of the trained model: the parent's, with another number of classes where it changes."""
    if model.classes is not None and len(model.classes) == classes:
        return dict(model.ref.config)  # an architecture with a fixed head need not know the argument
    return {**model.ref.config, "num_classes": classes}
