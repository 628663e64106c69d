"""Corrections: what an audit flagged is suppressed, and the result is a model of its own."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Contract, FiniteFloat, Name
from contracts.data import DatasetId
from contracts.errors import XsysError
from contracts.labels import Estimate
from contracts.model import LayerName

AuditId = Annotated[str, Field(pattern=r"^a_[0-9a-f]{16}$", description="id of an audit")]
ReadoutName = Annotated[str, Field(min_length=1, max_length=200, description="class of the model, as in the policy")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class NothingCorrected(XsysError):
    """Suppressing what is flagged does not help, or nothing is flagged; no model was registered."""

    status = 422
    remedy = "Name another layer or class, allow a larger `loss`, or train without the artefact."


class CorrectionRequest(Contract):
    """Suppress components that an audit flagged, and register the result as a model of its own.

    `clean` and `artefact` are labelled datasets without and with the artefact. Accuracy with it leaves out the class
    that was confounded with it. Even samples choose how many components go: as many as give the best accuracy with the
    artefact while the clean accuracy falls by at most `loss`; odd samples judge. Without `layer` or `readout` those are
    taken where flagged components carry most relevance.
    """

    audit: AuditId
    name: Annotated[Name, Field(description="name of the new model")]
    clean: DatasetId
    artefact: DatasetId
    readout: ReadoutName | None = None
    layer: LayerName | None = None
    verdicts: Annotated[list[Literal["forbidden", "spurious", "mixed"]], Field(min_length=1, max_length=3)] = [
        "forbidden", "spurious",
    ]  # fmt: skip
    most: Annotated[int, Field(ge=1, le=200)] = 64
    loss: Share = 0.02
    pictures: Annotated[int, Field(ge=20, le=100_000, description="at most so many of each dataset")] = 1000
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class CorrectionStep(Contract):
    """Accuracies on the samples that choose, with so many components suppressed."""

    units: int
    clean: FiniteFloat
    artefact: FiniteFloat


class CorrectionFigures(Contract):
    """Accuracies on the samples that judge, with bootstrap intervals."""

    clean: Estimate
    artefact: Estimate


class Correction(Contract):
    """A model whose flagged components are suppressed; its weights are those of its parent, so it can be undone.

    `units` are those that were suppressed, of the `considered` ones in their order. `random` is the mean of 20 draws of
    as many units (`random_best`: the best of them with the artefact), `magnitude` the least active ones.
    """

    id: str
    audit: AuditId
    parent: str
    model: str
    name: str
    readout: ReadoutName
    layer: LayerName
    units: list[int]
    considered: list[int]
    curve: list[CorrectionStep]
    before: CorrectionFigures
    after: CorrectionFigures
    random: CorrectionFigures
    random_best: FiniteFloat
    magnitude: CorrectionFigures
    lineage: str
    created_at: datetime
