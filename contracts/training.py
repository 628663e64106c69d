"""What may be asked of training: a new version of a registered model, trained on a dataset's labels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Contract, FiniteFloat, Name
from contracts.data import DatasetId
from contracts.model import ModelId


class TrainingRequest(Contract):
    """Train a registered model on a labelled dataset, by feedback or by gradients, and register the result."""

    name: Annotated[Name, Field(description="name of the new model")]
    model: ModelId
    dataset: DatasetId
    method: Literal["lfp", "gradient"] = Field(
        default="lfp", description="Layer-wise Feedback Propagation, or SGD's way"
    )
    rule: Literal["epsilon", "gamma", "zplus"] = "epsilon"
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


class EpochFigures(Contract):
    """How one epoch went; accuracies are shares, the loss is cross-entropy."""

    epoch: int
    learning_rate: FiniteFloat
    loss: FiniteFloat
    accuracy: FiniteFloat
    validation_loss: FiniteFloat
    validation_accuracy: FiniteFloat
    gini: FiniteFloat = Field(description="concentration of the weights, mean of the layers")
    sign_flips: FiniteFloat = Field(description="share of weights with another sign than at the start")
    feedback_norm: FiniteFloat = Field(description="mean norm of -p.grad before clipping")


class Curve(Contract):
    """The epochs of a training so far."""

    job: str
    epochs: list[EpochFigures]
    stopped: bool = Field(description="whether patience ran out")
