"""What a user can ask about snapshots and components."""

from __future__ import annotations

import threading
from typing import Literal

import numpy as np

from contracts.base import Arrays, Caller, Page
from contracts.errors import CorruptArtifact, XsysError
from contracts.explanation import (
    Component,
    ComponentDetail,
    ExampleRange,
    FactorScores,
    RangeBy,
    SearchHits,
    SearchQuery,
    SnapshotCheck,
)
from contracts.labels import ComponentLabels, LabelSet, Leaderboard
from contracts.snapshots import Encoder, Sign, Snapshot
from services.explanation.candidates.registry import VisionModels
from services.explanation.components import detail, listing
from services.explanation.encoders.batched import OnlineEncoders
from services.explanation.encoders.registry import EncoderCache, available_encoders
from services.explanation.factors import factor_scores
from services.explanation.opened import Opened, OpenedSnapshots, Pinned
from services.explanation.opened_labels import OpenedLabels
from services.explanation.ranges import example_range
from services.explanation.repository import label_set_row, label_sets, newest_encoder, snapshot_row
from services.explanation.rows import SnapshotRow
from services.explanation.search import Searcher
from services.kit.artifacts import ancestry, find_artifacts
from services.kit.blobs import Blobs
from services.kit.db import Database
from services.kit.logging import logger
from services.kit.named import newest_first
from services.kit.settings import Settings

log = logger(__name__)


class Explanation:
    """Implements `contracts.explanation.ExplanationService`."""

    def __init__(self, database: Database, blobs: Blobs, settings: Settings, encoders: EncoderCache) -> None:
        self.database = database
        self.blobs = blobs
        self.settings = settings
        self.encoders_in_memory = encoders
        self.vision = VisionModels(settings)
        self._opened = OpenedSnapshots()
        self._searcher = Searcher(OnlineEncoders(encoders.get) if settings.batching else encoders)

    def encoders(self, caller: Caller) -> Page[Encoder]:
        """List the encoders that can be loaded here."""
        return Page[Encoder](items=available_encoders())

    def snapshots(self, caller: Caller, limit: int = 50, cursor: str | None = None) -> Page[Snapshot]:
        """List the snapshots of the workspace, newest first."""
        with self.database.reading() as db:
            rows, more = newest_first(db, SnapshotRow, caller.workspace, limit, cursor)
        return Page[Snapshot](items=[Snapshot.model_validate(row.snapshot) for row in rows], next=more)

    def snapshot(self, caller: Caller, snapshot: str) -> Snapshot:
        """Show one snapshot."""
        with self.database.reading() as db:
            return Snapshot.model_validate(snapshot_row(db, caller.workspace, snapshot).snapshot)

    def search(self, caller: Caller, snapshot: str, query: SearchQuery) -> SearchHits:
        """Find components by text, picture, component, or a weighted mix of them."""
        return self._searcher.search(self.opened(caller, snapshot), query)

    def components(
        self,
        caller: Caller,
        snapshot: str,
        layer: str | None = None,
        sort: Literal["component", "clarity", "polysemanticity", "redundancy"] = "component",
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Component]:
        """List components; metrics sort from high to low."""
        return listing(self.opened(caller, snapshot), layer, sort, limit, cursor)

    def component(self, caller: Caller, snapshot: str, layer: str, index: int, sign: Sign = 1) -> ComponentDetail:
        """Show one component."""
        return detail(self.opened(caller, snapshot), layer, index, sign)

    def example_range(
        self,
        caller: Caller,
        snapshot: str,
        layer: str,
        index: int,
        sign: Sign = 1,
        by: RangeBy = "activation",
        sets: int = 8,
        examples: int = 6,
    ) -> ExampleRange:
        """Show examples along all of a component's activations."""
        opened = self.opened(caller, snapshot)
        return example_range(opened, layer, index, sign, by=by, sets=sets, examples=examples)

    def vectors(self, caller: Caller, snapshot: str, layer: str) -> Arrays:
        """Deliver a layer's semantic vectors."""
        tables = self.opened(caller, snapshot).tables(layer)
        return {
            "vectors": tables.vectors["unit"],
            "index": tables.examples["index"].astype(np.int32),
            "sign": tables.examples["sign"].astype(np.int8),
        }

    def factors(self, caller: Caller, snapshot: str, layer: str, factor: str, k: int = 20) -> FactorScores:
        """Rank a layer's components by how well they detect a recorded property."""
        return factor_scores(self.opened(caller, snapshot), layer, factor, k)

    def labels(self, caller: Caller, snapshot: str) -> Page[LabelSet]:
        """List the label sets of a snapshot, newest first."""
        with self.database.reading() as db:
            found = label_sets(db, caller.workspace, snapshot_row(db, caller.workspace, snapshot).id)
        return Page[LabelSet](items=[LabelSet.model_validate(row.record) for row in found])

    def leaderboard(self, caller: Caller, snapshot: str, labels: str | None = None) -> Leaderboard:
        """Compare the scorers of each layer on held-out samples."""
        return self._labels(caller, snapshot, labels).leaderboard()

    def component_labels(
        self, caller: Caller, snapshot: str, layer: str, index: int, sign: Sign = 1, labels: str | None = None
    ) -> ComponentLabels:
        """Show what every scorer calls a component."""
        return self._labels(caller, snapshot, labels).component(self.opened(caller, snapshot), layer, index, sign)

    def _labels(self, caller: Caller, snapshot: str, labels: str | None) -> OpenedLabels:
        with self.database.reading() as db:
            row = label_set_row(db, caller.workspace, snapshot_row(db, caller.workspace, snapshot).id, labels)
            found = find_artifacts(db, caller.workspace, row.artifacts.values())
        gone = sorted(role for role, key in row.artifacts.items() if key not in found)
        if gone:
            raise CorruptArtifact(f"{', '.join(gone[:3])} of {row.id} must be recomputed", labels=row.id)
        blobs = {role: found[key].blob for role, key in row.artifacts.items()}
        return OpenedLabels(LabelSet.model_validate(row.record), blobs, self.blobs)

    def check(self, caller: Caller, snapshot: str) -> SnapshotCheck:
        """Hash every file that the snapshot was computed from or consists of."""
        with self.database.reading() as db:
            row = snapshot_row(db, caller.workspace, snapshot)
            keys = ancestry(db, caller.workspace, str(row.snapshot["lineage"]))
            found = find_artifacts(db, caller.workspace, keys)
        damaged = sorted(key for key, artifact in found.items() if not self.blobs.check(artifact.blob))
        self._opened.drop()
        return SnapshotCheck(snapshot=row.id, artifacts=len(found), damaged=damaged)

    def opened(self, caller: Caller, snapshot: str) -> Opened:
        """Return a snapshot with its files; a request keeps the one that it began with.

        Raises
        ------
        UnknownSnapshot; CorruptArtifact : an artifact has no row any more.
        """
        with self.database.reading() as db:
            row = snapshot_row(db, caller.workspace, snapshot)
            found = find_artifacts(db, caller.workspace, row.artifacts.values())
        gone = sorted(role for role, key in row.artifacts.items() if key not in found)
        if gone:
            raise CorruptArtifact(f"{', '.join(gone[:3])} of {row.id} must be recomputed", snapshot=row.id)
        blobs = {role: found[key].blob for role, key in row.artifacts.items()}
        key = (caller.workspace, row.id, *sorted(blobs.values()))
        record = row.snapshot
        return self._opened.get(key, lambda: Opened(Pinned(Snapshot.model_validate(record), blobs), self.blobs))

    def warm(self) -> None:
        """Load in the background what the first search would wait for: the encoder of the newest snapshot."""
        threading.Thread(target=self._warm, name="warm-up", daemon=True).start()

    def _warm(self) -> None:
        from PIL import Image

        with self.database.reading() as db:
            name = newest_encoder(db)
        if name is None:
            return
        try:
            encoder = self.encoders_in_memory.get(name)
            if encoder.describe().text:
                encoder.encode_texts(["warm"])
            encoder.encode_images([Image.new("RGB", (64, 64))])
        except XsysError as refusal:
            log.warning("encoder.not_warmed", reason=refusal.detail)
