"""Concepts that the embedding tore apart, joined where the neighbour graph of the features shows no gap.

UMAP cannot lay a closed curve or a long arm out without tearing it somewhere; density in the embedding then sees two
concepts. In the features, points on both sides of a tear are as near to each other as points of one side are. Ours.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from services.explanation.concepts.discovery.port import Concepts
from services.explanation.concepts.neighbours import Neighbours

SHARE = 0.25  # of the edges that cross a point of a thin curve
REACH = 1.5  # median edges: tears lie where points happen to be sparse


def mended(found: Concepts, graph: Neighbours, *, size: int) -> Concepts:
    """Concepts with their tears mended: memberships of joined concepts are added up.

    `facts["joined"]` says how many concepts went into others.
    """
    part = torn(found.labels, graph, size=size)
    k = int(part.max()) + 1
    values = np.zeros((len(found.values), k), np.float32)
    np.add.at(values.T, part, found.values.T)
    labels = np.where(found.labels >= 0, part[found.labels], -1).astype(np.int32)
    facts = {**found.facts, "joined": float(found.k - k)}
    return Concepts(np.minimum(values, 1), labels, found.embedding, facts)


def torn(labels: np.ndarray, graph: Neighbours, *, size: int) -> np.ndarray:
    """The concept that each concept is part of, once tears are mended: [k] int, numbered from 0.

    Two concepts are one where enough short edges lead from one to the other. An edge joins two points that are among
    each other's `size` nearest; it is short up to 1.5 times the median edge inside either concept. A curve through
    evenly spaced points has size^2 / 8 edges across any of its points; a quarter of them is enough. Surfaces and solid
    regions have more.

    Parameters
    ----------
    labels : [n] int, -1 is noise. graph : neighbours in the features, the point itself first.
    """
    k = int(labels.max()) + 1
    source, target, length = _mutual(graph, size)
    known = (labels[source] >= 0) & (labels[target] >= 0)
    source, target, length = labels[source[known]], labels[target[known]], length[known]
    inside = source == target
    usual = np.array([_median(length[inside & (source == concept)]) for concept in range(k)])
    short = ~inside & (length <= REACH * np.minimum(usual[source], usual[target]))
    crossing = np.zeros((k, k))
    np.add.at(crossing, (source[short], target[short]), 1)
    joined = crossing + crossing.T >= SHARE * size**2 / 8
    return connected_components(coo_array(joined), directed=False)[1]


def _median(lengths: np.ndarray) -> float:
    return float(np.median(lengths)) if len(lengths) else 0.0


def _mutual(graph: Neighbours, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of points that are among each other's nearest, each once, with their distance."""
    index, distance = graph.index[:, 1:size], graph.distance[:, 1:size]
    n = len(index)
    row = np.repeat(np.arange(n), index.shape[1])
    column, length = index.ravel().astype(np.int64), distance.ravel()
    forward, backward = row * n + column, column * n + row
    mutual = np.isin(forward, backward) & (row < column)
    return row[mutual], column[mutual], length[mutual]
