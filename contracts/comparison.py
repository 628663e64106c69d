"""What may be asked about a snapshot's components together: their map, and how they differ from another snapshot's."""

from __future__ import annotations

from typing import Literal, Protocol

from contracts.base import Binary, Caller, Right, operation
from contracts.errors import CorruptArtifact, UnknownSnapshot
from contracts.explanation import SnapshotId

Layout = Literal["umap", "pca"]


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
