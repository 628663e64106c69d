"""What may be asked of training: a new version of a registered model, trained on a dataset's labels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Contract, FiniteFloat, Name
from contracts.data import DatasetId
from contracts.model import ModelId

RewardName = Literal["softmax", "sigmoid", "margin", "misclassification", "correct", "rate_coded"]


class TrainingRequest(Contract):
    """Train a registered model on a labelled dataset, by feedback or by gradients, and register the result."""

    name: Annotated[Name, Field(description="name of the new model")]
    model: ModelId
    dataset: DatasetId
    method: Literal["lfp", "gradient"] = Field(
        default="lfp", description="Layer-wise Feedback Propagation, or SGD's way"
    )
    rule: Literal["epsilon", "gamma", "zplus"] = "epsilon"
    reward: RewardName = Field(
        default="softmax",
        description="for lfp: softmax is minus cross-entropy's gradient, the last three have none; rate_coded is for "
        "spiking nets",
    )
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    clip: Annotated[float, Field(gt=0)] | None = Field(default=3.0, description="largest norm of all feedback together")
    schedule: Literal["constant", "cosine", "onecycle"] = "cosine"
    epochs: Annotated[int, Field(ge=1, le=200)] = 5
    batch: Annotated[int, Field(ge=2, le=1024)] = 32
    validation: Annotated[float, Field(ge=0.05, le=0.5, description="share of groups kept out of training")] = 0.2
    patience: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="stop after so many epochs without a better validation accuracy, and keep the best"
    )
    freeze: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default_factory=list, description="modules whose parameters stay as they are"
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="where the worker trains")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of what layers compute; weights, chord slopes and feedback stay float32"
    )


class WeightHistogram(Contract):
    """How large the weights are: counts of log10 |w| between edges; smaller and larger ones are in the end bins."""

    edges: list[FiniteFloat]
    counts: list[int]


class EpochFigures(Contract):
    """How one epoch went; accuracies are shares, the loss is cross-entropy."""

    epoch: int
    learning_rate: FiniteFloat
    loss: FiniteFloat
    accuracy: FiniteFloat
    validation_loss: FiniteFloat
    validation_accuracy: FiniteFloat
    gini: FiniteFloat = Field(description="concentration of the weights, mean of the layers")
    near_zero: FiniteFloat | None = Field(
        default=None, description="share of weights below a thousandth of the largest of their layer"
    )
    sign_flips: FiniteFloat = Field(description="share of weights with another sign than at the start")
    feedback_norm: FiniteFloat = Field(description="mean norm of -p.grad before clipping")
    weights: WeightHistogram | None = Field(default=None, description="of linear and convolution layers, log10 |w|")


class Curve(Contract):
    """The epochs of a training so far."""

    job: str
    epochs: list[EpochFigures]
    stopped: bool = Field(description="whether patience ran out")


Criterion = Literal["magnitude", "relevance", "abs_relevance", "random"]
Amount = Annotated[float, Field(gt=0, lt=1)]


class PruningRequest(Contract):
    """Cut whole channels out of a registered model, train it on if `epochs` says so, and register the result.

    Without `amount` the largest of `amounts` is taken whose accuracy on the kept-out samples falls by at most `loss`.
    """

    name: Annotated[Name, Field(description="name of the new model")]
    model: ModelId
    dataset: Annotated[DatasetId, Field(description="labelled as the model's classes")]
    criterion: Criterion = Field(default="relevance", description="what a channel is worth: the smallest go first")
    scope: Literal["global", "layer"] = Field(
        default="global", description="the share of all channels together, or of those of each layer"
    )
    amounts: Annotated[list[Amount], Field(min_length=1, max_length=20, description="shares of channels to try")] = [
        0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7,
    ]  # fmt: skip
    amount: Amount | None = Field(default=None, description="cut this share, whatever it costs")
    loss: Annotated[float, Field(ge=0, le=1, description="share of accuracy that may be lost")] = 0.02
    keep: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default_factory=list, description="layers that keep all their outputs; the classifier does anyway"
    )
    pictures: Annotated[int, Field(ge=8, le=100_000, description="training samples that relevance is summed over")] = (
        512
    )
    method: Literal["lfp", "gradient"] = "gradient"
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 0.01
    epochs: Annotated[int, Field(ge=0, le=200, description="of training after the cut; 0 for none")] = 0
    batch: Annotated[int, Field(ge=2, le=1024)] = 32
    validation: Annotated[float, Field(ge=0.05, le=0.5, description="share of groups kept out")] = 0.2
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    def training(self) -> TrainingRequest:
        """What is asked of the training after the cut."""
        shared = self.model_dump(
            include={"name", "model", "dataset", "method", "learning_rate", "batch", "validation", "seed"}
        )
        return TrainingRequest(**shared, epochs=max(1, self.epochs))


class PruningStep(Contract):
    """A model with a share of its channels cut out; accuracy on the kept-out samples, before any further training."""

    amount: FiniteFloat
    channels: int = Field(description="output channels that are left, summed over the groups")
    parameters: int
    macs: int = Field(description="multiply-accumulate operations of one picture")
    accuracy: FiniteFloat


class PruningCurve(Contract):
    """How accuracy falls as channels go, by one criterion."""

    criterion: Criterion
    steps: list[PruningStep]


class Pruning(Contract):
    """What a pruning job found. `curves` begins with the criterion asked for; chance and magnitude stand beside it."""

    job: str
    before: PruningStep | None = None
    chosen: PruningStep | None = None
    curves: list[PruningCurve] = []
    removed: dict[str, list[int]] = Field(default={}, description="channels that are gone, by the layer that made them")
