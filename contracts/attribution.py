"""What may be asked about one prediction: heat maps by several methods, components, and how far to trust them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Base64Bytes, Field, model_validator

from contracts.base import Contract, FiniteFloat, LayerName
from contracts.data import DatasetId, SampleIndex
from contracts.errors import NotFound, XsysError

MethodName = Annotated[str, Field(min_length=1, max_length=80)]
OutputIndex = Annotated[int, Field(ge=0, lt=2**31)]
Picture = Annotated[Base64Bytes, Field(max_length=32 << 20)]


class UnknownMethod(NotFound):
    remedy = "Take one of `closest`; `xsys attribute --list` shows all methods."


class UnknownOutput(XsysError):
    status = 422
    remedy = "Outputs run from 0 to `outputs` - 1; leave the target out for the largest."


class NoClassScores(XsysError):
    """The model puts out something else than one row of scores a picture."""

    status = 422
    remedy = "Take a model whose output is [B, outputs]."


class AttributionOverBudget(XsysError):
    """Nothing was computed. `needed` and `limit` are in pixel passes: pixels of the input times forward passes."""

    status = 422
    remedy = "Ask for fewer methods, samples, steps or ablated components, so that `needed` falls below `limit`."


class AttributionMethod(Contract):
    """A way to attribute a score to the input. `passes`: its cost, in forward passes of the model."""

    name: MethodName
    family: Literal["baseline", "composite"]
    aim: str
    passes: int


class SampleOf(Contract):
    """A sample of a registered dataset."""

    dataset: DatasetId
    index: SampleIndex


class Explained(Contract):
    """What is explained: a sample of a dataset or a picture, and which output; None takes the largest."""

    sample: SampleOf | None = None
    picture: Picture | None = Field(default=None, description="base64 of a PNG, JPEG or WebP")
    target: OutputIndex | None = None

    @model_validator(mode="after")
    def one_source(self) -> Self:
        """Refuse both and neither."""
        if (self.sample is None) == (self.picture is None):
            raise ValueError("give either sample or picture")
        return self


class AttributionRequest(Explained):
    """Attribute one score by several methods, side by side."""

    methods: Annotated[list[MethodName], Field(min_length=1, max_length=12)] = ["integrated_gradients", "gradcam"]
    layers: Annotated[list[LayerName], Field(max_length=8, description="layers whose top components are wanted")] = []
    components: Annotated[int, Field(ge=1, le=100, description="components a layer")] = 10
    steps: Annotated[int, Field(ge=0, le=64, description="steps of deletion and insertion; 0 leaves them out")] = 16
    fallback: Literal["error", "gradient"] = Field(
        default="error", description="what a composite does at an operation without a rule"
    )


class ClassScore(Contract):
    """An output with its score and, over all outputs, its softmax share."""

    index: int
    name: str | None
    score: FiniteFloat
    probability: FiniteFloat


class Quality(Contract):
    """How far to trust a map. None: not defined for this method, or not asked for.

    `deletion` (low is good) and `insertion` (high) are areas under the target's probability; `gini` lies between 0 for
    an even map and 1 for one spike; `completeness_gap` is |Σ map - score| / |score|; `conservation_gap` the same with
    what was absorbed on the way counted in; `forward_change` how much the rules changed the model's output.
    """

    deletion: FiniteFloat | None = None
    insertion: FiniteFloat | None = None
    gini: FiniteFloat | None = None
    entropy: FiniteFloat | None = None
    completeness_gap: FiniteFloat | None = None
    conservation_gap: FiniteFloat | None = None
    forward_change: FiniteFloat | None = None


class HeatMap(Contract):
    """One method's map. `heatmap` is a PNG over the model's crop: red speaks for the output, blue against it."""

    method: MethodName
    rows: int
    columns: int
    absmax: FiniteFloat
    heatmap: Base64Bytes
    quality: Quality
    absorbed: dict[str, FiniteFloat] = {}
    unruled: list[str] = []
    seconds: FiniteFloat


class RelevantComponent(Contract):
    """A component of a layer; `share` is its relevance over the sum of absolute relevance in the layer."""

    index: int
    relevance: FiniteFloat
    share: FiniteFloat


class LayerRelevance(Contract):
    """The components of one layer with the largest absolute relevance, largest first. `rule`: where it comes from."""

    layer: LayerName
    rule: MethodName
    components: list[RelevantComponent]


class AttributionAnswer(Contract):
    """Heat maps of one score, side by side. `picture` is what the model saw, as PNG."""

    model: str
    target: ClassScore
    top: list[ClassScore]
    picture: Base64Bytes
    maps: list[HeatMap]
    layers: list[LayerRelevance]


class GraphRequest(Explained):
    """Which components of some layers one score rests on, and what flows from each to those of the next layer."""

    layers: Annotated[list[LayerName], Field(min_length=2, max_length=6, description="in any order")]
    rule: MethodName = Field(default="epsilon", description="a composite of rules")
    components: Annotated[int, Field(ge=1, le=12, description="components a layer")] = 4
    fallback: Literal["error", "gradient"] = Field(
        default="error", description="what to do at operations for which there is no rule"
    )
    check: bool = Field(default=False, description="ablate every component and say what falls with it")


class GraphNode(Contract):
    """A component. `share` is of the layer's absolute relevance; `effect`: how far its ablation lowers the score."""

    layer: LayerName
    index: int
    relevance: FiniteFloat
    share: FiniteFloat
    effect: FiniteFloat | None = None


class GraphEdge(Contract):
    """The part of one node's relevance that reaches a node of the next layer; both by their place in the list."""

    source: int
    target: int
    relevance: FiniteFloat
    effect: FiniteFloat | None = Field(default=None, description="of the source's relevance, what goes with the target")


class GraphCheck(Contract):
    """Rank correlation (Spearman) of relevance and the effect of ablation; None where either is constant."""

    nodes: FiniteFloat | None
    edges: FiniteFloat | None


class ComponentGraph(Contract):
    """Nodes layer by layer from the output towards the input, strongest first; edges lead towards the input.

    Components without relevance are no nodes, so that a layer may have fewer than were asked for.
    """

    model: str
    target: ClassScore
    rule: MethodName
    layers: list[LayerName]
    nodes: list[GraphNode]
    edges: list[GraphEdge]
    check: GraphCheck | None = None


class PlaysRequest(Explained):
    """Sample plays of the game behind a rule: random walks from a score down to the picture."""

    rule: MethodName = Field(default="magnitude", description="a composite of rules")
    plays: Annotated[int, Field(ge=2, le=64)] = 64
    biases: bool = Field(default=False, description="whether biases may end a play, as they do in the rule itself")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class PlayStep(Contract):
    """One stop of a play: the output of a function. `x`, `y`: where in the picture, as shares, if it has a place."""

    function: str
    component: int | None
    x: FiniteFloat | None
    y: FiniteFloat | None


class Play(Contract):
    """A walk from the score on. Relevance is the mean of `weight` over the plays that end at the picture.

    A play that was absorbed ended before: at a bias, a constant, or where all contributions vanish.
    """

    weight: FiniteFloat
    ended: Literal["picture", "absorbed"]
    steps: list[PlayStep]


class Plays(Contract):
    """Plays of one score. `picture` is what the model saw, as PNG."""

    model: str
    target: ClassScore
    rule: MethodName
    picture: Base64Bytes
    plays: list[Play]


class ComponentRequest(Contract):
    """Relevance of a layer's components for some samples, checked by ablation."""

    layer: LayerName
    dataset: DatasetId
    samples: Annotated[list[SampleIndex], Field(min_length=1, max_length=64)]
    target: OutputIndex | None = Field(default=None, description="None: each sample's largest output")
    rule: MethodName = Field(default="activation_x_gradient", description="or the name of a composite")
    ablate: Annotated[int, Field(ge=0, le=512, description="components to ablate for the check; 0: no check")] = 64


class ComponentEffect(Contract):
    """A component, means over the samples. `effect`: by how much the score falls when it is set to zero."""

    index: int
    relevance: FiniteFloat
    share: FiniteFloat
    effect: FiniteFloat | None


class ComponentRelevance(Contract):
    """The components of a layer, largest absolute mean relevance first.

    `spearman` is the mean rank correlation of relevance and ablation effect; `deletion` and `random` are areas under
    the score while components are ablated by relevance and at random: deletion well below random shows faithfulness.
    """

    model: str
    layer: LayerName
    rule: MethodName
    samples: int
    targets: list[int]
    width: int
    components: list[ComponentEffect]
    checked: int
    spearman: FiniteFloat | None = None
    deletion: FiniteFloat | None = None
    random: FiniteFloat | None = None
