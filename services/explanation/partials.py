"""Collections over a span of shards: what is merged, in the plan's order, into the examples of a whole dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from contracts.base import Arrays
from contracts.model import Layer
from services.explanation.semantics.examples import Spread, TopK
from services.kit.arrays import array_names, load_arrays
from services.kit.groups import group_numbers as numbers
from services.kit.pictures import Manifest
from services.kit.stages import Work


@dataclass(frozen=True)
class Sides:
    """The examples of every component of a layer; a signed layer has its negative sides behind the positive ones."""

    top: TopK
    bottom: TopK
    sign: int


@dataclass
class Collection:
    """Best, lowest and spread of every component over the samples seen so far; its size does not grow with them.

    Merging is exact: examples are totally ordered, so any division of the samples gives the same ones. Only the mean
    is a float64 sum, whose last bits follow the plan's spans, never the workers.
    """

    sides: list[Sides]
    spread: Spread

    @classmethod
    def begin(
        cls, layer: Layer, k: int, lowest: int, *, placed: bool, groups: NDArray[np.int64] | None, most: int | None
    ) -> Self:
        """Start with nothing seen.

        Parameters
        ----------
        k, lowest : how many examples and how many least active samples a component has.
        placed : whether positions are collected.
        groups, most : group number of every sample, and how many examples one group may give.
        """
        sides = [
            Sides(
                TopK(layer.width, k, largest=sign > 0, positions=placed, groups=groups, most=most),
                TopK(layer.width, lowest, largest=sign < 0),
                sign,
            )
            for sign in ((1, -1) if layer.signed else (1,))
        ]
        return cls(sides, Spread.of(layer.width))

    def update(self, shard: Arrays, start: int) -> None:
        """Take a shard's `values` [B, C] (and `positions`) of samples `start`, `start + 1`, … into account."""
        values, ids = shard["values"], np.arange(start, start + len(shard["values"]), dtype=np.int64)
        self.spread.update(values)
        for side in self.sides:
            side.top.update(values, ids, shard.get("positions"))
            side.bottom.update(values, ids)

    def merge(self, arrays: Arrays) -> None:
        """Take the collection of other samples, as `arrays` gave it, into account."""
        for place, side in enumerate(self.sides):
            side.top.take(arrays[f"top/{place}"], arrays[f"top_ids/{place}"], arrays.get(f"top_positions/{place}"))
            side.bottom.take(arrays[f"bottom/{place}"], arrays[f"bottom_ids/{place}"])
        self.spread.merge(Spread(arrays["minimum"], arrays["maximum"], arrays["total"], int(arrays["n"][0])))

    def arrays(self) -> Arrays:
        """Everything that `merge` needs."""
        arrays: Arrays = {
            "minimum": self.spread.minimum, "maximum": self.spread.maximum, "total": self.spread.total,
            "n": np.array([self.spread.n], np.int64),
        }  # fmt: skip
        for place, side in enumerate(self.sides):
            arrays |= {f"top/{place}": side.top.values, f"top_ids/{place}": side.top.ids}
            arrays |= {f"bottom/{place}": side.bottom.values, f"bottom_ids/{place}": side.bottom.ids}
            if side.top.positions is not None:
                arrays[f"top_positions/{place}"] = side.top.positions
        return arrays


def collection_for(work: Work, shards: list[Path]) -> Collection:
    """An empty collection as the part's spec asks for it."""
    layer = Layer.model_validate(work.spec["layer"])
    k, lowest, n = (int(work.spec[name]) for name in ("k", "n_bottom", "n"))  # type: ignore[arg-type]
    limit = None if work.spec["max_per_group"] is None else int(work.spec["max_per_group"])  # type: ignore[arg-type]
    groups = None if limit is None else group_numbers(work, n)
    placed = "positions" in array_names(shards[0])
    return Collection.begin(layer, min(k, n), min(lowest, n), placed=placed, groups=groups, most=limit)


def shards_in(work: Work) -> list[Path]:
    """The shards that the part was given, in the order of the samples."""
    return [work.path(role) for role in sorted(numbered(work, "shard/"), key=number_of)]


def collect_span(work: Work) -> None:
    """Collect one layer over the shards of one span, so that any number of workers share millions of samples."""
    shards = shards_in(work)
    collection = collection_for(work, shards)
    over_shards(work, collection, shards, int(work.spec["start"]))  # type: ignore[arg-type]
    work.emit_arrays("partial", collection.arrays())
    work.advance(1)


def over_shards(work: Work, collection: Collection, shards: list[Path], start: int) -> None:
    """One pass over the shards, in order; only one of them is in memory."""
    for path in shards:
        shard = load_arrays(path)
        collection.update(shard, start)
        start += len(shard["values"])
        work.advance(0)


def merge_spans(work: Work, collection: Collection) -> None:
    """Merge the collections of the spans, in order; one of them is in memory at a time."""
    for role in sorted(numbered(work, "partial/"), key=number_of):
        collection.merge(work.arrays(role))
        work.advance(0)


def numbered(work: Work, prefix: str) -> list[str]:
    """The roles of the part's inputs that begin so."""
    return [role for role in work.inputs if role.startswith(prefix)]


def number_of(role: str) -> int:
    """The number at the end of a role; beyond 99,999 the order of names is not that of numbers."""
    return int(role.rpartition("/")[2])


def group_numbers(work: Work, n: int) -> NDArray[np.int64]:
    """A number for each of the n samples' groups; samples without one are groups of their own."""
    return numbers(Manifest.load(work.path("manifest"), work.blobs).groups())
