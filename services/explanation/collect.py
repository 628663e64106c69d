"""The examples stage: from shards of pooled activations to examples, histograms and columns, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.model import Layer
from services.explanation.partials import (
    Sides,
    collection_for,
    group_numbers,
    merge_spans,
    numbered,
    over_shards,
    shards_in,
)
from services.explanation.semantics.examples import EMPTY, Spread, TopK, evidence
from services.kit.arrays import ArrayWriter, load_columns
from services.kit.stages import Work

BLOCK = 64
BINS = 32


def collect(work: Work) -> None:
    """Find the examples of one layer."""
    layer = Layer.model_validate(work.spec["layer"])
    k, n = (int(work.spec[name]) for name in ("k", "n"))  # type: ignore[arg-type]
    shards = shards_in(work)
    collection = collection_for(work, shards)
    if numbered(work, "partial/"):
        merge_spans(work, collection)
    else:
        over_shards(work, collection, shards, 0)
    histogram, edges = _second_pass(work, shards, layer, collection.spread, n)
    arrays = _table(collection.sides, collection.spread, layer)
    arrays |= {"n_groups": distinct_groups(work, arrays), "histogram": histogram, "edges": edges}
    if "examples" in work.missing:
        work.emit_arrays("examples", arrays, {"layer": layer.name, "k": k, "n": n, "signed": layer.signed})
    work.advance(layer.width)


def _second_pass(
    work: Work, shards: list[Path], layer: Layer, spread: Spread, n: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Columns in blocks of 64, and histograms of whole columns; in memory are 64 columns of one shard."""
    ends = spread.minimum.astype(np.float64), spread.maximum.astype(np.float64)  # their difference may not be a float32
    edges = np.linspace(*ends, BINS + 1, axis=1).astype(np.float32)
    edges[:, -1] = np.maximum(edges[:, -1], spread.maximum)
    counts = np.zeros((layer.width, BINS), np.int64)
    widths = [min(BLOCK, layer.width - first) for first in range(0, layer.width, BLOCK)]
    shapes = {f"block_{number:05d}": (np.dtype(np.float16), (n, width)) for number, width in enumerate(widths)}
    facts = {"layer": layer.name, "block": BLOCK}
    with work.writing("columns") as path, ArrayWriter(path, shapes, facts) as writer:
        for number, first in enumerate(range(0, layer.width, BLOCK)):
            for path in shards:
                piece = load_columns(path, "values", first, min(first + BLOCK, layer.width))
                writer.append(f"block_{number:05d}", np.clip(piece, -65504, 65504).astype(np.float16))
                for column in range(piece.shape[1]):
                    counts[first + column] += _histogram(piece[:, column], edges[first + column])
            work.advance(0)
    return counts, edges


def _histogram(column: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.int64]:
    """Counts per bin; the last bin includes its upper edge."""
    place = np.clip(np.searchsorted(edges, column, side="right") - 1, 0, BINS - 1)
    return np.bincount(place, minlength=BINS)


def _table(sides: list[Sides], spread: Spread, layer: Layer) -> dict[str, np.ndarray]:
    rows = range(layer.width)
    arrays = {
        "sign": np.concatenate([np.full(layer.width, side.sign, np.int8) for side in sides]),
        "index": np.tile(np.array(rows, dtype=np.int32), len(sides)),
        "ids": np.concatenate([side.top.ids for side in sides]),
        "values": np.concatenate([_kept(side.top) for side in sides]),
        "bottom_ids": np.concatenate([side.bottom.ids for side in sides]),
        "bottom_values": np.concatenate([_kept(side.bottom) for side in sides]),
        "n_valid": np.concatenate(
            [
                evidence(_kept(side.top), side.top.ids, spread.mean, sign=side.sign, signed=layer.signed)
                for side in sides
            ]
        ),
        "dead": np.tile(spread.dead, len(sides)),
        "minimum": np.tile(spread.minimum, len(sides)),
        "maximum": np.tile(spread.maximum, len(sides)),
        "mean": np.tile(spread.mean, len(sides)),
    }
    if all(side.top.positions is not None for side in sides):
        arrays["positions"] = np.concatenate([side.top.positions for side in sides if side.top.positions is not None])
    return arrays


def _kept(top: TopK) -> NDArray[np.float32]:
    """Values with zeros where there is no sample: infinities do not belong into a file that people read."""
    return np.where(top.ids == EMPTY, np.float32(0), top.values)


def distinct_groups(work: Work, arrays: dict[str, np.ndarray]) -> NDArray[np.int32]:
    """Number of source photographs among the valid examples; -1 where the dataset names none."""
    from services.kit.pictures import Manifest

    groups = Manifest.load(work.path("manifest"), work.blobs).groups()
    if all(group is None for group in groups):
        return np.full(len(arrays["ids"]), -1, np.int32)
    numbers = group_numbers(work, len(groups))
    valid = (np.arange(arrays["ids"].shape[1]) < arrays["n_valid"][:, None]) & (arrays["ids"] != EMPTY)
    of = np.where(valid, numbers[arrays["ids"]], -1)
    ordered = np.sort(of, axis=1)
    steps = (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1) + 1
    return (steps - (ordered[:, 0] == -1)).astype(np.int32)
