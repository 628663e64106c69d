"""Concepts as dense regions of any shape: UMAP on a FAISS neighbour graph, then HDBSCAN with soft memberships."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from contracts.errors import InvalidMembership, TooFewPoints
from services.explanation.concepts.discovery.mending import mended
from services.explanation.concepts.discovery.port import Concepts, require_concepts
from services.explanation.concepts.memberships import one_hot
from services.explanation.concepts.neighbours import Neighbours, nearest, require_features

Selection = Literal["leaf", "eom"]
LARGEST_BROKEN_SHARE = 0.01
ADVICE = "lower `min_cluster_size` or `min_samples`, or draw more points"


@dataclass(frozen=True)
class Manifold:
    """Non-linear multi-dimensional concept discovery.

    Parameters
    ----------
    neighbours : size of the neighbourhoods of the graph, the point itself included.
    dimensions, min_dist : of the embedding.
    min_cluster_size, min_samples : smallest concept in points, and how conservative the density estimate is. The
        published values are 50 and 20 for 320,000 points; below 50,000 smaller ones are needed.
    selection : `leaf` takes the finest clusters, as published; `eom` the most persistent ones, which keeps a long thin
        concept whole where `leaf` cuts it into pieces.
    mend : join concepts that the embedding tore apart (see `mending`); not in the published method, for `eom`.

    Source: NLMCD, arXiv 2412.06639; UMAP, arXiv 1802.03426; HDBSCAN with leaf clusters, Campello et al. 2013.
    """

    method: ClassVar[str] = "manifold"
    neighbours: int = 30
    dimensions: int = 50
    min_dist: float = 0.01
    min_cluster_size: int = 30
    min_samples: int = 10
    selection: Selection = "leaf"
    mend: bool = False

    def fit(self, features: np.ndarray, *, seed: int = 0, neighbours: Neighbours | None = None) -> Concepts:
        """Find concepts; duplicated rows are embedded once and share their memberships."""
        x = require_features(features, smallest=self.neighbours + 1)
        distinct, back = _distinct(x)
        if neighbours is None or len(distinct) < len(x):
            neighbours = nearest(distinct, self.neighbours)
        embedding = embed(
            distinct, neighbours, dimensions=self.dimensions, min_dist=self.min_dist, seed=seed, size=self.neighbours
        )
        found = dense_regions(
            embedding, min_cluster_size=self.min_cluster_size, min_samples=self.min_samples, selection=self.selection
        )
        if self.mend:
            found = mended(found, neighbours, size=self.neighbours)
            require_concepts(found.k, "what is left after tears are mended", ADVICE)
        return Concepts(found.values[back], found.labels[back], embedding[back], found.facts)


@dataclass(frozen=True)
class DenseRegions:
    """HDBSCAN on the features themselves, without an embedding: what the embedding adds is seen against it."""

    method: ClassVar[str] = "dense"
    min_cluster_size: int = 30
    min_samples: int = 10
    selection: Selection = "leaf"

    def fit(self, features: np.ndarray, *, seed: int = 0, neighbours: Neighbours | None = None) -> Concepts:
        """Find concepts; nothing here is random."""
        x = require_features(features, smallest=self.min_samples + 1)
        distinct, back = _distinct(x)
        found = dense_regions(
            distinct, min_cluster_size=self.min_cluster_size, min_samples=self.min_samples, selection=self.selection
        )
        return Concepts(found.values[back], found.labels[back], None, found.facts)


def _distinct(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows in order of first appearance, and for each row its place among them.

    Copies at distance zero make densities infinite, and all memberships of the library NaN.
    """
    _, first, back = np.unique(x, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(x):
        return x, np.arange(len(x))
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return x[first[order]], place[back.ravel()]


def embed(
    features: np.ndarray, graph: Neighbours, *, dimensions: int, min_dist: float, seed: int, size: int
) -> np.ndarray:
    """UMAP embedding from a given neighbour graph: [n, dimensions] float32, the same bytes for the same seed.

    Raises
    ------
    TooFewPoints : not more points than neighbours or dimensions.
    ValueError : the graph does not belong to the features; the library would ignore it with a warning.
    """
    from umap import UMAP

    n = len(features)
    if n <= max(size, dimensions + 1):
        raise TooFewPoints(f"{n} distinct points for {size} neighbours in {dimensions} dimensions", field="points")
    if graph.index.shape[0] != n or graph.index.shape[1] < size:
        raise ValueError(f"a graph of shape {graph.index.shape} does not fit {n} points with {size} neighbours")
    method = UMAP(
        n_components=dimensions, n_neighbors=size, min_dist=min_dist, random_state=seed, n_jobs=1,
        precomputed_knn=(graph.index[:, :size].astype(np.int32), graph.distance[:, :size].astype(np.float32), None),
        force_approximation_algorithm=True,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*precomputed_knn.*", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*transforming new data.*", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*not fully connected.*", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*Spectral initiali.ation failed.*", category=UserWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        return np.ascontiguousarray(method.fit_transform(features), np.float32)


def dense_regions(
    points: np.ndarray, *, min_cluster_size: int, min_samples: int, selection: Selection = "leaf"
) -> Concepts:
    """Clusters of HDBSCAN with the soft memberships of all points.

    Parameters
    ----------
    points : [n, m] floating, distinct rows.

    Returns
    -------
    Concepts without an embedding. Rows that the library leaves undefined become one-hot by label, or zero for noise,
    and are counted in `facts["repaired_rows"]`.

    Raises
    ------
    NoConcepts; InvalidMembership : more than 1 % of the rows are undefined.
    """
    import hdbscan

    exact = np.ascontiguousarray(points, np.float64)
    if len(exact) <= max(min_samples, min_cluster_size):
        raise TooFewPoints(f"{len(exact)} distinct points for concepts of {min_cluster_size}", field="points")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        clusterer = hdbscan.HDBSCAN(
            min_cluster_size=min_cluster_size, min_samples=min_samples, cluster_selection_method=selection,
            prediction_data=True, core_dist_n_jobs=1,
        ).fit(exact)  # fmt: skip
        labels = clusterer.labels_.astype(np.int32)
        require_concepts(int(labels.max()) + 1, "HDBSCAN", ADVICE)
        values = np.asarray(hdbscan.all_points_membership_vectors(clusterer), np.float64)
    values, repaired = _repaired(values, labels)
    total = values.sum(axis=1, keepdims=True)
    values = values / np.maximum(total, 1)
    return Concepts(values.astype(np.float32), labels, None, {"repaired_rows": float(repaired)})


def _repaired(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, int]:
    broken = ~np.isfinite(values).all(axis=1)
    count = int(broken.sum())
    if count > LARGEST_BROKEN_SHARE * len(values):
        raise InvalidMembership(f"{count} of {len(values)} rows have no defined membership", row=int(broken.argmax()))
    if count:
        values = values.copy()
        hard = np.zeros_like(values)
        hard[:, : labels.max() + 1] = one_hot(labels)
        values[broken] = hard[broken]
    return np.maximum(values, 0), count
