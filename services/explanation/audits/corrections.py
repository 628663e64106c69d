"""Corrections: the plan that suppresses what an audit flagged, and the stage that publishes what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from pydantic import JsonValue

from contracts.audit import Audit, AuditFinding, UnknownReadout
from contracts.base import Caller
from contracts.corrections import (
    Correction,
    CorrectionFigures,
    CorrectionRequest,
    CorrectionStep,
    NothingCorrected,
)
from contracts.data import DataService
from contracts.errors import Conflict, LabelsMissingError, UnknownLayer
from contracts.model import Model, ModelService
from services.explanation.audits.repository import audit_row, publish_correction
from services.kit.db import Database
from services.kit.keys import artifact_key
from services.kit.stages import JobPlan, PartPlan, StageFunction, StagePlan, StageRegistry, Work

Params = dict[str, JsonValue]
ROWS = ("before", "after", "random", "magnitude")


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
    units = flagged_units(audit, readout, layer, request.verdicts)[: request.most]
    if not units:
        raise NothingCorrected(f"no component of {layer} is flagged for {readout}", field="layer")
    sources = {name: data.dataset(caller, getattr(request, name)) for name in ("clean", "artefact")}
    for name, dataset in sources.items():
        if not set(dataset.labels) & set(model.classes or []):
            raise LabelsMissingError(f"no label of {dataset.ref.name} is a class of {model.ref.name}", field=name)
    inputs = {name: dataset.lineage for name, dataset in sources.items()}
    params: Params = {
        "layer": next(one for one in model.layers if one.name == layer).model_dump(mode="json"),
        "order": list[JsonValue](units), "classes": list[JsonValue](model.classes or []),
        "label": audit.policy.classes[readout].label or readout, "loss": request.loss, "pictures": request.pictures,
        "seed": request.seed,
    }  # fmt: skip

    def key(stage: str, parents: Sequence[str], told: Params, output: str) -> str:
        return artifact_key(
            stage, version=registry.version(stage), inputs=[model.ref.model_sha256, *parents], params=told,
            seed=request.seed, numerics=numerics, output=output,
        )  # fmt: skip

    measured = {"measured": key("correction", list(inputs.values()), params, "measured")}
    spec: Params = {**params, "model": model.ref.model_dump(mode="json"), "name": request.name}
    made = {
        output: key("register-corrected", list(measured.values()), {"name": request.name}, output)
        for output in ("model", "weights")
    }
    last = {**measured, "model": made["model"]}
    final: Params = {
        "audit": audit.id, "parent": model.ref.id, "name": request.name, "layer": layer, "readout": readout,
    }  # fmt: skip
    whole = {"correction": key("publish-correction", list(last.values()), final, "correction")}
    return JobPlan(
        kind="correction",
        title=f"{request.name}: {model.ref.name} without what {audit.id} flags in {layer}",
        stages=(
            StagePlan("correction", (PartPlan(spec, inputs, measured),), title="suppress and measure"),
            StagePlan("register-corrected", (PartPlan(spec, measured, made),), title="register the model"),
            StagePlan("publish-correction", (PartPlan(final, last, whole),), title="publish"),
        ),
        result=f"x_{whole['correction'][:16]}",
    )  # fmt: skip


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
    corrected = Correction(
        id=f"x_{key[:16]}", **spec, model=cast(dict[str, Any], model["ref"])["id"],
        units=cast(list[int], measured["units"]), considered=cast(list[int], measured["considered"]),
        curve=[CorrectionStep.model_validate(step) for step in cast(list[Any], measured["curve"])],
        random_best=cast(float, measured["random_best"]), lineage=key, created_at=datetime.now(UTC),
        **{name: CorrectionFigures.model_validate(measured[name]) for name in ROWS},
    )  # fmt: skip
    work.emit_record("correction", corrected.model_dump(mode="json", exclude={"created_at"}))
    work.when_published(lambda db: publish_correction(db, work.workspace, corrected))
    work.result = corrected.id
    work.advance(1)
