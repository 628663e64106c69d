"""How well attribution methods do over many samples: where they point, what deletion says, how steady they are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.attribution import MethodName
from contracts.base import Contract, FiniteFloat
from contracts.data import DatasetId, MaskName
from contracts.model import ModelId

Evidence = Literal["positive", "absolute"]
Resolution = Literal["pixel", "patch"]


class EvaluationRequest(Contract):
    """Judge attribution methods over samples of a dataset. Localisation needs a mask of what the cause is."""

    model: ModelId
    dataset: DatasetId
    methods: Annotated[list[MethodName], Field(min_length=1, max_length=24)] = [
        "gradient_x_input", "integrated_gradients", "smoothgrad", "gradcam", "epsilon_plus_flat",
    ]  # fmt: skip
    mask: MaskName | None = Field(
        default=None, description="mask that the evidence should lie on; none: no localisation"
    )
    samples: Annotated[int, Field(ge=2, le=2000, description="drawn at random by the seed")] = 64
    target: Literal["prediction", "label"] = Field(default="prediction", description="which output is explained")
    right_only: bool = Field(default=False, description="leave out samples whose label the model does not predict")
    patch: Annotated[int, Field(ge=2, le=128)] | None = Field(
        default=None, description="side in pixels of patches that localisation is judged on as well"
    )
    top: Annotated[float, Field(gt=0, le=0.5, description="share of features that top-k intersection looks at")] = 0.02
    steps: Annotated[int, Field(ge=0, le=64, description="of deletion and insertion; 0 leaves them out")] = 16
    draws: Annotated[int, Field(ge=0, le=32, description="noisy copies that stability is judged on; 0: not")] = 0
    noise: Annotated[float, Field(gt=0, le=10, description="their standard deviation, in the model's input units")] = (
        0.1
    )
    fallback: Literal["error", "gradient"] = "error"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @property
    def evaluations(self) -> int:
        """Forward passes a sample besides those of a method itself: twice deletion, and insertion."""
        return 3 * (self.steps + 1) if self.steps else 0


class Spread(Contract):
    """A mean with its 95 % percentile bootstrap interval over samples."""

    mean: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


class EvaluationFigure(Contract):
    """One figure of one method.

    `n` samples count; for `undefined` ones it has no value, as a rank on an empty mask. `better` says which way is
    good, None where it is a matter of taste. `behind` is how far the method stays behind the best one of this figure,
    paired by sample; the best has none. An interval that holds 0: these samples do not tell the two apart.
    """

    metric: str
    method: MethodName
    resolution: Resolution | None = None
    evidence: Evidence | None = None
    better: Literal["high", "low"] | None = None
    value: Spread | None
    n: int
    undefined: int
    best: bool = False
    behind: Spread | None = None


class AttributionEvaluation(Contract):
    """What an evaluation job found; empty until its last stage is done. `right` of `samples` were predicted rightly."""

    job: str
    request: EvaluationRequest | None = None
    samples: int = 0
    right: int | None = None
    figures: list[EvaluationFigure] = []
