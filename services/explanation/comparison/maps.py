"""The map of a snapshot: computed when it is first asked for, then an artifact like any other."""

from __future__ import annotations

import threading
from importlib.metadata import version
from typing import get_args

from contracts.base import ArtifactKey, Binary
from contracts.comparison import Layout
from contracts.errors import CorruptArtifact
from services.explanation.comparison.layout import MIN_DIST, MOST_FITTED, NEIGHBOURS, principal_plane, semantic_plane
from services.explanation.comparison.together import together
from services.explanation.opened import Opened
from services.kit.arrays import MEDIA_TYPE, save_arrays
from services.kit.artifacts import Artifact, find_artifacts, record_artifact
from services.kit.blobs import Blobs
from services.kit.db import Database
from services.kit.keys import artifact_key

VERSION = 1
SEED = 0
LIBRARIES = ("umap-learn", "numba", "faiss-cpu", "numpy")


class Maps:
    """Opens and makes maps. Requests for one that is being made wait for it."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs
        self._making = {layout: threading.Lock() for layout in get_args(Layout)}

    def read(self, workspace: str, opened: Opened, layout: Layout) -> Binary:
        """Return a snapshot's map with the hash of its bytes as ETag."""
        key = map_key(opened.snapshot.lineage, layout)
        found = self._known(workspace, key)
        if found is None:
            with self._making[layout]:
                found = self._known(workspace, key) or self._make(workspace, opened, layout, key)
        return Binary(found[1], MEDIA_TYPE, found[0])

    def _known(self, workspace: str, key: ArtifactKey) -> tuple[str, bytes] | None:
        with self._database.reading() as db:
            artifact = find_artifacts(db, workspace, [key]).get(key)
        if artifact is None:
            return None
        try:
            return artifact.blob, self._blobs.open(artifact.blob).read_bytes()
        except CorruptArtifact:  # a map costs seconds: it is made again instead of being refused
            return None

    def _make(self, workspace: str, opened: Opened, layout: Layout, key: ArtifactKey) -> tuple[str, bytes]:
        table = together(opened)
        plane = semantic_plane(table.vectors, seed=SEED) if layout == "umap" else principal_plane(table.vectors)
        arrays = {"xy": plane, "layer": table.layer, "index": table.index, "sign": table.sign, **table.figures}
        facts = {"snapshot": opened.snapshot.id, "layers": opened.layer_names, "layout": layout, "seed": SEED}
        path = self._blobs.temporary("map")
        save_arrays(path, arrays, facts)
        body = path.read_bytes()
        blob = self._blobs.keep(path)
        with self._database.writing() as db:
            artifact = Artifact(key, "snapshot-map/map", blob, len(body))
            record_artifact(db, workspace, artifact, {"snapshot": opened.snapshot.lineage})
        return blob, body


def map_key(lineage: str, layout: Layout) -> ArtifactKey:
    """Key of a snapshot's map."""
    params = {"layout": layout, "neighbours": NEIGHBOURS, "min_dist": MIN_DIST, "most_fitted": MOST_FITTED}
    numerics = {name: version(name) for name in LIBRARIES}
    return artifact_key("snapshot-map", version=VERSION, inputs=[lineage], params=params, seed=SEED, numerics=numerics)
