"""Relevance maximisation: the samples on whose predictions a component has most influence, beside its activations.

Source: concept relevance propagation (arXiv 2206.03208), which ranks examples by relevance instead of activation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.model import Layer
from services.explanation.collect import BLOCK, distinct_groups
from services.explanation.partials import group_numbers, shards_in
from services.explanation.semantics.examples import EMPTY, TopK
from services.kit.arrays import load_arrays, load_columns
from services.kit.stages import Work


def collect_relevant(work: Work) -> None:
    """Put out the table of examples of a layer, ranked by relevance.

    As the table by activation, of which it keeps `sign`, `index`, extremes, histograms and the least active samples;
    `ids` are those of the largest relevance, `relevances` [R, k] theirs, and `values` the activations there (from
    float16). Evidence are examples with a relevance above 0.
    """
    layer = Layer.model_validate(work.spec["layer"])
    base = work.arrays("examples")
    n = int(str(work.spec["n"]))
    tops = _tops(work, layer, min(int(str(work.spec["k"])), n), n)
    ids = np.concatenate([top.ids for top in tops])
    relevances = np.where(ids == EMPTY, np.float32(0), np.concatenate([top.values for top in tops]))
    table = {name: column for name, column in base.items() if name != "positions"} | {
        "ids": ids,
        "relevances": relevances,
        "values": _activations(work, ids, layer.width),
        "n_valid": ((relevances > 0) & (ids != EMPTY)).sum(axis=1).astype(base["n_valid"].dtype),
    }
    table["n_groups"] = distinct_groups(work, table)
    work.emit_arrays("relevant", table, {"layer": layer.name, "signed": layer.signed, "rule": str(work.spec["rule"])})
    work.advance(layer.width)


def _tops(work: Work, layer: Layer, k: int, n: int) -> list[TopK]:
    """One pass over the shards: the most relevant samples of each side."""
    limit = work.spec["max_per_group"]
    groups = None if limit is None else group_numbers(work, n)
    names = ("values", "negative") if layer.signed else ("values",)
    tops = {
        name: TopK(layer.width, k, groups=groups, most=None if limit is None else int(str(limit))) for name in names
    }
    start = 0
    for path in shards_in(work):
        shard = load_arrays(path)
        rows = np.arange(start, start + len(shard["values"]), dtype=np.int64)
        for name, top in tops.items():
            top.update(shard[name], rows)
        start += len(rows)
        work.advance(0)
    return [tops[name] for name in names]


def _activations(work: Work, ids: NDArray[np.int64], width: int) -> NDArray[np.float32]:
    """[R, k] activations of the components on their samples, 0 where there is none."""
    found = np.zeros(ids.shape, np.float32)
    path = work.path("columns")
    for number, first in enumerate(range(0, width, BLOCK)):
        last = min(first + BLOCK, width)
        block = load_columns(path, f"block_{number:05d}", 0, last - first)
        for side in range(len(ids) // width):
            rows = slice(side * width + first, side * width + last)
            of = np.take_along_axis(block, np.maximum(ids[rows], 0).T, axis=0).T
            found[rows] = np.where(ids[rows] == EMPTY, 0, of)
    return found
