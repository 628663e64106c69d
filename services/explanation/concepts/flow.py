"""Concept flow: where the points of one layer's concepts go in another layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMALLEST_SHARE = 0.05
SMALLEST_Z = 3.0


@dataclass(frozen=True)
class Edge:
    """Flow from a concept to a concept: soft number of points, its shares of both, and its z-score against chance."""

    source: int
    target: int
    points: float
    share_of_source: float
    share_of_target: float
    z: float


def flow_edges(
    source: np.ndarray, target: np.ndarray, *, share: float = SMALLEST_SHARE, z: float = SMALLEST_Z
) -> list[Edge]:
    """Edges that carry at least `share` of the points that come into their target, and more than chance would.

    Parameters
    ----------
    source, target : [n, kA], [n, kB] memberships over the same points.

    Returns
    -------
    Edges by falling z. z compares the soft count with the hypergeometric law of two unrelated sets of those sizes.

    Source: arXiv 2412.06639 for shares of incoming points; soft counts and z are ours.
    """
    n = len(source)
    counts = source.T.astype(np.float64) @ target.astype(np.float64)
    out, into = source.sum(axis=0, dtype=np.float64), target.sum(axis=0, dtype=np.float64)
    expected = np.outer(out, into) / n
    spread = np.sqrt(np.outer(out * (n - out), into * (n - into)) / (n**2 * max(n - 1, 1)))
    score = (counts - expected) / np.where(spread > 0, spread, np.inf)
    shares_out = counts / np.where(out > 0, out, np.inf)[:, None]
    shares_in = counts / np.where(into > 0, into, np.inf)[None, :]
    kept = np.argwhere((shares_in >= share) & (score >= z))
    edges = [
        Edge(int(a), int(b), float(counts[a, b]), float(shares_out[a, b]), float(shares_in[a, b]), float(score[a, b]))
        for a, b in kept
    ]
    return sorted(edges, key=lambda edge: (-edge.z, edge.source, edge.target))
