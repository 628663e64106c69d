"""What a snapshot is: everything computed for a model, a dataset, layers, an encoder and parameters."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Contract, FiniteFloat, Name, Sha256
from contracts.crops import CropMethod, Threshold
from contracts.data import Box, DatasetId, DatasetRef, SampleIndex
from contracts.model import LayerName, ModelId, ModelRef, PoolingName, Precision

SnapshotId = Annotated[str, Field(min_length=1, max_length=80, description="id (`s_...`) or name of a snapshot")]
ComponentIndex = Annotated[int, Field(ge=0, lt=2**31)]
Sign = Literal[1, -1]
RankBy = Annotated[
    Literal["activation", "relevance"],
    Field(description="what decides which samples are a component's examples, and so its semantic vector"),
]
RelevanceRule = Annotated[str, Field(min_length=1, max_length=80, examples=["epsilon"])]
EncoderName = Annotated[str, Field(min_length=1, max_length=300)]


class Encoder(Contract):
    """A foundation model that places pictures, and perhaps texts, in one space."""

    name: EncoderName
    fingerprint: Sha256
    width: int
    text: bool
    null: Literal["template", "centroid", "none"]
    note: str


class SnapshotRequest(Contract):
    """Compute everything for (model, dataset, layers, encoder, parameters)."""

    model: ModelId
    dataset: DatasetId
    layers: Annotated[list[LayerName], Field(min_length=1, max_length=1000)]
    encoder: EncoderName = "imagenet-minilm"
    name: Name | None = None
    k: Annotated[int, Field(ge=5, le=200, description="examples kept per component")] = 30
    pooling: dict[LayerName, PoolingName] = Field(default_factory=dict, description="overrides of the layers' default")
    precision: Precision = Precision.BF16
    max_per_group: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="at most so many examples of a component from one source photo"
    )
    batch: Annotated[int, Field(ge=1, le=1024)] = 32
    shard: Annotated[int, Field(ge=8, le=65536, description="samples per part")] = 512
    crop: CropMethod = "none"
    crop_threshold: Threshold = None
    rank_by: RankBy = "activation"
    relevance: RelevanceRule | None = Field(
        default=None, description="also find the samples whose predictions a component mattered most to, by this rule"
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class ComponentRef(Contract):
    """`(model, layer, index, sign)`; `model` is the model's id."""

    model: str
    layer: LayerName
    index: ComponentIndex
    sign: Sign = 1


class Example(Contract):
    """A sample on which a component is very active (in `lowest`, very inactive; by relevance, very influential)."""

    sample: SampleIndex
    label: str | None
    activation: FiniteFloat
    relevance: FiniteFloat | None = Field(
        default=None, description="part of the predicted output's score, by the rule that examples were ranked by"
    )
    position: int | None = Field(default=None, description="flat index of the maximum in the map, for `max` pooling")
    crop: Box | None = Field(default=None, description="what of it was embedded, where the snapshot embeds crops")


class SnapshotLayer(Contract):
    """A layer's figures in a snapshot. Dead and insufficiently evidenced components are not indexed."""

    name: LayerName
    width: int
    signed: bool
    pooling: PoolingName
    components: int
    dead: int
    insufficient_evidence: int
    clarity_mean: FiniteFloat | None
    clarity_null: FiniteFloat
    polysemantic_share: FiniteFloat | None
    redundancy_mean: FiniteFloat | None
    crop_share: FiniteFloat | None = Field(default=None, description="median share of the picture that crops show")
    crop_whole: FiniteFloat | None = Field(default=None, description="share of examples that could not be cut")


class IndexFigures(Contract):
    """What is known about the index generation that answers searches."""

    generation: str
    kind: Literal["flat", "fp16", "ivf-fp16"]
    n: int
    width: int
    recall_at_20: dict[str, FiniteFloat]
    nprobe: int | None = None


class Snapshot(Contract):
    """Everything computed for (model, dataset, layers, encoder, parameters); immutable."""

    id: str
    name: str
    model: ModelRef
    dataset: DatasetRef
    encoder: Encoder
    request: SnapshotRequest
    layers: list[SnapshotLayer]
    index: IndexFigures
    lineage: str
    created_at: datetime
