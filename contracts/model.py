"""What may be asked of the model service: registered models and their layers."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Protocol

from pydantic import Field, JsonValue

from contracts.attribution import (
    AttributionAnswer,
    AttributionMethod,
    AttributionOverBudget,
    AttributionRequest,
    ComponentGraph,
    ComponentRelevance,
    ComponentRequest,
    GraphRequest,
    NoClassScores,
    Plays,
    PlaysRequest,
    UnknownMethod,
    UnknownOutput,
)
from contracts.base import (
    Arrays,
    Caller,
    Contract,
    Cursor,
    FiniteFloat,
    Limit,
    Name,
    Page,
    Right,
    Sha256,
    operation,
)
from contracts.base import LayerName as LayerName
from contracts.crops import ComponentCrops, CropRequest, UnknownChannel
from contracts.errors import UnknownDataset, UnknownLayer, UnknownModel, UnknownSample, UnsafePicture
from contracts.language import (
    GENERATION_REFUSALS,
    Generation,
    GenerationId,
    GenerationRequest,
    GenerationState,
    NoTokens,
    PromptTooLong,
    ReadsPictures,
    ReadsText,
    TokenQuery,
    UnknownGeneration,
)
from contracts.steering import PLAN_REFUSALS, SteeringPreview, SteeringRequest

ModelId = Annotated[str, Field(min_length=1, max_length=80, description="id (`m_...`) or name of a model")]
PoolingName = Annotated[
    str, Field(pattern=r"^(max|mean|sum|abs-max|token-mean|token-max|token-absmax|token:\d{1,5}|identity)$")
]


PICTURE_BODY = 48 << 20  # a picture of 32 MiB in base64
ATTRIBUTION_REFUSALS = (
    UnknownModel, UnknownDataset, UnknownSample, UnsafePicture, UnknownMethod, UnknownLayer, UnknownOutput,
    NoClassScores, AttributionOverBudget,
)  # fmt: skip


class LayerKind(enum.StrEnum):
    """Where the component axis lies in the tensor that a layer puts out."""

    MAP = "map"  # [B, C, H, W]
    MAP_LAST = "map-channels-last"  # [B, H, W, C]
    TOKENS = "tokens"  # [B, T, C]
    VECTOR = "vector"  # [B, C]


class Precision(enum.StrEnum):
    FP32 = "fp32"
    BF16 = "bf16"


class Layer(Contract):
    """A named point of the forward pass, as found by a dry run."""

    name: LayerName
    kind: LayerKind
    module: str
    width: int
    signed: bool
    pooling: PoolingName
    calls: int = 1


class Preprocessing(Contract):
    """From an upright RGB picture to the model's input, all in one place so that it can be hashed.

    Resize the shorter side to `resize` px with `interpolation`, cut the central `crop` x `crop` px, scale to
    [0, 1], subtract `mean`, divide by `std` (per RGB channel).
    """

    resize: int
    crop: int
    interpolation: str = "bicubic"
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    std: tuple[FiniteFloat, FiniteFloat, FiniteFloat]


class ModelRef(Contract):
    """What identifies a model: everything derived from it has these hashes in its key.

    A language model reads text: it has no preprocessing of pictures, and `preprocess_sha256` is that of its tokenizer.
    """

    id: str
    name: str
    architecture: str
    config: dict[str, JsonValue] = {}
    weights_sha256: Sha256
    preprocessing: Preprocessing | None
    preprocess_sha256: Sha256
    model_sha256: Sha256


class Model(Contract):
    """A model as registered, with its layer catalogue."""

    ref: ModelRef
    layers: list[Layer]
    parameters: int
    classes: list[str] | None = None
    licence: str | None = None
    facts: dict[str, JsonValue] = Field(default={}, description="what was found out when it was registered")
    lineage: str = Field(description="key of the artifact that registered it")
    created_at: datetime


class CostFigures(Contract):
    """What a model of pictures costs: its size, and one picture's time on the machine that answered."""

    model: str
    name: str
    parameters: int
    weights_bytes: int = Field(description="size of the stored weights")
    sparsity: FiniteFloat = Field(
        description="share of the weights of linear and convolution layers that are exactly 0"
    )
    gini: FiniteFloat = Field(description="concentration of these weights, mean of the layers")
    macs: int = Field(description="multiply-accumulate operations of one picture")
    side: int = Field(description="pixels of the picture")
    latency_ms: FiniteFloat = Field(description="median time of one picture")
    latency_low_ms: FiniteFloat = Field(description="a quarter was faster")
    latency_high_ms: FiniteFloat = Field(description="a quarter was slower")
    rounds: int
    threads: int


class ModelCost(Contract):
    """A model's cost, and another one's measured in turn with it."""

    model: CostFigures
    against: CostFigures | None = None
    speed_up: FiniteFloat | None = Field(default=None, description="the other one's time divided by this one's")


class ModelRegistration(Contract):
    """Register a model. `weights` is a path on the server; None takes a packaged checkpoint if there is one.

    `initial_seed` draws the weights instead: a model that knows nothing yet, to be trained.
    Language models: `llm:smollm2` from its package, `gguf:llama` with a .gguf file, `causal_lm:llama` with a folder of
    safetensors, config.json and tokenizer.json. Their config takes `perplexity_limit` only.
    """

    name: Name
    architecture: Annotated[
        str,
        Field(pattern=r"^(timm|torchvision|open_clip|entry_point|spiking|llm|gguf|causal_lm):[A-Za-z0-9_.:/-]{1,120}$"),
    ]
    weights: str | None = None
    initial_seed: Annotated[int, Field(ge=0, lt=2**31)] | None = Field(
        default=None, description="draw the weights from this seed, for a training from scratch"
    )
    config: dict[str, JsonValue] = {}
    preprocessing: Preprocessing | None = None
    licence: str | None = None


class ModelService(Protocol):
    """What may be asked about models. Router, client and OpenAPI come from this class."""

    @operation("GET", "/models", right=Right.LOOK)
    def models(self, caller: Caller, limit: Limit = 50, cursor: Cursor | None = None) -> Page[Model]:
        """List the models of the workspace, newest first."""
        ...

    @operation("GET", "/models/{model}", right=Right.LOOK, refuses=(UnknownModel,))
    def model(self, caller: Caller, model: ModelId) -> Model:
        """Show one model with its layer catalogue."""
        ...

    @operation("GET", "/models/{model}/cost", right=Right.SEARCH, refuses=(UnknownModel, ReadsText))
    def model_cost(self, caller: Caller, model: ModelId, against: ModelId | None = None) -> ModelCost:
        """Measure size, sparsity, operations and time of a model of pictures, `against` another one in turn."""
        ...

    @operation("GET", "/attribution-methods", right=Right.LOOK)
    def attribution_methods(self, caller: Caller) -> Page[AttributionMethod]:
        """List the ways to attribute a score: every composite of rules, and the baselines."""
        ...

    @operation(
        "POST", "/models/{model}/attributions", right=Right.SEARCH, refuses=ATTRIBUTION_REFUSALS, idempotent=True,
        max_body=PICTURE_BODY,
    )  # fmt: skip
    def attribute(self, caller: Caller, model: ModelId, query: AttributionRequest) -> AttributionAnswer:
        """Attribute one score of one picture by several methods, with their quality side by side."""
        ...

    @operation(
        "POST", "/models/{model}/attributions/maps", right=Right.SEARCH, refuses=ATTRIBUTION_REFUSALS, idempotent=True,
        max_body=PICTURE_BODY,
    )  # fmt: skip
    def attribution_maps(self, caller: Caller, model: ModelId, query: AttributionRequest) -> Arrays:
        """Deliver the signed maps of the same request, one array a method, float32: [C, H, W], or one value a place."""
        ...

    @operation(
        "POST", "/models/{model}/component-graph", right=Right.SEARCH, refuses=ATTRIBUTION_REFUSALS, idempotent=True,
        max_body=PICTURE_BODY,
    )  # fmt: skip
    def component_graph(self, caller: Caller, model: ModelId, query: GraphRequest) -> ComponentGraph:
        """Show which components one score rests on, layer by layer, and what flows between them."""
        ...

    @operation(
        "POST", "/models/{model}/plays", right=Right.SEARCH, refuses=ATTRIBUTION_REFUSALS, idempotent=True,
        max_body=PICTURE_BODY,
    )  # fmt: skip
    def plays(self, caller: Caller, model: ModelId, query: PlaysRequest) -> Plays:
        """Sample some plays of the game that a rule is: paths from one score to the picture."""
        ...

    @operation(
        "POST", "/models/{model}/component-relevance", right=Right.SEARCH, refuses=ATTRIBUTION_REFUSALS,
        idempotent=True, max_body=PICTURE_BODY,
    )  # fmt: skip
    def component_relevance(self, caller: Caller, model: ModelId, query: ComponentRequest) -> ComponentRelevance:
        """Relevance of a layer's components over some samples, checked by ablating them."""
        ...

    @operation(
        "POST", "/models/{model}/component-relevance/arrays", right=Right.SEARCH, refuses=ATTRIBUTION_REFUSALS,
        idempotent=True, max_body=PICTURE_BODY,
    )  # fmt: skip
    def component_arrays(self, caller: Caller, model: ModelId, query: ComponentRequest) -> Arrays:
        """Deliver the same as arrays: `relevance` [B, C], `effects` [B, K] of `components` [K], `scores`, `targets`."""
        ...

    @operation(
        "POST", "/models/{model}/steering-preview", right=Right.STEER, refuses=(*ATTRIBUTION_REFUSALS, *PLAN_REFUSALS),
        idempotent=True, max_body=PICTURE_BODY,
    )  # fmt: skip
    def steering_preview(self, caller: Caller, model: ModelId, query: SteeringRequest) -> SteeringPreview:
        """Compare one prediction without and with interventions on the model's activations."""
        ...

    @operation(
        "POST", "/models/{model}/crops", right=Right.LOOK, idempotent=True,
        refuses=(
            UnknownModel, UnknownDataset, UnknownSample, UnknownLayer, UnknownChannel, UnsafePicture,
            AttributionOverBudget,
        ),
    )  # fmt: skip
    def component_crops(self, caller: Caller, model: ModelId, query: CropRequest) -> ComponentCrops:
        """Cut samples to what a component saw, by its own activation map: boxes in the original pictures, and heat."""
        ...

    @operation(
        "POST", "/models/{model}/token-activations", right=Right.SEARCH,
        refuses=(UnknownModel, UnknownLayer, ReadsPictures, PromptTooLong, NoTokens), idempotent=True,
    )  # fmt: skip
    def token_activations(self, caller: Caller, model: ModelId, query: TokenQuery) -> Arrays:
        """Deliver a layer's activations on a text: `values` [K, d], `spans` [K, 2] characters, `ids`, `kept` [K]."""
        ...

    @operation(
        "POST", "/models/{model}/generations", right=Right.SEARCH, refuses=(UnknownModel, *GENERATION_REFUSALS),
        idempotent=True,
    )  # fmt: skip
    def generate(self, caller: Caller, model: ModelId, query: GenerationRequest) -> Generation:
        """Continue a prompt, and answer when all of it is written."""
        ...

    @operation(
        "POST", "/models/{model}/generations/open", right=Right.SEARCH, refuses=(UnknownModel, *GENERATION_REFUSALS)
    )
    def open_generation(self, caller: Caller, model: ModelId, query: GenerationRequest) -> GenerationState:
        """Begin to write, and answer at once; read it with `GET /generations/{generation}`."""
        ...

    @operation("GET", "/generations/{generation}", right=Right.SEARCH, refuses=(UnknownGeneration,))
    def generation(self, caller: Caller, generation: GenerationId, after: int = -1) -> GenerationState:
        """Read a text while it is written: waits up to a second for a version above `after`."""
        ...

    @operation("DELETE", "/generations/{generation}", right=Right.SEARCH, refuses=(UnknownGeneration,))
    def close_generation(self, caller: Caller, generation: GenerationId) -> GenerationState:
        """Stop before the next token, free the memory, and forget the text."""
        ...
