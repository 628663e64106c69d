"""How good a discovery is: validity, intrinsic dimension, stability over seeds, fidelity of the embedding."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist

from contracts.errors import InvalidRequest, TooFewPoints
from services.explanation.concepts.discovery.port import Concepts
from services.explanation.concepts.neighbours import nearest
from services.explanation.concepts.rand_index import crisp_alignment
from services.explanation.index.library import exact_nearest

VALIDITY_POINTS = 2000
FIDELITY_POINTS = 2000
TRUST_NEIGHBOURS = 30
FEWEST_SAMPLES = 10
SMALLEST_FOR_DIMENSION = 10
STABLE = 0.5


@dataclass(frozen=True)
class Quality:
    """Figures of one discovery.

    Parameters
    ----------
    concepts : how many. noise_share : points labelled noise. mean_noise_mass : mean membership missing to 1.
    validity : density-based validity (DBCV) in [-1, 1], higher is better; None without an embedding.
    trustworthiness : share of the embedding's neighbours that were neighbours before, in [0, 1]; None without one.
    distortion : root mean square difference of distances before and after, in units of the features.
    dimension : [k] intrinsic dimension of each concept; NaN for fewer than 10 members.
    few_samples : [k] bool, members from fewer than 10 samples.
    """

    concepts: int
    noise_share: float
    mean_noise_mass: float
    validity: float | None
    trustworthiness: float | None
    distortion: float | None
    dimension: np.ndarray
    few_samples: np.ndarray


def quality(features: np.ndarray, found: Concepts, *, group: np.ndarray | None = None, seed: int = 0) -> Quality:
    """Measure a discovery.

    Parameters
    ----------
    features : [n, d] float32 that the concepts were found in. group : [n] sample of each point, default each its own.
    """
    of = np.arange(len(features)) if group is None else np.asarray(group)
    members = [np.flatnonzero(found.labels == concept) for concept in range(found.k)]
    trust, distortion = (None, None) if found.embedding is None else fidelity(features, found.embedding, seed=seed)
    return Quality(
        concepts=found.k,
        noise_share=found.noise_share,
        mean_noise_mass=found.mean_noise_mass,
        validity=None if found.embedding is None else validity(found.embedding, found.labels, seed=seed),
        trustworthiness=trust,
        distortion=distortion,
        dimension=np.array([two_nn_dimension(features[rows]) for rows in members]),
        few_samples=np.array([len(np.unique(of[rows])) < FEWEST_SAMPLES for rows in members]),
    )


def two_nn_dimension(features: np.ndarray) -> float:
    """Intrinsic dimension from the ratio of each point's second to its first neighbour distance.

    Parameters
    ----------
    features : [m, d] floating. The larger half of the ratios is dropped: they carry the curvature.

    Returns
    -------
    Dimension, NaN for fewer than 10 distinct points. Source: Facco et al., Scientific Reports 7, 2017.
    """
    distinct = np.unique(np.asarray(features, np.float32), axis=0)
    if len(distinct) < SMALLEST_FOR_DIMENSION:
        return float("nan")
    distance = nearest(np.ascontiguousarray(distinct), 3).distance.astype(np.float64)
    ratio = np.sort(distance[:, 2] / np.maximum(distance[:, 1], 1e-30))
    kept = len(ratio) // 2
    logs = np.log(ratio[:kept])
    survival = -np.log1p(-np.arange(1, kept + 1) / len(ratio))
    steep = float(logs @ logs)
    return float(logs @ survival / steep) if steep > 0 else float("nan")


def validity(embedding: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> float | None:
    """Density-based cluster validity in [-1, 1] on at most 2,000 points; None if that leaves fewer than two clusters.

    Source: Moulavi et al., SDM 2014 (DBCV), by `hdbscan.validity`.
    """
    from hdbscan.validity import validity_index

    chosen = np.random.default_rng(seed).permutation(len(labels))[:VALIDITY_POINTS]
    points, of = _distinct_rows(embedding[chosen], labels[chosen])
    names, counts = np.unique(of[of >= 0], return_counts=True)
    large = names[counts >= 4]
    of = np.where(np.isin(of, large), of, -1)
    _, renamed = np.unique(of, return_inverse=True)
    of = renamed - (1 if (of < 0).any() else 0)
    if len(large) < 2:
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        value = float(validity_index(points.astype(np.float64), of.astype(np.intp)))
    return value if np.isfinite(value) else None


def _distinct_rows(points: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _, first = np.unique(points, axis=0, return_index=True)
    return points[np.sort(first)], labels[np.sort(first)]


def fidelity(features: np.ndarray, embedding: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """Trustworthiness at 30 neighbours and distance distortion of an embedding, on at most 2,000 points.

    Source: Venna and Kaski 2001 for trustworthiness; NLMCD for the distortion sqrt(2/n^2 sum (d_X - d_Z)^2).
    """
    from sklearn.manifold import trustworthiness

    chosen = np.random.default_rng(seed).permutation(len(features))[:FIDELITY_POINTS]
    x, z = features[chosen].astype(np.float64), embedding[chosen].astype(np.float64)
    size = min(TRUST_NEIGHBOURS, (len(x) - 1) // 2)
    difference = pdist(x) - pdist(z)
    return float(trustworthiness(x, z, n_neighbors=size)), float(np.sqrt(2 * (difference**2).sum()) / len(x))


def stability(seeds: Sequence[np.ndarray]) -> list[np.ndarray]:
    """How well each concept comes back with other seeds.

    Parameters
    ----------
    seeds : hard labels [n] of each seed, -1 noise; at least two.

    Returns
    -------
    One array [k_s] per seed: mean over the other seeds of the best Jaccard overlap of member sets. Below 0.5 a concept
    is an accident of its seed.
    """
    scores = []
    for place, labels in enumerate(seeds):
        k = int(labels.max()) + 1
        best = [_overlaps(labels, other, k) for o, other in enumerate(seeds) if o != place]
        scores.append(np.mean(best, axis=0) if best else np.full(k, np.nan))
    return scores


def _overlaps(labels: np.ndarray, other: np.ndarray, k: int) -> np.ndarray:
    width = int(other.max()) + 1
    both = (labels >= 0) & (other >= 0)
    shared = np.bincount(labels[both] * width + other[both], minlength=k * width).reshape(k, width)
    sizes = np.bincount(labels[labels >= 0], minlength=k)[:, None] + np.bincount(other[other >= 0], minlength=width)
    return (shared / np.maximum(sizes - shared, 1)).max(axis=1)


def most_typical_seed(seeds: Sequence[np.ndarray]) -> int:
    """Place of the seed whose labels agree best with the others' (adjusted Rand index); 0 for a single seed."""
    if len(seeds) < 3:
        return 0
    scores = [
        np.mean([crisp_alignment(one, other).aci or 0.0 for o, other in enumerate(seeds) if o != place])
        for place, one in enumerate(seeds)
    ]
    return int(np.argmax(scores))


def assign(new: np.ndarray, features: np.ndarray, values: np.ndarray, *, neighbours: int = 10) -> np.ndarray:
    """Approximate memberships of new points: means over their nearest known points, weighted by inverse distance.

    Parameters
    ----------
    new : [m, d] float32. features, values : [n, d] and [n, k] of the discovery, preprocessed in the same way.

    Returns
    -------
    [m, k] float32, rows summing to at most 1.

    Raises
    ------
    TooFewPoints : fewer known points than neighbours; InvalidRequest : another width.
    """
    if new.ndim != 2 or new.shape[1] != features.shape[1]:
        raise InvalidRequest(f"new points have shape {new.shape}, width {features.shape[1]} is wanted", field="new")
    if len(features) < neighbours:
        raise TooFewPoints(f"{len(features)} points for {neighbours} neighbours", field="neighbours")
    squared, near = exact_nearest(features, new, neighbours, metric="squared")
    weight = 1 / np.maximum(np.sqrt(np.maximum(squared, 0)).astype(np.float64), 1e-6)
    weight /= weight.sum(axis=1, keepdims=True)
    return np.einsum("mj,mjk->mk", weight, values[near].astype(np.float64)).astype(np.float32)
