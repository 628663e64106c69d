"""Interventions on a model's activations: what is changed, where, how strongly and when; and their refusals."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.attribution import ClassScore, Explained, HeatMap, MethodName
from contracts.base import Contract, FiniteFloat, LayerName
from contracts.data import DatasetId, SampleIndex
from contracts.errors import XsysError

WIDEST = 16_384
Index = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Change = Literal["add", "scale", "set", "clamp", "ablate"]


class WidthMismatch(XsysError):
    status = 422
    remedy = "Give a direction with one number per component of the layer: `width` of them."


class ComponentOutOfRange(XsysError):
    status = 422
    remedy = "Components run from 0 to `width` - 1; `xsys model layers MODEL` shows the widths."


class DegenerateDirection(XsysError):
    """A direction without a length, such as the difference of two equal means."""

    status = 422
    remedy = "Give a direction whose norm is above 1e-8 and finite."


class NonFiniteSteering(XsysError):
    """Nothing was answered: NaN or infinity would have travelled on through the model."""

    status = 422
    remedy = "Lower the strength; `layer` names where the activations stopped being finite."


class FoldedLayer(XsysError):
    """A convolution that was folded into its normalisation no longer puts anything out."""

    status = 422
    remedy = "Load the model without folding, or choose the block around the convolution."


class LayerRunsAgain(XsysError):
    status = 422
    remedy = "Choose a layer that runs once per forward pass, such as the block around it."


class NotSteerable(XsysError):
    """What the layer puts out holds no tensor that could be replaced."""

    status = 422
    remedy = "Choose a layer that puts out a tensor, or a tuple, list or mapping that holds one."


class PlacesDoNotFit(XsysError):
    status = 422
    remedy = "Use `region` for maps and square grids of patches, `tokens` for tokens, and `all` anywhere."


class ConditionNotSeen(XsysError):
    """The layer that a condition reads did not run before the layer that is steered."""

    status = 422
    remedy = "Let the condition read a layer that runs before the steered one, or the same one."


class RowsDoNotFit(XsysError):
    """One list of interventions per row of the batch was given, and the batch has another number of rows."""

    status = 422
    remedy = "Give as many lists of interventions as the batch has rows, or one plan for all rows."


class DirectionUnavailable(XsysError):
    """A stored or derived direction was asked for where none can be fetched, or nothing is stored under that name."""

    status = 422
    remedy = "Name an artifact of this workspace and an array in it, or give the vector inline."


class EmptySampleSet(XsysError):
    status = 422
    remedy = "Name a label, a factor or samples that the dataset has."


class NoLayerNorm(XsysError):
    """A strength in units of the layer's median norm, and that norm is not known or zero."""

    status = 422
    remedy = 'Give the strength in raw activations (`unit="raw"`), or measure the layer first.'


class ComponentTarget(Contract):
    """One component. Without a sign it is the whole unit; with one, `scale` and `ablate` change that side only."""

    kind: Literal["component"] = "component"
    layer: LayerName
    index: Index
    sign: Literal[1, -1] | None = None


class WeightedComponent(Contract):
    """A component's share in a direction."""

    index: Index
    sign: Literal[1, -1] = 1
    weight: FiniteFloat = 1.0


class ComponentsTarget(Contract):
    """One direction made of several components of a layer: sum of weight times sign times unit vector, normalised."""

    kind: Literal["components"] = "components"
    layer: LayerName
    components: Annotated[list[WeightedComponent], Field(min_length=1, max_length=256)]


class DirectionTarget(Contract):
    """A direction in a layer's activations, inline or stored. It is divided by its norm before use.

    `artifact` is the key of stored arrays, `array` the name in it and `row` the row if it is a matrix.
    """

    kind: Literal["direction"] = "direction"
    layer: LayerName
    vector: Annotated[list[FiniteFloat], Field(min_length=1, max_length=WIDEST)] | None = None
    artifact: Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")] | None = None
    array: Annotated[str, Field(min_length=1, max_length=120)] = "direction"
    row: Index | None = None

    @model_validator(mode="after")
    def one_source(self) -> Self:
        """Refuse both and neither."""
        if (self.vector is None) == (self.artifact is None):
            raise ValueError("give either vector or artifact")
        return self


class SampleSet(Contract):
    """Some samples of a dataset: those with a label, those with a factor (`NAME=VALUE`), or the listed ones.

    At most `most` of them count, the first ones.
    """

    dataset: DatasetId
    label: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    factor: Annotated[str, Field(pattern=r"^[^=]{1,80}=.{1,200}$")] | None = None
    samples: Annotated[list[SampleIndex], Field(min_length=1, max_length=256)] | None = None
    most: Annotated[int, Field(ge=1, le=256)] = 64

    @model_validator(mode="after")
    def one_source(self) -> Self:
        """Refuse more than one of the three, and none."""
        if sum(given is not None for given in (self.label, self.factor, self.samples)) != 1:
            raise ValueError("give one of label, factor and samples")
        return self


class DifferenceTarget(Contract):
    """From the mean activation of one set of samples to that of another, means over places first; vision models."""

    kind: Literal["difference"] = "difference"
    layer: LayerName
    toward: SampleSet
    away: SampleSet


Target = Annotated[ComponentTarget | ComponentsTarget | DirectionTarget | DifferenceTarget, Field(discriminator="kind")]


class AllPlaces(Contract):
    """Every place of a map, every token."""

    kind: Literal["all"] = "all"


class KeptPlaces(Contract):
    """All but what the runner leaves out: padding, beginning of sequence, chat template; class token and registers."""

    kind: Literal["kept"] = "kept"


class TokenPlaces(Contract):
    """Tokens by absolute position, counted from the first real token; padding does not count."""

    kind: Literal["tokens"] = "tokens"
    at: Annotated[list[Index], Field(min_length=1, max_length=4096)]


class Region(Contract):
    """A rectangle in shares of the model's input: places whose centre lies in it."""

    kind: Literal["region"] = "region"
    left: Share = 0.0
    top: Share = 0.0
    right: Share = 1.0
    bottom: Share = 1.0

    @model_validator(mode="after")
    def some_area(self) -> Self:
        """Refuse an empty rectangle."""
        if self.left >= self.right or self.top >= self.bottom:
            raise ValueError("left has to be below right, and top below bottom")
        return self


Places = Annotated[AllPlaces | KeptPlaces | TokenPlaces | Region, Field(discriminator="kind")]


class Condition(Contract):
    """Only while another unit is above a threshold (in raw activations).

    `scope` any: somewhere in the sample (in this forward pass); place: at the very place that would be changed.
    """

    layer: LayerName
    index: Index
    sign: Literal[1, -1] = 1
    above: FiniteFloat
    scope: Literal["any", "place"] = "any"


class Intervention(Contract):
    """One change of a layer's activations h along a unit direction v, where c = <h, v>.

    ========  ==============================  =====================
    change    h becomes                       neutral strength
    ========  ==============================  =====================
    add       h + strength * unit * v         0
    scale     h + (strength - 1) c v          1
    set       h + (strength * unit - c) v     none
    clamp     c is at most strength * unit    none
    ablate    h - strength * c v              0; 1 removes it all
    ========  ==============================  =====================

    `unit` norm: strengths of add, set and clamp are in median norms of the layer's activations; raw: as they are.
    `half_life`: the change halves each time so many tokens have been generated; None keeps it constant.
    `places`: by default all of a picture, and of text the kept ones: no first token, no chat template.
    `keep_norm`: activations are rescaled to the norm that they had.
    """

    target: Target
    change: Change
    strength: Strength = 1.0
    unit: Literal["norm", "raw"] = "norm"
    places: Places | None = None
    half_life: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    condition: Condition | None = None
    keep_norm: bool = False


Interventions = Annotated[list[Intervention], Field(min_length=1, max_length=16)]
NEUTRAL: dict[str, float] = {"add": 0.0, "scale": 1.0, "ablate": 0.0}
PLAN_REFUSALS: tuple[type[XsysError], ...] = (
    WidthMismatch, ComponentOutOfRange, DegenerateDirection, NonFiniteSteering, LayerRunsAgain, NotSteerable,
    PlacesDoNotFit, ConditionNotSeen, NoLayerNorm, DirectionUnavailable, EmptySampleSet,
)  # fmt: skip


class SteeringRequest(Explained):
    """Steer one prediction of an image classifier and compare. `target`: the output to watch; None takes the largest.

    `strengths` asks for a curve besides: each of them in turn replaces the strength of every intervention.
    `closeness` is the correlation of the outputs with the unsteered ones above which a point counts as close.
    """

    interventions: Interventions
    maps: bool = Field(default=False, description="attribution heat maps before and after")
    methods: Annotated[list[MethodName], Field(min_length=1, max_length=4)] = ["gradcam"]
    strengths: Annotated[list[Strength], Field(max_length=32)] = []
    closeness: Annotated[float, Field(ge=-1, le=1)] = 0.7
    top: Annotated[int, Field(ge=1, le=50, description="outputs to list")] = 5


class ClassChange(Contract):
    """An output's share of probability before and after."""

    index: int
    name: str | None
    before: FiniteFloat
    after: FiniteFloat
    change: FiniteFloat


class SteeredLayer(Contract):
    """`norm`: median norm of its activations over reference pictures, the unit of strengths, if it was measured.

    `moved`: |h' - h| / |h| over the whole layer in this forward pass; 0 where no place was changed, None where h = 0.
    """

    layer: LayerName
    norm: FiniteFloat | None
    moved: FiniteFloat | None


class SteeredMaps(Contract):
    """One method's heat map of the watched output before and after, and the correlation of the two."""

    method: MethodName
    before: HeatMap
    after: HeatMap
    correlation: FiniteFloat | None


class CurvePoint(Contract):
    """What one strength does. Nothing but `strength` and `finite` is told where the model left the finite numbers.

    `variation`: total variation distance between the probabilities, 0 to 1; `closeness`: correlation of the outputs.
    """

    strength: FiniteFloat
    finite: bool
    top: ClassScore | None = None
    target: FiniteFloat | None = Field(default=None, description="probability of the watched output")
    variation: FiniteFloat | None = None
    closeness: FiniteFloat | None = None
    flipped: bool = False


class Window(Contract):
    """The longest run of strengths that change the first output while all outputs stay finite and close."""

    low: FiniteFloat
    high: FiniteFloat
    recommended: FiniteFloat = Field(description="the closest to the unsteered outputs among them")


class SteeringPreview(Contract):
    """A prediction before and after."""

    model: str
    target: ClassChange
    before: list[ClassScore]
    after: list[ClassScore]
    changes: list[ClassChange] = Field(description="largest changes of probability first")
    flipped: bool
    variation: FiniteFloat
    closeness: FiniteFloat | None
    layers: list[SteeredLayer]
    maps: list[SteeredMaps] = []
    curve: list[CurvePoint] = []
    window: Window | None = None
    window_note: str = ""
    baseline_cached: bool
    seconds: FiniteFloat
