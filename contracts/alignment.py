"""What may be asked about concepts and their alignment: comparisons of layers and models over the same points."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Protocol

from pydantic import Field

from contracts.base import Binary, Caller, Contract, Cursor, FiniteFloat, Limit, Name, Page, Right, operation
from contracts.data import DatasetId, DatasetRef, SampleIndex
from contracts.errors import CorruptArtifact, UnknownComparison, UnknownConcept, UnknownPair
from contracts.model import LayerName, ModelId, ModelRef

ComparisonId = Annotated[str, Field(min_length=1, max_length=80, description="id (`c_...`) or name of a comparison")]
Place = Annotated[int, Field(ge=0, lt=1000, description="place of a representation in the comparison's list")]
MethodName = Literal["manifold", "dense", "kmeans", "pca", "nmf", "mcd", "sae"]
Tokens = Literal["spatial", "cls", "pooled"]
Relation = Literal["universal", "shared", "weak", "unique", "undecided"]


class Side(Contract):
    """One model with the layers to compare, from early to late."""

    model: ModelId
    layers: Annotated[list[LayerName], Field(min_length=1, max_length=64)]


class PointsPlan(Contract):
    """Which vectors become points. Positions are drawn once per sample and are the same for every layer and model.

    `spatial` takes `per_sample` random places of a `grid` x `grid` average of the map or of the patch tokens; `cls` the
    first token; `pooled` the mean over places.
    """

    tokens: Tokens = "spatial"
    per_sample: Annotated[int, Field(ge=1, le=64)] = 4
    grid: Annotated[int, Field(ge=1, le=64)] = 4
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class ComparisonRequest(Contract):
    """Find the concepts of every layer named, and compare the layers over the same points.

    One side gives the concepts of one model's layers, their order and flow; two or more sides also compare models.
    """

    dataset: DatasetId
    sides: Annotated[list[Side], Field(min_length=1, max_length=6)]
    name: Name | None = None
    points: PointsPlan = PointsPlan()
    method: MethodName = "manifold"
    parameters: dict[str, int | FiniteFloat | str | bool] = Field(
        default_factory=dict, description="of the method, such as `min_cluster_size`; the rest keeps its default"
    )
    preprocess: Literal["none", "standardize"] = "none"
    seeds: Annotated[int, Field(ge=1, le=10, description="runs of the method; alignment is averaged over them")] = 2
    permutations: Annotated[int, Field(ge=0, le=500, description="of the null that matches are held against")] = 50
    batch: Annotated[int, Field(ge=1, le=1024)] = 32
    shard: Annotated[int, Field(ge=8, le=65536, description="samples per part")] = 512


class ConceptExample(Contract):
    """A point that belongs to a concept: its sample, and its place as a share of the picture's height and width."""

    sample: SampleIndex
    label: str | None
    membership: FiniteFloat
    row: FiniteFloat
    column: FiniteFloat


class Concept(Contract):
    """A region of one representation. `stability` is the mean best overlap with concepts of the other seeds.

    `label` is the commonest label among its members with its share, None without labels. `x` and `y` place it on the
    map of its representation. `dimension` is intrinsic.
    """

    index: int
    prevalence: FiniteFloat
    members: int
    samples: int
    few_samples: bool
    dimension: FiniteFloat | None
    stability: FiniteFloat | None
    label: str | None
    label_share: FiniteFloat | None
    x: FiniteFloat
    y: FiniteFloat
    examples: list[ConceptExample]


class Representation(Contract):
    """A layer of a model with the figures of its discovery. `state` is `no_concepts` if fewer than two were found.

    `ceiling` is the corrected index between seeds: no comparison can be expected to reach higher.
    """

    place: int
    model: str
    layer: LayerName
    width: int
    state: Literal["ok", "no_concepts"]
    advice: str | None = None
    concepts: int
    noise_share: FiniteFloat | None
    noise_mass: FiniteFloat | None
    validity: FiniteFloat | None
    trustworthiness: FiniteFloat | None
    dimension: FiniteFloat | None
    ceiling: FiniteFloat | None
    label_alignment: FiniteFloat | None
    position_alignment: FiniteFloat | None


class Alignment(Contract):
    """How far two representations agree. `aci` is corrected for chance; `gri`, the published index, is not.

    `relative` is `aci` divided by the geometric mean of the two ceilings. `crisp` is the adjusted Rand index of the
    hard labels. `modes` holds `aci` under each way of treating noise. None where a measure is undefined.
    """

    ours: int
    theirs: int
    aci: FiniteFloat | None
    low: FiniteFloat | None
    high: FiniteFloat | None
    gri: FiniteFloat | None
    gri_error: FiniteFloat | None
    chance: FiniteFloat | None
    relative: FiniteFloat | None
    crisp: FiniteFloat | None
    modes: dict[str, FiniteFloat | None]
    coverage: FiniteFloat | None
    cka: FiniteFloat | None
    cka_unbiased: FiniteFloat | None
    svcca: FiniteFloat | None
    rsa: FiniteFloat | None
    mutual_knn: FiniteFloat | None
    cknna: FiniteFloat | None


class ConceptMatch(Contract):
    """A concept with its one-to-one partner, or alone. `q` is the false-discovery rate over all matched pairs."""

    ours: int | None
    theirs: int | None
    relation: Relation
    kappa: FiniteFloat | None
    size_free_distance: FiniteFloat | None
    distance: FiniteFloat | None
    q: FiniteFloat | None
    divided: bool = False


class FlowEdge(Contract):
    """Share of the points of a concept that go to a concept of another layer, with the z-score of their number."""

    source: int
    target: int
    points: FiniteFloat
    share_of_source: FiniteFloat
    share_of_target: FiniteFloat
    z: FiniteFloat


class LayerOrderScore(Contract):
    """Share of a model's layers that are most alike to a neighbouring layer, by measure; chance is 2 / layers."""

    model: str
    layers: int
    chance: FiniteFloat
    scores: dict[str, FiniteFloat]


class Comparison(Contract):
    """A finished comparison. `matched` names the pairs of representations that have been matched concept by concept."""

    id: str
    name: str
    dataset: DatasetRef
    models: list[ModelRef]
    request: ComparisonRequest
    points: int
    representations: list[Representation]
    alignments: list[Alignment]
    matched: list[tuple[int, int]]
    layer_order: list[LayerOrderScore]
    lineage: str
    created_at: datetime


class PairReport(Contract):
    """Two representations, concept by concept: matches from the best down, what only one side has, and the flow."""

    comparison: str
    ours: Representation
    theirs: Representation
    alignment: Alignment
    counts: dict[Relation, int]
    matches: list[ConceptMatch]
    our_concepts: list[Concept]
    their_concepts: list[Concept]
    flow: list[FlowEdge]


class ConceptDetail(Contract):
    """One concept with its members, strongest first, and its matches in other representations."""

    comparison: str
    representation: Representation
    concept: Concept
    partners: dict[int, ConceptMatch]


class AlignmentService(Protocol):
    """What may be asked about comparisons. Router, client and OpenAPI come from this class."""

    @operation("GET", "/comparisons", right=Right.LOOK)
    def comparisons(self, caller: Caller, limit: Limit = 50, cursor: Cursor | None = None) -> Page[Comparison]:
        """List the comparisons of the workspace, newest first."""
        ...

    @operation("GET", "/comparisons/{comparison}", right=Right.LOOK, refuses=(UnknownComparison,))
    def comparison(self, caller: Caller, comparison: ComparisonId) -> Comparison:
        """Show one comparison: its representations, and the alignment of each two of them."""
        ...

    @operation(
        "GET",
        "/comparisons/{comparison}/pairs/{ours}/{theirs}",
        right=Right.LOOK,
        refuses=(UnknownComparison, UnknownPair, CorruptArtifact),
    )
    def pair(self, caller: Caller, comparison: ComparisonId, ours: Place, theirs: Place) -> PairReport:
        """Show two representations concept by concept: what they share and what only one has."""
        ...

    @operation(
        "GET",
        "/comparisons/{comparison}/concepts/{representation}/{concept}",
        right=Right.LOOK,
        refuses=(UnknownComparison, UnknownConcept, CorruptArtifact),
    )
    def concept(
        self, caller: Caller, comparison: ComparisonId, representation: Place, concept: Annotated[int, Field(ge=0)]
    ) -> ConceptDetail:
        """Show one concept: its examples, and its partners in the representations that were matched with its own."""
        ...

    @operation(
        "GET",
        "/comparisons/{comparison}/report",
        right=Right.LOOK,
        refuses=(UnknownComparison, CorruptArtifact),
    )
    def report(self, caller: Caller, comparison: ComparisonId, format: Literal["html", "csv"] = "html") -> Binary:
        """Export a comparison as one HTML page with linked maps and example pictures, or its matches as CSV."""
        ...
