"""Corrections: the plan that suppresses what an audit flagged, and the stage that publishes what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from pydantic import JsonValue

from contracts.audit import Audit, AuditFinding, UnknownReadout
from contracts.base import Caller
from contracts.corrections import (
    Correction,
    CorrectionRequest,
    NothingCorrected,
    Retraining,
)
from contracts.data import DataService
from contracts.errors import Conflict, LabelsMissingError, UnknownLayer
from contracts.model import Model, ModelService
from services.explanation.audits.repository import audit_row, publish_correction
from services.kit.db import Database
from services.kit.keys import artifact_key
from services.kit.stages import JobPlan, PartPlan, StageFunction, StagePlan, StageRegistry, Work

Params = dict[str, JsonValue]
Key = Callable[[str, Mapping[str, str], Params, str], str]
ROWS = ("before", "after", "random", "magnitude")
ARMS = ("flagged", "random", "magnitude")  # which components tell where the artefact is; the first one's model is kept
SEGMENT = 100  # steps between checkpoints


def plan_correction(
    request: CorrectionRequest, *, caller: Caller, database: Database, models: ModelService, data: DataService,
    registry: StageRegistry, numerics: dict[str, str | int],
) -> JobPlan:  # fmt: skip
    """Plan one correction.

    Raises
    ------
    UnknownAudit; UnknownReadout; UnknownLayer; UnknownDataset; NothingCorrected : nothing is flagged there.
    LabelsMissingError : no label of a dataset is a class of the model. Conflict : the name of the audited model.
    """
    with database.reading() as db:
        audit = Audit.model_validate(audit_row(db, caller.workspace, request.audit).record)
    model = models.model(caller, audit.model)
    if request.name == model.ref.name:
        raise Conflict("the corrected model needs a name of its own", field="name", model=model.ref.id)
    readout, layer = place_of(audit, request, model)
    label = audit.policy.classes[readout].label or readout
    if label not in (model.classes or []):
        raise LabelsMissingError(f"{label} is no class of {model.ref.name}", field="readout")
    units = flagged_units(audit, readout, layer, request.verdicts)[: request.most]
    if not units:
        raise NothingCorrected(f"no component of {layer} is flagged for {readout}", field="layer")
    inputs = {name: _labelled(data, caller, getattr(request, name), model, name) for name in ("clean", "artefact")}
    told: Params = {
        "layer": next(one for one in model.layers if one.name == layer).model_dump(mode="json"),
        "order": list[JsonValue](units), "classes": list[JsonValue](model.classes or []),
        "label": label, "loss": request.loss, "pictures": request.pictures,
        "seed": request.seed,
    }  # fmt: skip
    if request.retrain is not None:
        told["required"] = False  # silencing is then measured beside retraining, and need not help

    def key(stage: str, parents: Mapping[str, str], params: Params, output: str) -> str:
        return artifact_key(
            stage, version=registry.version(stage), inputs=[model.ref.model_sha256, *parents.values()], params=params,
            seed=request.seed, numerics=numerics, output=output,
        )  # fmt: skip

    measured = {"measured": key("correction", inputs, told, "measured")}
    spec: Params = {**told, "model": model.ref.model_dump(mode="json"), "name": request.name}
    stages = [StagePlan("correction", (PartPlan(spec, inputs, measured),), title="suppress and measure")]
    held = dict(measured)
    if request.retrain is not None:
        datasets = [_labelled(data, caller, one, model, "retrain.datasets") for one in request.retrain.datasets]
        more, retrained = retraining_stages(request.retrain, told, spec, inputs, datasets, key)
        stages, held = [*stages, *more], {**measured, **retrained}
    made = {output: key("register-corrected", held, {"name": request.name}, output) for output in ("model", "weights")}
    last = {name: held[name] for name in ("measured", "judged") if name in held} | {"model": made["model"]}
    final: Params = {
        "audit": audit.id, "parent": model.ref.id, "name": request.name, "layer": layer, "readout": readout,
    }  # fmt: skip
    whole = {"correction": key("publish-correction", last, final, "correction")}
    stages += [
        StagePlan("register-corrected", (PartPlan(spec, held, made),), title="register the model"),
        StagePlan("publish-correction", (PartPlan(final, last, whole),), title="publish"),
    ]
    title = f"{request.name}: {model.ref.name} without what {audit.id} flags in {layer}"
    return JobPlan("correction", title, tuple(stages), f"x_{whole['correction'][:16]}")


def _labelled(data: DataService, caller: Caller, name: str, model: Model, field: str) -> str:
    """Lineage of a dataset with at least one label that is a class of the model."""
    dataset = data.dataset(caller, name)
    if not set(dataset.labels) & set(model.classes or []):
        raise LabelsMissingError(f"no label of {dataset.ref.name} is a class of {model.ref.name}", field=field)
    return dataset.lineage


def retraining_stages(
    asked: Retraining, told: Params, spec: Params, judges: Mapping[str, str], datasets: Sequence[str], key: Key
) -> tuple[list[StagePlan], dict[str, str]]:
    """Stages that retrain, and what they leave for the registration: the flagged arm's last checkpoint and the verdict.

    Every arm goes in segments, each with a checkpoint, so that a kill costs one of them.

    Parameters
    ----------
    judges : role -> lineage of the datasets that judge.
    datasets : lineages of the datasets that are trained on.
    """
    numbers = asked.model_dump(mode="json", exclude={"datasets"})
    params: Params = {
        "retraining": numbers,
        **{name: told[name] for name in ("layer", "order", "classes", "pictures", "seed")},
    }
    given = {f"train{place}": lineage for place, lineage in enumerate(datasets)}
    seen = {**given, **judges}
    found = {"presence": key("artefact-presence", seen, params, "presence")}
    spec = {**spec, **params, "label": told["label"]}
    stages = [StagePlan("artefact-presence", (PartPlan(spec, seen, found),), title="which pictures have the artefact")]
    checkpoints: dict[str, str] = {}
    for until in [*range(SEGMENT, asked.steps, SEGMENT), asked.steps]:
        parts = []
        for arm in ARMS:
            before = {"checkpoint": checkpoints[arm]} if checkpoints else {}
            held, units = {**given, **found, **before}, min(SEGMENT, (until - 1) % SEGMENT + 1)
            of: Params = {**params, "arm": arm, "until": until}
            made = {"checkpoint": key("retrain", held, of, "checkpoint")}
            parts.append(PartPlan({**spec, "arm": arm, "until": until}, held, made, units=units))
        checkpoints = {arm: part.outputs["checkpoint"] for arm, part in zip(ARMS, parts, strict=True)}
        stages.append(StagePlan("retrain", tuple(parts), unit="steps", title=f"retrain up to step {until}"))
    compared = {**given, **judges, **found, **checkpoints}
    judged = {"judged": key("judge-retrained", compared, {**params, "loss": told["loss"]}, "judged")}
    stages.append(StagePlan("judge-retrained", (PartPlan(spec, compared, judged),), title="judge what was retrained"))
    return stages, {"checkpoint": checkpoints["flagged"], **judged}


def place_of(audit: Audit, request: CorrectionRequest, model: Model) -> tuple[str, str]:
    """Class and layer: those named, or else where the flagged components carry most; never the last layer by itself.

    Raises
    ------
    UnknownReadout; UnknownLayer; NothingCorrected.
    """
    if request.readout is not None and request.readout not in audit.policy.classes:
        known = list(audit.policy.classes)
        raise UnknownReadout(f"{audit.id} has no class {request.readout}", field="readout", classes=[*known])
    if request.layer is not None and request.layer not in audit.layers:
        raise UnknownLayer(f"{audit.id} has no layer {request.layer}", field="layer", closest=[*audit.layers])
    last = model.layers[-1].name
    shares = {
        (one.readout, one.layer): sum(v.share for v in one.verdicts if v.verdict in request.verdicts)
        for one in audit.readouts
        if request.readout in (None, one.readout)
        and (one.layer == request.layer if request.layer is not None else one.layer != last)
    }
    if not shares or not max(shares.values()):
        raise NothingCorrected("nothing is flagged below the last layer", field="layer")
    return max(shares, key=lambda place: shares[place])


def flagged_units(audit: Audit, readout: str, layer: str, verdicts: Sequence[str]) -> list[int]:
    """Units to suppress, smallest q of a spurious or forbidden concept first, then the largest share of relevance."""

    def rank(finding: AuditFinding) -> tuple[float, float, int]:
        q = [test.q for test in finding.tests if test.kind != "valid"]
        return min(q, default=1.0), -finding.share, finding.index

    found = [one for one in audit.findings if one.readout == readout and one.layer == layer and one.verdict in verdicts]
    return list(dict.fromkeys(one.index for one in sorted(found, key=rank)))


def correction_stages() -> tuple[StageFunction, ...]:
    """The stage of corrections that this service runs; the rest is the model service's."""
    return (StageFunction("publish-correction", 1, publish_correction_part),)


def publish_correction_part(work: Work) -> None:
    """Write the record of a correction, and its row in the transaction that publishes this part."""
    spec, measured, model = cast(dict[str, Any], work.spec), work.record("measured"), work.record("model")
    key = work.keys["correction"]
    figures = {name: measured[name] for name in (*ROWS, "units", "considered", "curve", "random_best")}
    if "judged" in work.inputs:
        judged = work.record("judged")
        figures = {**figures, "suppressed": measured["after"], "method": "retrain", **judged}
    told = {**spec, **figures, "id": f"x_{key[:16]}", "model": cast(dict[str, Any], model["ref"])["id"]}
    corrected = Correction.model_validate({**told, "lineage": key, "created_at": datetime.now(UTC)})
    work.emit_record("correction", corrected.model_dump(mode="json", exclude={"created_at"}))
    work.when_published(lambda db: publish_correction(db, work.workspace, corrected))
    work.result = corrected.id
    work.advance(1)
