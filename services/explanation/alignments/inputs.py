"""What the stages of a comparison read: points of a layer, and the concepts found in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import PointMismatch
from services.explanation.concepts.neighbours import standardized
from services.kit.arrays import facts_of, load_arrays
from services.kit.stages import Work


@dataclass(frozen=True)
class Points:
    """Points of one layer: features [n, d] float32, sample [n] int32, cell [n] int32 (-1 is the whole picture)."""

    features: np.ndarray
    sample: np.ndarray
    cell: np.ndarray


@dataclass(frozen=True)
class Found:
    """The concepts of one seed as stored; `values` has no columns where none were found."""

    values: np.ndarray
    labels: np.ndarray
    facts: dict[str, object]
    dimension: np.ndarray
    few_samples: np.ndarray


def points_of(work: Work, place: int, shards: int, *, preprocess: str) -> Points:
    """Join the shards of one representation's features."""
    pieces = [load_arrays(work.path(f"features/{place}/{shard:05d}")) for shard in range(shards)]
    values = np.concatenate([piece["values"] for piece in pieces])
    sample, cell = (np.concatenate([piece[name] for piece in pieces]) for name in ("sample", "cell"))
    return Points(standardized(values) if preprocess == "standardize" else values, sample, cell)


def seeds_of(work: Work, place: int, seeds: int) -> list[Found]:
    """Read the concepts of all seeds of one representation."""
    found = []
    for seed in range(seeds):
        path = work.path(f"concepts/{place}/{seed}")
        arrays = load_arrays(path)
        found.append(
            Found(arrays["values"], arrays["labels"], facts_of(path), arrays["dimension"], arrays["few_samples"])
        )
    return found


def require_same_keys(one: Points, other: Points) -> None:
    """Refuse two sides whose points are not the same, in the same order.

    Raises
    ------
    PointMismatch.
    """
    if not (np.array_equal(one.sample, other.sample) and np.array_equal(one.cell, other.cell)):
        raise PointMismatch("the two sides were computed on different points", field="points")


def usable(seeds: Sequence[Found]) -> bool:
    """Whether every seed found concepts."""
    return all(found.values.shape[1] >= 2 for found in seeds)
