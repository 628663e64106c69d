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


class NoCounterexamples(XsysError):
    """The pictures to train on do not show the artefact apart from its class."""

    status = 422
    remedy = "Add pictures of other classes with the artefact, and of its class without it, to `retrain.datasets`."


class LeakedPictures(XsysError):
    """Pictures to train on are among those that choose or judge."""

    status = 422
    remedy = "Leave them out of `retrain.datasets`: what was trained on says nothing about what was learned."


class Retraining(Contract):
    """Train the model on, in batches in which every class comes as often with the artefact as without it.

    Nobody has to label the artefact: a picture has it where the flagged components are active. The datasets must show
    it apart from its class, and share no picture with `clean` and `artefact`.
    """

    datasets: Annotated[list[DatasetId], Field(min_length=1, max_length=8, description="labelled as the classes")]
    steps: Annotated[int, Field(ge=1, le=100_000)] = 400
    batch: Annotated[int, Field(ge=2, le=1024)] = 64
    learning_rate: Annotated[float, Field(gt=0, le=1, description="of AdamW; constant, then falling to 0")] = 2e-3
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    pictures: Annotated[int, Field(ge=20, le=1_000_000, description="at most so many of each dataset")] = 4000


class CorrectionRequest(Contract):
    """Suppress components that an audit flagged, or retrain against them, and register the result as a model.

    `clean` and `artefact` are labelled datasets without and with the artefact. Accuracy with it leaves out the class
    that was confounded with it. Even samples choose how many components go: as many as give the best accuracy with the
    artefact while the clean accuracy falls by at most `loss`; odd samples judge. Without `layer` or `readout` those are
    taken where flagged components carry most relevance. With `retrain` the weights change instead, and suppressing is
    measured beside it.
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
    retrain: Retraining | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class CorrectionStep(Contract):
    """Accuracies on the samples that choose, with so many components suppressed."""

    units: int
    clean: FiniteFloat
    artefact: FiniteFloat


class CorrectionFigures(Contract):
    """Accuracies on the samples that judge, with bootstrap intervals.

    `separation` is the AUROC of the class's score between its own pictures without the artefact and pictures of other
    classes with it, with the interval of Hanley and McNeil: near 1 where the artefact alone does not raise the class.
    """

    clean: Estimate
    artefact: Estimate
    separation: Estimate | None = None


class CorrectionGroup(Contract):
    """How many pictures of a class were trained on without and with what the flagged components react to."""

    label: str
    without: int
    present: int


class Correction(Contract):
    """A model that no longer rests on what an audit flagged.

    Suppressed (`method` suppress), its weights are those of its parent, so that it can be undone: `units` are silent,
    the first of the `considered` ones. `random` is then the mean of 20 draws of as many units (`random_best`: the best
    of them with the artefact), `magnitude` the least active ones.

    Retrained, `units` told which pictures have the artefact, `groups` say how many those were, and `suppressed` is what
    silencing alone reaches. `random` and `magnitude` are then the same retraining with other units telling.
    """

    id: str
    audit: AuditId
    parent: str
    model: str
    name: str
    readout: ReadoutName
    layer: LayerName
    method: Literal["suppress", "retrain"] = "suppress"
    units: list[int]
    considered: list[int]
    curve: list[CorrectionStep]
    before: CorrectionFigures
    after: CorrectionFigures
    random: CorrectionFigures
    random_best: FiniteFloat
    magnitude: CorrectionFigures
    suppressed: CorrectionFigures | None = None
    groups: list[CorrectionGroup] = []
    lineage: str
    created_at: datetime
