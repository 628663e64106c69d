"""What may be asked of the explanation service: snapshots, components, search."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from pydantic import Base64Bytes, Field

from contracts.base import Arrays, Caller, Contract, Cursor, FiniteFloat, Limit, Page, Right, operation
from contracts.data import SampleIndex
from contracts.errors import (
    BadTemplate,
    CorruptArtifact,
    EmptyPrompt,
    InsufficientEvidence,
    NoTextSide,
    UnknownComponent,
    UnknownEncoder,
    UnknownFactor,
    UnknownLabels,
    UnknownLayer,
    UnknownSample,
    UnknownSnapshot,
    UnsafePicture,
)
from contracts.labels import ComponentLabels, LabelSet, LabelSetId, Leaderboard
from contracts.model import LayerName
from contracts.snapshots import (
    ComponentIndex,
    ComponentRef,
    Encoder,
    Example,
    Sign,
    Snapshot,
    SnapshotId,
)

FactorName = Annotated[str, Field(pattern=r"^[^=]{1,80}=.{1,200}$", description="NAME=VALUE")]


RangeBy = Literal["activation", "quantile"]


class TextTerm(Contract):
    kind: Literal["text"] = "text"
    text: Annotated[str, Field(min_length=1, max_length=200)]
    weight: FiniteFloat = 1.0


class ComponentTerm(Contract):
    kind: Literal["component"] = "component"
    layer: LayerName
    index: ComponentIndex
    sign: Sign = 1
    weight: FiniteFloat = 1.0


class SampleTerm(Contract):
    """A picture of the snapshot's dataset."""

    kind: Literal["sample"] = "sample"
    sample: SampleIndex
    weight: FiniteFloat = 1.0


class PictureTerm(Contract):
    """A picture sent along: PNG, JPEG or WebP bytes, base64 in JSON."""

    kind: Literal["picture"] = "picture"
    picture: Base64Bytes
    weight: FiniteFloat = 1.0


Term = Annotated[TextTerm | ComponentTerm | SampleTerm | PictureTerm, Field(discriminator="kind")]


class SearchQuery(Contract):
    """Find components near a direction: the weighted sum of one or more terms."""

    terms: Annotated[list[Term], Field(min_length=1, max_length=32)]
    k: Annotated[int, Field(ge=1, le=1000)] = 20
    examples: Annotated[int, Field(ge=0, le=30)] = 6
    layers: Annotated[list[LayerName], Field(max_length=1000)] | None = None
    min_clarity: FiniteFloat | None = None
    min_score: FiniteFloat | None = None
    min_z: FiniteFloat | None = None
    templates: Annotated[list[Annotated[str, Field(max_length=200)]], Field(min_length=1, max_length=16)] | None = None


class SearchHit(Contract):
    """One component, best first. `score` is a cosine; `z` says how far it lies from what unrelated prompts score.

    `z` is None where no null could be formed, never zero. `z_random` compares with random sets of pictures instead.
    """

    component: ComponentRef
    score: FiniteFloat
    z: FiniteFloat | None
    z_random: FiniteFloat | None
    clarity: FiniteFloat
    prototype: int
    n_valid: int
    examples: list[Example]


class SearchHits(Contract):
    """The answer to a search, with the snapshot and the lineage key that it was computed from."""

    snapshot: str
    lineage: str
    hits: list[SearchHit]
    truncated_texts: list[str] = []


class Component(Contract):
    """A component's figures in one snapshot. Metrics are None where `state` is not `ok`."""

    ref: ComponentRef
    state: Literal["ok", "dead", "insufficient_evidence"]
    n_valid: int
    n_groups: int | None
    clarity: FiniteFloat | None
    clarity_z: FiniteFloat | None
    polysemanticity: FiniteFloat | None
    polysemanticity_z: FiniteFloat | None
    redundancy: FiniteFloat | None
    maximum: FiniteFloat
    mean: FiniteFloat
    minimum: FiniteFloat


class Prototype(Contract):
    """One meaning of a component: the positions of its members among the component's examples."""

    share: FiniteFloat
    members: list[int]


class Histogram(Contract):
    """Counts of pooled activations over the whole dataset; `edges` has one value more than `counts`."""

    edges: list[FiniteFloat]
    counts: list[int]


class Neighbour(Contract):
    component: ComponentRef
    score: FiniteFloat


class ComponentDetail(Contract):
    """All that a component page shows."""

    snapshot: str
    lineage: str
    component: Component
    examples: list[Example]
    others: list[Example] = Field(
        default_factory=list,
        description="where the snapshot has relevance: examples ranked by what `examples` are not ranked by",
    )
    lowest: list[Example]
    histogram: Histogram
    prototypes: list[Prototype]
    nearest: list[Neighbour]


class ExampleSet(Contract):
    """A stretch of a component's activations: how many samples lie in it, and some of them, evenly by rank.

    `low` and `high` are the ends of the stretch where it was cut by activation, and the extremes inside where it was
    cut by rank.
    """

    low: FiniteFloat
    high: FiniteFloat
    n: int
    examples: list[Example]


class ExampleRange(Contract):
    """Examples along all that a component does, strongest set first; the `n` of the sets sum to `n`."""

    snapshot: str
    lineage: str
    component: ComponentRef
    by: RangeBy
    n: int
    sets: list[ExampleSet]


class FactorScore(Contract):
    """How well one component detects a recorded property; the standard error is Hanley and McNeil's."""

    component: ComponentRef
    auroc: FiniteFloat
    standard_error: FiniteFloat


class FactorScores(Contract):
    """The components that best tell samples with a recorded property (`NAME=VALUE`) from the others."""

    snapshot: str
    lineage: str
    factor: str
    n: int
    n_with: int
    components: list[FactorScore]


class SnapshotCheck(Contract):
    """The outcome of hashing every file of a snapshot."""

    snapshot: str
    artifacts: int
    damaged: list[str]


class ExplanationService(Protocol):
    """What may be asked about components. Router, client and OpenAPI come from this class."""

    @operation("GET", "/encoders", right=Right.LOOK)
    def encoders(self, caller: Caller) -> Page[Encoder]:
        """List the encoders that can be loaded here."""
        ...

    @operation("GET", "/snapshots", right=Right.LOOK)
    def snapshots(self, caller: Caller, limit: Limit = 50, cursor: Cursor | None = None) -> Page[Snapshot]:
        """List the snapshots of the workspace, newest first."""
        ...

    @operation("GET", "/snapshots/{snapshot}", right=Right.LOOK, refuses=(UnknownSnapshot,))
    def snapshot(self, caller: Caller, snapshot: SnapshotId) -> Snapshot:
        """Show one snapshot: its layers, its index, what it was computed from."""
        ...

    @operation(
        "POST",
        "/snapshots/{snapshot}/search",
        right=Right.SEARCH,
        refuses=(
            UnknownSnapshot,
            UnknownLayer,
            UnknownComponent,
            UnknownSample,
            NoTextSide,
            EmptyPrompt,
            BadTemplate,
            InsufficientEvidence,
            UnsafePicture,
            CorruptArtifact,
            UnknownEncoder,
        ),
        idempotent=True,
        max_body=64 << 20,
    )
    def search(self, caller: Caller, snapshot: SnapshotId, query: SearchQuery) -> SearchHits:
        """Find components by text, picture, component, or a weighted mix of them."""
        ...

    @operation("GET", "/snapshots/{snapshot}/components", right=Right.LOOK, refuses=(UnknownSnapshot, UnknownLayer))
    def components(
        self,
        caller: Caller,
        snapshot: SnapshotId,
        layer: LayerName | None = None,
        sort: Literal["component", "clarity", "polysemanticity", "redundancy"] = "component",
        limit: Limit = 50,
        cursor: Cursor | None = None,
    ) -> Page[Component]:
        """List components; metrics sort from high to low."""
        ...

    @operation(
        "GET",
        "/snapshots/{snapshot}/components/{layer}/{index}",
        right=Right.LOOK,
        refuses=(UnknownSnapshot, UnknownLayer, UnknownComponent, CorruptArtifact),
    )
    def component(
        self, caller: Caller, snapshot: SnapshotId, layer: LayerName, index: ComponentIndex, sign: Sign = 1
    ) -> ComponentDetail:
        """Show one component: examples, histogram, prototypes, nearest components."""
        ...

    @operation(
        "GET",
        "/snapshots/{snapshot}/components/{layer}/{index}/range",
        right=Right.LOOK,
        refuses=(UnknownSnapshot, UnknownLayer, UnknownComponent, CorruptArtifact),
    )
    def example_range(
        self,
        caller: Caller,
        snapshot: SnapshotId,
        layer: LayerName,
        index: ComponentIndex,
        sign: Sign = 1,
        by: RangeBy = "activation",
        sets: Annotated[int, Field(ge=2, le=32)] = 8,
        examples: Annotated[int, Field(ge=1, le=24)] = 6,
    ) -> ExampleRange:
        """Show examples along all of a component's activations, in stretches equal in activation or in samples."""
        ...

    @operation(
        "GET", "/snapshots/{snapshot}/vectors/{layer}", right=Right.LOOK, refuses=(UnknownSnapshot, UnknownLayer)
    )
    def vectors(self, caller: Caller, snapshot: SnapshotId, layer: LayerName) -> Arrays:
        """Deliver a layer's semantic vectors: `vectors` [C, d] float32 (zeros where there is none), `index`, `sign`."""
        ...

    @operation(
        "GET",
        "/snapshots/{snapshot}/factors",
        right=Right.LOOK,
        refuses=(UnknownSnapshot, UnknownLayer, UnknownFactor, CorruptArtifact),
    )
    def factors(
        self, caller: Caller, snapshot: SnapshotId, layer: LayerName, factor: FactorName, k: Limit = 20
    ) -> FactorScores:
        """Rank a layer's components by how well they detect a recorded property of the samples, best first."""
        ...

    @operation("GET", "/snapshots/{snapshot}/labels", right=Right.LOOK, refuses=(UnknownSnapshot,))
    def labels(self, caller: Caller, snapshot: SnapshotId) -> Page[LabelSet]:
        """List the label sets of a snapshot, newest first."""
        ...

    @operation(
        "GET",
        "/snapshots/{snapshot}/labels/leaderboard",
        right=Right.LOOK,
        refuses=(UnknownSnapshot, UnknownLabels, CorruptArtifact),
    )
    def leaderboard(self, caller: Caller, snapshot: SnapshotId, labels: LabelSetId | None = None) -> Leaderboard:
        """Compare the scorers of each layer on held-out samples; without `labels`, those of the newest set."""
        ...

    @operation(
        "GET",
        "/snapshots/{snapshot}/labels/components/{layer}/{index}",
        right=Right.LOOK,
        refuses=(UnknownSnapshot, UnknownLabels, UnknownLayer, UnknownComponent, CorruptArtifact),
    )
    def component_labels(
        self,
        caller: Caller,
        snapshot: SnapshotId,
        layer: LayerName,
        index: ComponentIndex,
        sign: Sign = 1,
        labels: LabelSetId | None = None,
    ) -> ComponentLabels:
        """Show what every scorer calls a component, and how far that predicts held-out activations."""
        ...

    @operation("POST", "/snapshots/{snapshot}/check", right=Right.LOOK, refuses=(UnknownSnapshot,), idempotent=True)
    def check(self, caller: Caller, snapshot: SnapshotId) -> SnapshotCheck:
        """Hash every file of the snapshot and name those that are damaged."""
        ...
