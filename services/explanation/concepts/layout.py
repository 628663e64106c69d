"""Where concepts lie on a map, and which of their points to show."""

from __future__ import annotations

import numpy as np

from services.explanation.concepts.distances import concept_distances

LAYOUT_POINTS = 2000


def concept_map(values: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Place concepts in the plane by classical scaling of their metric distances.

    Parameters
    ----------
    values : [n, k] memberships; at most 2,000 random points are used.

    Returns
    -------
    [k, 2] float64, scaled into [-1, 1]; the sign of each axis is fixed by its largest entry. Source: Torgerson 1952.
    """
    chosen = np.random.default_rng(seed).permutation(len(values))[:LAYOUT_POINTS]
    distance = np.nan_to_num(concept_distances(values[chosen], values[chosen], seed=seed).ds, nan=1.0)
    np.fill_diagonal(distance, 0)
    k = len(distance)
    centring = np.eye(k) - 1 / k
    strength, axes = np.linalg.eigh(-0.5 * centring @ ((distance + distance.T) / 2) ** 2 @ centring)
    plane = axes[:, [-1, -2]] * np.sqrt(np.maximum(strength[[-1, -2]], 0))
    plane *= np.where(plane[np.abs(plane).argmax(axis=0), [0, 1]] < 0, -1, 1)
    largest = np.abs(plane).max()
    return plane / largest if largest > 0 else plane


def typical_points(features: np.ndarray, membership: np.ndarray, group: np.ndarray, *, most: int = 20) -> np.ndarray:
    """Points that show a concept: its medoid, then its strongest members, at most one per group.

    Parameters
    ----------
    features : [n, d] float32. membership : [n] of one concept. group : [n] sample of each point.

    Returns
    -------
    Up to `most` row numbers. The medoid is the strong member nearest to the membership-weighted mean.
    """
    order = np.argsort(-membership, kind="stable")
    order = order[membership[order] > 0]
    if not len(order):
        return order
    strong = order[: max(10 * most, 50)]
    weight = membership[strong].astype(np.float64)
    centre = weight @ features[strong] / weight.sum()
    medoid = strong[np.linalg.norm(features[strong] - centre, axis=1).argmin()]
    ranked = np.concatenate([[medoid], order])
    _, first = np.unique(group[ranked], return_index=True)
    return ranked[np.sort(first)[:most]]
