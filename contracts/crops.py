"""What may be asked about where in a picture a component looks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Base64Bytes, Field

from contracts.base import Contract, FiniteFloat, LayerName
from contracts.data import Box, DatasetId, SampleIndex
from contracts.errors import XsysError


class UnknownChannel(XsysError):
    status = 422
    remedy = "Components run from 0 to `width` - 1 of the layer; the negative side only exists in signed layers."


CropMethod = Annotated[
    Literal["none", "receptive-field", "activation-map", "relevance"],
    Field(
        description="what is embedded of an example: all, what the place of its maximum sees, where its map is active, "
        "or the pixels that the activation comes from, by LRP from the component down"
    ),
]
THRESHOLDS: dict[str, float] = {"none": 0.5, "receptive-field": 0.5, "activation-map": 0.5, "relevance": 0.01}
Threshold = Annotated[
    float | None,
    Field(
        ge=0.01, le=0.99,
        description="of the map's largest value; 0.5 for activation maps and 0.01 for relevance where none is given",
    ),
]  # fmt: skip


class CropRequest(Contract):
    """Cut samples to what a component saw: its map, above `threshold` of its largest value.

    `activation-map` is the component's own map, enlarged. `relevance` follows the activation down to the pixels by LRP,
    with the rule `epsilon_plus_flat` in CNNs and `cp_gamma` in transformers; of a layer that is pooled by its maximum
    only the activation there counts. It has pixels also for layers without places, and costs a backward pass.
    """

    layer: LayerName
    index: Annotated[int, Field(ge=0, lt=2**31)]
    sign: Literal[1, -1] = 1
    dataset: DatasetId
    samples: Annotated[list[SampleIndex], Field(min_length=1, max_length=64)]
    method: Literal["activation-map", "relevance"] = "activation-map"
    threshold: Threshold = None


class Crop(Contract):
    """One sample. `box` is a square of the original picture (clipped to it), `share` its share of the picture's area.

    `heat` is a grey PNG of the component's map (white where it is most active), as large as the layer's map, or for
    relevance half as large as the model's input, over what the model sees: the central crop. Where there is no map
    (`vector`) or nothing in it (`empty`), `whole` says so, the box is the whole picture, and there is no heat.
    """

    sample: int
    box: Box
    share: FiniteFloat
    whole: Literal["vector", "empty"] | None = None
    heat: Base64Bytes | None = None


class ComponentCrops(Contract):
    """The samples in the order of the request; `median_share` is the median of their shares."""

    model: str
    layer: LayerName
    index: int
    sign: Literal[1, -1]
    method: Literal["activation-map", "relevance"]
    rule: str | None = Field(default=None, description="by which relevance was followed")
    threshold: FiniteFloat
    median_share: FiniteFloat
    crops: list[Crop]
