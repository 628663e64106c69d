"""Linear and centroid methods behind the same port: what the manifold method has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from contracts.errors import NonNegativeRequired, TooFewPoints
from services.explanation.concepts.discovery.port import Concepts, require_concepts, row_normalised
from services.explanation.concepts.neighbours import Neighbours, require_features

SMALLEST_DISTANCE = 1e-6
SMALLEST_SUBSPACE = 3


def _hard(values: np.ndarray) -> np.ndarray:
    return np.where(values.max(axis=1) > 0, values.argmax(axis=1), -1).astype(np.int32)


def _require_k(x: np.ndarray, k: int, method: str) -> None:
    require_concepts(k, method, "raise `k` to 2 or more")
    if len(x) <= k:
        raise TooFewPoints(f"{len(x)} points for {k} concepts", field="k", found=len(x))


@dataclass(frozen=True)
class KMeans:
    """Centroids; membership is proportional to 1 / (distance + 1e-6). No point is noise. Source: NLMCD's baseline."""

    method: ClassVar[str] = "kmeans"
    k: int = 50

    def fit(self, features: np.ndarray, *, seed: int = 0, neighbours: Neighbours | None = None) -> Concepts:
        """Find concepts."""
        x = require_features(features)
        labels, distances = _clusters(x, self.k, seed, self.method)
        values = row_normalised(1 / (distances.astype(np.float64) + SMALLEST_DISTANCE))
        return Concepts(values, labels)


def _clusters(x: np.ndarray, k: int, seed: int, method: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.cluster import KMeans as Lloyd
    from threadpoolctl import threadpool_limits

    _require_k(x, k, method)
    with threadpool_limits(1, user_api="openmp"):  # its threads add to the centres in the order in which they end
        fitted = Lloyd(k, n_init=4, random_state=seed).fit(x)
    return fitted.labels_.astype(np.int32), fitted.transform(x)


@dataclass(frozen=True)
class PrincipalDirections:
    """Directions of largest variance; membership is the cosine to a direction.

    The sign of a direction is arbitrary, so each gives two concepts, its positive and its negative half. `one_sided`
    keeps the positive half only, as the published baseline does.
    """

    method: ClassVar[str] = "pca"
    k: int = 50
    one_sided: bool = False

    def fit(self, features: np.ndarray, *, seed: int = 0, neighbours: Neighbours | None = None) -> Concepts:
        """Find concepts; at most `k` of them."""
        from sklearn.decomposition import PCA

        x = require_features(features)
        directions = min(self.k if self.one_sided else max(1, self.k // 2), *x.shape)
        _require_k(x, directions if self.one_sided else 2 * directions, self.method)
        scores = PCA(directions, random_state=seed).fit_transform(x).astype(np.float64)
        length = np.linalg.norm(x - x.mean(axis=0, dtype=np.float64), axis=1, keepdims=True)
        cosines = np.clip(scores / np.where(length > 0, length, 1), -1, 1)
        parts = [np.maximum(cosines, 0)] if self.one_sided else [np.maximum(cosines, 0), np.maximum(-cosines, 0)]
        values = row_normalised(np.hstack(parts))
        return Concepts(values, _hard(values))


@dataclass(frozen=True)
class NonNegative:
    """Non-negative matrix factorisation; membership is the coefficient's share times how well a row is rebuilt.

    `split_signs` factorises positive and negative halves side by side, for features of both signs.
    """

    method: ClassVar[str] = "nmf"
    k: int = 50
    split_signs: bool = True

    def fit(self, features: np.ndarray, *, seed: int = 0, neighbours: Neighbours | None = None) -> Concepts:
        """Find concepts.

        Raises
        ------
        NonNegativeRequired : features of both signs without `split_signs`.
        """
        from sklearn.decomposition import NMF

        x = require_features(features)
        _require_k(x, self.k, self.method)
        if self.split_signs:
            x = np.hstack([np.maximum(x, 0), np.maximum(-x, 0)])
        elif x.min() < 0:
            raise NonNegativeRequired(f"features go down to {x.min():.3g}", field="split_signs")
        factors = NMF(self.k, init="nndsvda", random_state=seed, max_iter=200, tol=1e-3)
        coefficients = factors.fit_transform(x).astype(np.float64)
        rebuilt = np.linalg.norm(coefficients @ factors.components_, axis=1)
        explained = np.minimum(1, rebuilt / np.maximum(np.linalg.norm(x, axis=1), 1e-12))
        values = (row_normalised(coefficients) * explained[:, None]).astype(np.float32)
        return Concepts(values, _hard(values))


@dataclass(frozen=True)
class Subspaces:
    """Multi-dimensional concepts: one linear subspace per k-means cluster, as many directions as its variance needs.

    Membership is the largest absolute cosine to a basis direction. Clusters of two or fewer points are dropped.

    Parameters
    ----------
    share : a direction counts while its variance is at least this share of the cluster's largest.

    Source: MCD, arXiv 2301.11911; the number of directions by Fukunaga and Olsen 1971.
    """

    method: ClassVar[str] = "mcd"
    k: int = 50
    share: float = 0.05

    def fit(self, features: np.ndarray, *, seed: int = 0, neighbours: Neighbours | None = None) -> Concepts:
        """Find concepts."""
        x = require_features(features)
        labels, _ = _clusters(x, self.k, seed, self.method)
        unit = x.astype(np.float64)
        unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
        columns = []
        for name in range(self.k):
            members = x[labels == name].astype(np.float64)
            if len(members) >= SMALLEST_SUBSPACE:
                columns.append(np.abs(unit @ self._basis(members)).max(axis=1))
        require_concepts(len(columns), self.method, "lower `k`: most clusters have two points or fewer")
        values = row_normalised(np.column_stack(columns))
        return Concepts(values, _hard(values))

    def _basis(self, members: np.ndarray) -> np.ndarray:
        _, strength, directions = np.linalg.svd(members - members.mean(axis=0), full_matrices=False)
        variance = strength**2
        return directions[variance >= self.share * max(variance[0], 1e-30)].T


@dataclass(frozen=True)
class Codes:
    """Features that are codes already, such as the latents of a sparse autoencoder: each latent is a concept.

    Latents that never fire are dropped; of the others the `k` with the largest total remain.
    """

    method: ClassVar[str] = "sae"
    k: int = 500

    def fit(self, features: np.ndarray, *, seed: int = 0, neighbours: Neighbours | None = None) -> Concepts:
        """Take the codes as concepts.

        Raises
        ------
        NonNegativeRequired : a code below zero.
        """
        x = require_features(features)
        if x.min() < 0:
            raise NonNegativeRequired(f"codes go down to {x.min():.3g}", field="features")
        total = x.sum(axis=0, dtype=np.float64)
        live = np.sort(np.argsort(-total, kind="stable")[: min(self.k, int((total > 0).sum()))])
        require_concepts(len(live), self.method, "fewer than two latents ever fire")
        whole = x.sum(axis=1, keepdims=True, dtype=np.float64)
        values = (x[:, live] / np.where(whole > 0, whole, 1)).astype(np.float32)
        values /= np.maximum(values.sum(axis=1, keepdims=True), 1)
        return Concepts(values, _hard(values))
