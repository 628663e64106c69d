"""The plan of a pruning: cuts that are tried, the one that is made, training after it, and the registration."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import JsonValue

from contracts.base import Caller
from contracts.data import Dataset
from contracts.errors import Conflict, LabelsMissingError
from contracts.training import Criterion, PruningRequest
from services.kit.keys import artifact_key
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry
from services.model.planning_training import EPOCH
from services.model.repository import find_model
from services.model.service import Models

SCORE, TRY, PRUNE, REGISTER = "score-channels", "try-cuts", "prune-channels", "register-pruned"
Key = Callable[[str, dict[str, str], str, dict[str, JsonValue]], str]


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
    stages, trials = _trials(request, common, held, key)
    held = {**held, **trials}
    cut = {output: key(PRUNE, held, output, told) for output in ("pruning", "pruned")}
    stages.append(StagePlan(PRUNE, (PartPlan(common, dict(held), cut),), title="cut channels"))
    held = {"manifest": dataset.lineage, **cut}
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


def criteria_of(request: PruningRequest) -> tuple[Criterion, ...]:
    """The criterion asked for, then magnitude and chance beside it."""
    others: tuple[Criterion, ...] = ("magnitude", "random")
    return (request.criterion, *(name for name in others if name != request.criterion))


def shares_of(request: PruningRequest) -> list[float]:
    """The shares of channels that are tried, ascending."""
    return sorted({*request.amounts, *([] if request.amount is None else [request.amount])})


def trial_role(criterion: str, amount: float) -> str:
    """Name the input that tells how a cut did."""
    return f"trial/{criterion}/{amount!r}"


def _trials(
    request: PruningRequest, common: dict[str, JsonValue], held: dict[str, str], key: Key
) -> tuple[list[StagePlan], dict[str, str]]:
    """A part for what channels are worth by each criterion, then one for each cut: other amounts reuse both."""
    told = request.model_dump(mode="json", include={"keep", "pictures", "validation"})
    scored = {name: key(SCORE, held, "groups", {**told, "criterion": name}) for name in criteria_of(request)}
    scores = [PartPlan({**common, "criterion": name}, dict(held), {"groups": made}) for name, made in scored.items()]
    cuts = [("trial/before", request.criterion, 0.0)]
    cuts += [(trial_role(name, share), name, share) for name in scored for share in shares_of(request)]
    trials, parts = dict[str, str](), []
    for role, name, share in cuts:
        inputs = {**held, "groups": scored[name]}
        trials[role] = key(TRY, inputs, "trial", {**told, "scope": request.scope, "share": share})
        parts.append(PartPlan({**common, "amount": share}, inputs, {"trial": trials[role]}))
    plans = [
        StagePlan(SCORE, tuple(scores), title="what channels are worth"),
        StagePlan(TRY, tuple(parts), title="try cuts"),
    ]
    return plans, trials
