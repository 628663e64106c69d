"""A snapshot as it is read: its artifacts, opened when they are first needed and then kept."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.errors import CorruptArtifact, UnknownComponent, UnknownLayer
from contracts.snapshots import Snapshot
from services.explanation.index.generation import Generation
from services.kit.arrays import load_arrays
from services.kit.blobs import Blobs
from services.kit.pictures import Manifest

Arrays = dict[str, np.ndarray]


class LayerTables:
    """The examples and measures of one layer's components."""

    def __init__(self, examples: Arrays, vectors: Arrays, width: int) -> None:
        self.examples = examples
        self.vectors = vectors
        self.width = width

    def row(self, layer: str, index: int, sign: int) -> int:
        """Row of a component. Raises `UnknownComponent`."""
        sides = len(self.examples["ids"]) // self.width
        if not 0 <= index < self.width or (sign < 0 and sides < 2):
            raise UnknownComponent(
                f"{layer} has no component {index} with sign {sign:+d}", field="index", width=self.width, sides=sides
            )
        return index if sign > 0 else self.width + index


@dataclass(frozen=True)
class Pinned:
    """What a snapshot consists of: its record and role -> sha256 of each artifact's bytes."""

    snapshot: Snapshot
    blobs: dict[str, str]


class Opened:
    """A snapshot with its files. Everything is immutable, so requests share it without locks.

    Parameters
    ----------
    pinned : the record and the bytes that it was published with.
    store : checks each file against its hash when it is opened.
    """

    def __init__(self, pinned: Pinned, store: Blobs) -> None:
        self.snapshot = pinned.snapshot
        self._blobs = pinned.blobs
        self._store = store
        self._lock = threading.Lock()
        self._tables: dict[str, LayerTables] = {}
        self.layer_names = [layer.name for layer in self.snapshot.layers]
        self.offsets: dict[str, int] = {}
        offset = 0
        for layer in self.snapshot.layers:
            self.offsets[layer.name] = offset
            offset += layer.width * (2 if layer.signed else 1)

    def path(self, role: str) -> Path:
        """Path of an artifact's bytes, checked against their hash."""
        return self._store.open(self._blobs[role])

    @cached_property
    def generation(self) -> Generation:
        """The index generation that the snapshot was published with."""
        manifest = json.loads(self.path("index/manifest").read_bytes())
        for name, file in manifest["files"].items():
            if file["sha256"] != self._blobs[f"index/{name}"]:
                raise CorruptArtifact(f"index/{name} is not of the build that its manifest describes", role=name)
        with self._lock:
            figures = self.snapshot.index
            return Generation(
                self.path("index/index"), self.path("index/rows"), kind=figures.kind, nprobe=figures.nprobe
            )

    @cached_property
    def nulls(self) -> Arrays:
        """The null distributions."""
        return load_arrays(self.path("nulls"))

    @cached_property
    def banks(self) -> list[NDArray[np.float32]]:
        """[R, d] random sets for each of the kept numbers of examples, ascending; the last is that of k."""
        return [self.nulls[f"bank/{int(size)}"] for size in self.nulls["sizes"]]

    @cached_property
    def manifest(self) -> Manifest:
        """The dataset's samples."""
        return Manifest.load(self.path("manifest"), self._store)

    @cached_property
    def labels(self) -> list[str | None]:
        """The label of every sample."""
        return self.manifest.labels()

    def layer_number(self, layer: str) -> int:
        """Position of a layer in the snapshot. Raises `UnknownLayer` with the closest names."""
        from difflib import get_close_matches

        if layer not in self.offsets:
            closest = get_close_matches(layer, self.layer_names, n=3, cutoff=0.0)
            raise UnknownLayer(f"the snapshot has no layer {layer}", field="layer", closest=list(closest))
        return self.layer_names.index(layer)

    def tables(self, layer: str) -> LayerTables:
        """Examples and measures of a layer, read once."""
        number = self.layer_number(layer)
        with self._lock:
            if layer not in self._tables:
                examples = load_arrays(self.path(f"examples/{layer}"))
                vectors = load_arrays(self.path(f"vectors/{layer}"))
                self._tables[layer] = LayerTables(examples, vectors, self.snapshot.layers[number].width)
            return self._tables[layer]

    def others(self, layer: str) -> Arrays | None:
        """Examples ranked by what the tables are not ranked by, where the snapshot has relevance."""
        role = f"others/{layer}"
        return load_arrays(self.path(role)) if role in self._blobs else None

    def crops(self, layer: str, row: int) -> NDArray[np.int32] | None:
        """Boxes [k, 4] (left, top, right, bottom) of what was embedded of a component's examples, if it was crops."""
        starts = sorted(role for role in self._blobs if role.startswith(f"boxes/{layer}/"))
        if not starts:
            return None
        role = max(one for one in starts if int(one.rpartition("/")[2]) <= row)
        found: NDArray[np.int32] = load_arrays(self.path(role), ["boxes"])["boxes"][row - int(role.rpartition("/")[2])]
        return found


class OpenedSnapshots:
    """The snapshots that were read last. One that is dropped lives on for the requests that hold it."""

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[str, ...], Opened] = OrderedDict()

    def get(self, key: tuple[str, ...], make: Callable[[], Opened]) -> Opened:
        """Return a held snapshot or open it; `key` names workspace, snapshot and its bytes."""
        with self._lock:
            if key not in self._held:
                self._held[key] = make()
            self._held.move_to_end(key)
            while len(self._held) > self._most:
                self._held.popitem(last=False)
            return self._held[key]

    def drop(self) -> None:
        """Forget all, so that files are checked against their hashes again."""
        with self._lock:
            self._held.clear()
