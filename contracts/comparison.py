"""What may be asked about snapshots as wholes: maps, distributions, how alike two are, what drifted between them."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from pydantic import Field

from contracts.base import Binary, Caller, Contract, FiniteFloat, Right, operation
from contracts.data import DatasetRef
from contracts.errors import CorruptArtifact, UnknownLayer, UnknownSnapshot, XsysError
from contracts.model import LayerName
from contracts.snapshots import ComponentRef, Example, SnapshotId

Layout = Literal["umap", "pca"]
Pairing = Literal["mutual", "one-to-one"]
Space = Literal["centred", "raw"]
Fate = Literal["kept", "changed", "undecided", "lost", "gained", "absent"]
Layers = Annotated[list[LayerName], Field(min_length=1, max_length=1000)]
Threshold = Annotated[float, Field(ge=0, le=2, description="least relative similarity: 0 is chance, 1 wholly alike")]
Rows = Annotated[int, Field(ge=0, le=1000, description="most rows of each list in the answer")]
Shown = Annotated[int, Field(ge=0, le=30, description="examples of each component in the answer")]


class DifferentEncoders(XsysError):
    """Vectors of two encoders lie in two spaces, those of crops and of whole pictures on two scales."""

    status = 422
    remedy = "Build both snapshots with the same encoder and crops: `xsys snapshot build --encoder NAME --crop METHOD`."


class NothingToAlign(XsysError):
    """Drift is about component i of a layer and component i of the same layer later on."""

    status = 422
    remedy = "Name a layer that both have in the same width, or compare without numbers: `xsys compare A B`."


class TooManyToPair(XsysError):
    """The Hungarian method takes time with the cube of the components."""

    status = 422
    remedy = "Name fewer layers, or pair by `mutual`."


class ComparisonQuery(Contract):
    """What to compare a snapshot with, and how. `layers` are of the snapshot, `other_layers` of the other one.

    A component is known to the other side if its relative similarity to the nearest component there reaches
    `threshold`. `pairing` says how pairs are made: each other's nearest, or one-to-one at the least total distance
    (up to 5,000 components a side). In the `centred` space the direction of the mean picture is taken out
    of every vector, so that encoders whose pictures all lie close together still tell meanings apart; `raw` cosines are
    as published.
    """

    other: SnapshotId
    layers: Layers | None = None
    other_layers: Layers | None = None
    threshold: Threshold = 0.5
    pairing: Pairing = "mutual"
    space: Space = "centred"
    k: Rows = 20
    examples: Shown = 4
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class ComparedSide(Contract):
    """One of the two snapshots. `similarity` is the mean cosine of its components to their nearest in the other one.

    `chance` is that of as many random sets of pictures, `excess` the difference, `z` the difference in standard
    deviations of the random draws; `ceiling` what the same components would reach had their examples been drawn anew:
    the most to expect on different pictures. `undecided` components are too diffuse for their absence to mean anything.
    """

    snapshot: str
    name: str
    model: str
    dataset: DatasetRef
    layers: list[LayerName]
    components: int
    similarity: FiniteFloat | None
    chance: FiniteFloat | None
    excess: FiniteFloat | None
    z: FiniteFloat | None
    ceiling: FiniteFloat | None
    known: int
    alone: int
    undecided: int


class LayerSimilarity(Contract):
    """Two layers: `similarity` of ours to theirs, `back` of theirs to ours, with what chance gives for each."""

    ours: LayerName
    theirs: LayerName
    similarity: FiniteFloat | None
    chance: FiniteFloat | None
    z: FiniteFloat | None
    back: FiniteFloat | None
    back_chance: FiniteFloat | None
    back_z: FiniteFloat | None


class ComparedComponent(Contract):
    """A component with what it is shown by."""

    component: ComponentRef
    clarity: FiniteFloat
    examples: list[Example]


class ComponentPair(Contract):
    """Two components that belong together. `relative` is the smaller of both sides' relative similarities."""

    ours: ComparedComponent
    theirs: ComparedComponent
    cosine: FiniteFloat
    relative: FiniteFloat | None


class LoneComponent(Contract):
    """A component without its like on the other side, and the nearest that there is."""

    component: ComparedComponent
    nearest: ComponentRef
    cosine: FiniteFloat
    chance: FiniteFloat
    ceiling: FiniteFloat
    relative: FiniteFloat


class SnapshotComparison(Contract):
    """How alike two snapshots are, what both know, and what only one knows.

    `pairs` come with the most alike first, `only_*` with the clearest first; each list shows `k` of its number.
    `null_limited` says that a side has more components than there are random sets, so that chance is a little low.
    """

    ours: ComparedSide
    theirs: ComparedSide
    similarity: FiniteFloat | None
    encoder: str
    same_dataset: bool
    threshold: FiniteFloat
    pairing: Pairing
    space: Space
    null_limited: bool
    layers: list[LayerSimilarity]
    paired: int
    pairs: list[ComponentPair]
    only_ours: list[LoneComponent]
    only_theirs: list[LoneComponent]


class DriftRow(Contract):
    """What became of one component.

    `cosine` is of the vectors as they are; `relative` is taken without the direction of the mean picture, 0 at what
    random sets reach and 1 where nothing changed. `overlap` is the Jaccard index of the examples (None on different
    data); `scale` the new mean activation of the examples over the old one.
    `moved_to` is the new component most like the old one, if that is another one.
    """

    component: ComponentRef
    fate: Fate
    cosine: FiniteFloat | None
    relative: FiniteFloat | None
    overlap: FiniteFloat | None
    scale: FiniteFloat | None
    clarity_change: FiniteFloat | None
    moved_to: ComponentRef | None
    moved_cosine: FiniteFloat | None
    before: list[Example]
    after: list[Example]


class LayerDrift(Contract):
    """A layer in both states: means over the components that both have, and how many met which fate."""

    layer: LayerName
    components: int
    cosine: FiniteFloat | None
    relative: FiniteFloat | None
    overlap: FiniteFloat | None
    scale: FiniteFloat | None
    clarity_change: FiniteFloat | None
    fates: dict[Fate, int]


class SnapshotDrift(Contract):
    """What became of the components between two states of one network; `rows` with the most changed first."""

    old: str
    new: str
    same_dataset: bool
    threshold: FiniteFloat
    layers: list[LayerDrift]
    unaligned: list[LayerName]
    rows: list[DriftRow]


class Distribution(Contract):
    """A metric over a layer's components: quantiles and a histogram, beside the same metric of random sets.

    `edges` has one value more than `counts` and `null_counts`; both are shares that add up to 1. `above_null` is the
    share of components above the 95 % point of the null; None where the layer has no components.
    """

    metric: Literal["clarity", "polysemanticity", "redundancy"]
    n: int
    mean: FiniteFloat | None
    quantiles: dict[str, FiniteFloat]
    null_mean: FiniteFloat
    null_quantiles: dict[str, FiniteFloat]
    above_null: FiniteFloat | None
    edges: list[FiniteFloat]
    counts: list[FiniteFloat]
    null_counts: list[FiniteFloat]


class LayerDistributions(Contract):
    """The metrics of one layer."""

    layer: LayerName
    components: int
    metrics: list[Distribution]


class Distributions(Contract):
    """How clarity, polysemanticity and redundancy are spread in each layer of a snapshot."""

    snapshot: str
    lineage: str
    layers: list[LayerDistributions]


TWO = (UnknownSnapshot, UnknownLayer, DifferentEncoders, CorruptArtifact)


class ComparisonService(Protocol):
    """What may be asked about snapshots as wholes. Router, client and OpenAPI come from this class."""

    @operation("GET", "/snapshots/{snapshot}/map", right=Right.LOOK, refuses=(UnknownSnapshot, CorruptArtifact))
    def semantic_map(self, caller: Caller, snapshot: SnapshotId, layout: Layout = "umap") -> Binary:
        """Deliver the plane on which components of like meaning lie near each other, as safetensors.

        One row for each component that has a vector, layer by layer: `xy` [P, 2] float32 in [-1, 1], `layer` int32
        (place in the snapshot's `layers`), `index` int32, `sign` int32, and float32 `clarity`, `clarity_z`,
        `polysemanticity`, `redundancy` (NaN where undefined). The header's `facts` name snapshot, layers, layout and
        seed. The first request for `umap` computes it (seconds), later ones read it; `pca` takes no time. Distances
        on the plane are for the eye: no figure is ever computed from them.
        """
        ...

    @operation(
        "GET",
        "/snapshots/{snapshot}/distributions",
        right=Right.LOOK,
        refuses=(UnknownSnapshot, UnknownLayer, CorruptArtifact),
    )
    def distributions(self, caller: Caller, snapshot: SnapshotId, layer: LayerName | None = None) -> Distributions:
        """Show how clarity, polysemanticity and redundancy are spread in each layer, beside what chance gives."""
        ...

    @operation(
        "POST", "/snapshots/{snapshot}/comparison", right=Right.LOOK, refuses=(*TWO, TooManyToPair), idempotent=True
    )
    def compare(self, caller: Caller, snapshot: SnapshotId, query: ComparisonQuery) -> SnapshotComparison:
        """Compare two snapshots of one encoder: how alike they are, what both know, what only one knows."""
        ...

    @operation(
        "POST",
        "/snapshots/{snapshot}/comparison/report",
        right=Right.LOOK,
        refuses=(*TWO, TooManyToPair),
        idempotent=True,
    )
    def comparison_report(
        self, caller: Caller, snapshot: SnapshotId, query: ComparisonQuery, format: Literal["html", "csv"] = "html"
    ) -> Binary:
        """Export a comparison: one HTML page with example pictures, or a line of CSV for every component."""
        ...

    @operation("GET", "/snapshots/{snapshot}/drift/{new}", right=Right.LOOK, refuses=(*TWO, NothingToAlign))
    def drift(
        self,
        caller: Caller,
        snapshot: SnapshotId,
        new: SnapshotId,
        layer: LayerName | None = None,
        threshold: Threshold = 0.5,
        k: Rows = 20,
    ) -> SnapshotDrift:
        """Show what became of each component between this snapshot and a later one of the same network."""
        ...

    @operation("GET", "/snapshots/{snapshot}/drift/{new}/report", right=Right.LOOK, refuses=(*TWO, NothingToAlign))
    def drift_report(
        self,
        caller: Caller,
        snapshot: SnapshotId,
        new: SnapshotId,
        layer: LayerName | None = None,
        threshold: Threshold = 0.5,
        format: Literal["html", "csv"] = "html",
    ) -> Binary:
        """Export drift: one HTML page with the examples before and after, or a line of CSV for every component."""
        ...
