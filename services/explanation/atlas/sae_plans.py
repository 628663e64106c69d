"""The plan of an autoencoder: legs of training, so that a kill costs one leg, then figures and publication."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.base import Caller
from contracts.captures import Capture
from contracts.model import ModelService
from contracts.sae import SaeRequest, TooFewRows, TooManyActive
from services.explanation.atlas.capture_plans import capture_inputs
from services.explanation.atlas.keys import Key, keys_of
from services.explanation.atlas.repository import capture_row
from services.explanation.atlas.sae_imports import imported
from services.explanation.repository import snapshot_row
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry

if TYPE_CHECKING:
    from services.explanation.service import Explanation

LEG = 500
MOST_LEGS = 20
UNTOLD = {"name", "snapshot", "capture", "layer", "folder"}  # of a request in the keys
OUTPUTS = ("sae", "codes", "figures", "folder")


def _training(
    key: Key, request: SaeRequest, base: dict[str, str], spec: dict[str, JsonValue], told: dict[str, object]
) -> tuple[list[StagePlan], dict[str, str]]:
    """The legs of a training or the import that replaces them, and the inputs of what comes after them."""
    stages, before, inputs = [], 0, dict(base)
    if request.folder is not None:
        outputs = {"weights": key("import-sae", [], {"content": told["content"]}, "weights")}
        part = PartPlan({**spec, "content": str(told["content"])}, {}, outputs)
        return [StagePlan("import-sae", (part,), title="read the folder")], {**base, **outputs}
    for until in legs(request.steps):
        outputs = {"checkpoint": key("train-sae", list(inputs.values()), {**told, "until": until}, "checkpoint")}
        part = PartPlan({**spec, "until": until}, inputs, outputs, units=until - before)
        stages.append(StagePlan("train-sae", (part,), unit="steps", title=f"train to step {until}"))
        inputs, before = {**base, **outputs}, until
    return stages, inputs


def plan_text_sae(
    request: SaeRequest, *, caller: Caller, explanation: Explanation, models: ModelService, registry: StageRegistry,
    numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan one autoencoder on the tokens of a captured layer.

    Raises
    ------
    UnknownCapture; UnknownLayer; TooManyActive; TooFewRows : fewer training tokens than two batches.
    """
    with explanation.database.reading() as db:
        row = capture_row(db, caller.workspace, str(request.capture))
        capture, artifacts = Capture.model_validate(row.record), dict(row.artifacts)
    base = capture_inputs(capture, artifacts, request.layer, "tokens")
    told: dict[str, object] = {}
    if request.folder is None:
        _require_fitting(request, capture)
    else:
        width = next(one.width for one in capture.layers if one.layer == request.layer)
        roots = explanation.settings.import_roots
        request, told["content"] = imported(request, caller=caller, roots=roots, width=width)
    model = models.model(caller, capture.model)
    asked = request.model_copy(update={"capture": capture.id})
    told |= asked.model_dump(mode="json", exclude=UNTOLD)
    spec: dict[str, JsonValue] = {"request": asked.model_dump(mode="json"), "model": model.ref.name}
    key = keys_of(registry, numerics, request.seed)
    stages, inputs = _training(key, request, base, spec, told)
    made = {name: key("measure-text-sae", list(inputs.values()), told, name) for name in (*OUTPUTS, "features")}
    shards = sum(role.startswith("text/") for role in base)
    stages.append(
        StagePlan("measure-text-sae", (PartPlan(dict(spec), inputs, made, units=shards),), unit="shards",
                  title="measure")
    )  # fmt: skip
    given = {name: made[name] for name in ("sae", "features", "codes")}
    given |= {"corpus": artifacts["corpus"], "norms": artifacts["norms"]}
    told_model: dict[str, object] = {"model": model.ref.model_sha256, "layer": request.layer}
    said = {name: key("read-latents", list(given.values()), told_model, name) for name in ("lexicon", "spliced")}
    final_spec: dict[str, JsonValue] = {**spec, "model_ref": model.ref.model_dump(mode="json")}
    stages.append(StagePlan("read-latents", (PartPlan(final_spec, given, said),), title="read through the model"))
    published = {**made, **said, "corpus": artifacts["corpus"], "norms": artifacts["norms"]}
    whole = key("publish-sae", list(published.values()), {"name": request.name, "layer": request.layer}, "record")
    final = {**spec, "dataset": capture.corpus, "model_id": model.ref.id}
    stages.append(StagePlan("publish-sae", (PartPlan(final, published, {"record": whole}),), title="publish"))
    title = f"sparse autoencoder of {request.layer} in {capture.name}: {request.latents} latents"
    return JobPlan("sae", title, tuple(stages), f"sae_{whole[:16]}")


def _require_fitting(request: SaeRequest, capture: Capture) -> None:
    if request.k > request.latents:
        raise TooManyActive(f"k is {request.k} of {request.latents} latents", field="k", latents=request.latents)
    tokens = next(one.tokens for one in capture.layers if one.layer == request.layer)
    share = capture.splits.get("train", 0) / max(capture.windows, 1)
    if tokens * share < 2 * request.batch:
        raise TooFewRows(
            f"about {tokens * share:.0f} training tokens for a batch of {request.batch}", field="batch",
            n=round(tokens * share), needed=2 * request.batch,
        )  # fmt: skip


def legs(steps: int) -> list[int]:
    """Steps at which a checkpoint is kept, the last included."""
    leg = max(LEG, -(-steps // MOST_LEGS))
    return [*range(leg, steps, leg), steps]


def plan_sae(
    request: SaeRequest, *, caller: Caller, explanation: Explanation, models: ModelService, registry: StageRegistry,
    numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan one autoencoder on a layer of a snapshot or capture.

    Raises
    ------
    UnknownSnapshot; UnknownLayer; TooManyActive; TooFewRows : fewer samples than a batch needs.
    """
    if request.snapshot is None:
        return plan_text_sae(
            request, caller=caller, explanation=explanation, models=models, registry=registry, numerics=numerics
        )
    opened = explanation.opened(caller, request.snapshot)
    snapshot = opened.snapshot
    layer = snapshot.layers[opened.layer_number(request.layer)]
    told: dict[str, object] = {}
    if request.folder is not None:
        roots = explanation.settings.import_roots
        request, told["content"] = imported(request, caller=caller, roots=roots, width=layer.width)
    elif request.k > request.latents:
        raise TooManyActive(f"k is {request.k} of {request.latents} latents", field="k", latents=request.latents)
    elif snapshot.dataset.n < 2 * request.batch:
        raise TooFewRows(
            f"{snapshot.dataset.n} samples for a batch of {request.batch}", field="batch", n=snapshot.dataset.n
        )
    with explanation.database.reading() as db:
        artifacts = dict(snapshot_row(db, caller.workspace, snapshot.id).artifacts)
    asked = request.model_copy(update={"snapshot": snapshot.id})
    told |= asked.model_dump(mode="json", exclude=UNTOLD)
    base = {"columns": artifacts[f"columns/{request.layer}"], "manifest": artifacts["manifest"]}
    spec: dict[str, JsonValue] = {"request": asked.model_dump(mode="json"), "model": snapshot.model.name}

    key = keys_of(registry, numerics, request.seed)
    stages, inputs = _training(key, request, base, spec, told)
    made = {name: key("measure-sae", list(inputs.values()), told, name) for name in OUTPUTS}
    stages.append(StagePlan("measure-sae", (PartPlan(dict(spec), inputs, made),), title="measure"))
    published = {**made, **base}
    whole = key("publish-sae", list(published.values()), {"name": request.name, "layer": request.layer}, "record")
    final = {**spec, "dataset": snapshot.dataset.name, "model_id": snapshot.model.id}
    stages.append(StagePlan("publish-sae", (PartPlan(final, published, {"record": whole}),), title="publish"))
    title = f"sparse autoencoder of {request.layer} in {snapshot.name}: {request.latents} latents"
    return JobPlan("sae", title, tuple(stages), f"sae_{whole[:16]}")
