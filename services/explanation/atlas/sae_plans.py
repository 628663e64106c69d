"""The plan of an autoencoder: legs of training, so that a kill costs one leg, then figures and publication."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.base import Caller
from contracts.sae import SaeRequest, TooFewRows, TooManyActive
from services.explanation.repository import snapshot_row
from services.kit.keys import artifact_key
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry

if TYPE_CHECKING:
    from services.explanation.service import Explanation

LEG = 500
MOST_LEGS = 20
OUTPUTS = ("sae", "codes", "figures", "folder")


def legs(steps: int) -> list[int]:
    """Steps at which a checkpoint is kept, the last included."""
    leg = max(LEG, -(-steps // MOST_LEGS))
    return [*range(leg, steps, leg), steps]


def plan_sae(
    request: SaeRequest, *, caller: Caller, explanation: Explanation, registry: StageRegistry,
    numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan one autoencoder on a layer of a snapshot.

    Raises
    ------
    UnknownSnapshot; UnknownLayer; TooManyActive; TooFewRows : fewer samples than a batch needs.
    """
    opened = explanation.opened(caller, request.snapshot)
    snapshot = opened.snapshot
    opened.layer_number(request.layer)
    if request.k > request.latents:
        raise TooManyActive(f"k is {request.k} of {request.latents} latents", field="k", latents=request.latents)
    if snapshot.dataset.n < 2 * request.batch:
        raise TooFewRows(
            f"{snapshot.dataset.n} samples for a batch of {request.batch}", field="batch", n=snapshot.dataset.n
        )
    with explanation.database.reading() as db:
        artifacts = dict(snapshot_row(db, caller.workspace, snapshot.id).artifacts)
    asked = request.model_copy(update={"snapshot": snapshot.id})
    told = asked.model_dump(mode="json", exclude={"name", "snapshot", "layer"})
    base = {"columns": artifacts[f"columns/{request.layer}"], "manifest": artifacts["manifest"]}
    spec = {"request": asked.model_dump(mode="json"), "model": snapshot.model.name}

    def key(stage: str, inputs: list[str], params: dict[str, object], output: str) -> str:
        return artifact_key(
            stage, version=registry.version(stage), inputs=inputs, params=params, seed=request.seed,
            numerics=numerics, output=output,
        )  # fmt: skip

    stages, before, inputs = [], 0, dict(base)
    for until in legs(request.steps):
        outputs = {"checkpoint": key("train-sae", list(inputs.values()), {**told, "until": until}, "checkpoint")}
        part = PartPlan({**spec, "until": until}, inputs, outputs, units=until - before)
        stages.append(StagePlan("train-sae", (part,), unit="steps", title=f"train to step {until}"))
        inputs, before = {**base, **outputs}, until
    made = {name: key("measure-sae", list(inputs.values()), told, name) for name in OUTPUTS}
    stages.append(StagePlan("measure-sae", (PartPlan(dict(spec), inputs, made),), title="measure"))
    published = {**made, **base}
    whole = key("publish-sae", list(published.values()), {"name": request.name, "layer": request.layer}, "record")
    final = {**spec, "dataset": snapshot.dataset.name, "model_id": snapshot.model.id}
    stages.append(StagePlan("publish-sae", (PartPlan(final, published, {"record": whole}),), title="publish"))
    title = f"sparse autoencoder of {request.layer} in {snapshot.name}: {request.latents} latents"
    return JobPlan("sae", title, tuple(stages), f"sae_{whole[:16]}")
