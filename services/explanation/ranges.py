"""Examples along all that a component does, not at its top alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from contracts.explanation import ExampleRange, ExampleSet, RangeBy
from contracts.snapshots import Example
from services.explanation.collect import BLOCK
from services.explanation.opened import Opened
from services.explanation.search import reference_of
from services.kit.arrays import load_columns


def example_range(
    opened: Opened, layer: str, index: int, sign: int, *, by: RangeBy, sets: int, examples: int
) -> ExampleRange:
    """Cut a component's activations into `sets` stretches and show up to `examples` samples of each, evenly by rank.

    Activations are read as they were kept beside the snapshot: float16, clipped to its range. Samples of equal
    activation rank by their number.

    Parameters
    ----------
    by : `activation` cuts between the extremes at equal distances, as the histogram does; `quantile` gives each
        set the same number of samples, but for one.
    sign : -1 ranks from the most negative activation.

    Raises
    ------
    UnknownLayer, UnknownComponent; CorruptArtifact : the kept activations are damaged.
    """
    row = opened.tables(layer).row(layer, index, sign)
    block, column = divmod(index, BLOCK)
    kept = load_columns(opened.path(f"columns/{layer}"), f"block_{block:05d}", column, column + 1)
    values = kept[:, 0].astype(np.float32)
    order = np.argsort(-sign * values, kind="stable")
    cut = _by_activation if by == "activation" else _by_rank
    found = [
        ExampleSet(low=low, high=high, n=last - first, examples=_spread(opened, values, order[first:last], examples))
        for first, last, low, high in cut(values[order], sets)
    ]
    return ExampleRange(
        snapshot=opened.snapshot.id,
        lineage=opened.snapshot.lineage,
        component=reference_of(opened, layer, row),
        by=by,
        n=len(values),
        sets=found,
    )


Cuts = Iterator[tuple[int, int, float, float]]


def _by_activation(ranked: NDArray[np.float32], sets: int) -> Cuts:
    """Cut sorted values [N] at equal distances: first and last place, lower and upper end of each set.

    A value on a cut belongs to the weaker set; a component that never changes has one set.
    """
    start, end = float(ranked[0]), float(ranked[-1])
    edges = np.linspace(start, end, (sets if start != end else 1) + 1)
    towards = 1.0 if end >= start else -1.0
    places = np.searchsorted(towards * ranked, towards * edges[1:-1], side="left").tolist()
    bounds = [0, *places, len(ranked)]
    for number, (first, last) in enumerate(pairwise(bounds)):
        low, high = sorted((float(edges[number]), float(edges[number + 1])))
        yield first, last, low, high


def _by_rank(ranked: NDArray[np.float32], sets: int) -> Cuts:
    """Cut sorted values [N] into sets of equal size, but for one; no more sets than values."""
    bounds = np.linspace(0, len(ranked), min(sets, len(ranked)) + 1).round().astype(int).tolist()
    for first, last in pairwise(bounds):
        inside = ranked[first:last]
        yield first, last, float(inside.min()), float(inside.max())


def _spread(opened: Opened, values: NDArray[np.float32], ids: NDArray[np.int64], most: int) -> list[Example]:
    shown = min(most, len(ids))
    places = ((np.arange(shown) + 0.5) * len(ids) / max(shown, 1)).astype(np.int64)
    return [
        Example(sample=sample, label=opened.labels[sample], activation=float(values[sample]))
        for sample in ids[places].tolist()
    ]
