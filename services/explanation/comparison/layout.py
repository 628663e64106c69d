"""A plane for the eye: components of like meaning near each other. No figure is ever computed from it."""

from __future__ import annotations

import threading
import warnings

import numpy as np
from numpy.typing import NDArray

from services.explanation.index.library import exact_nearest

Floats = NDArray[np.float32]
NEIGHBOURS = 15
MIN_DIST = 0.1
MOST_FITTED = 20_000
INITIAL_WIDTH = 10.0
BLOCK = 4096
_one_at_a_time = threading.Lock()  # numba's thread pool aborts the process when two threads enter it


def principal_plane(vectors: Floats) -> Floats:
    """Place vectors by their two principal components.

    Parameters
    ----------
    vectors : [P, d] float32.

    Returns
    -------
    [P, 2] float32 in [-1, 1], centred at the mean; the entry of each axis that is largest is positive, so that equal
    vectors give an equal plane. Zeros where all vectors are one.
    """
    if not len(vectors):
        return np.zeros((0, 2), np.float32)
    centred = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    _, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    plane = centred.astype(np.float64) @ axes[:, [-1, -2]]
    plane *= np.where(plane[np.abs(plane).argmax(axis=0), [0, 1]] < 0, -1, 1)
    return _into_unit_square(plane)


def semantic_plane(vectors: Floats, *, seed: int = 0) -> Floats:
    """Place unit vectors by UMAP of their cosines, begun at the principal components.

    Parameters
    ----------
    vectors : [P, d] float32 unit rows. Of more than 20,000, a seeded sample is fitted and the others are placed at the
        mean of their nearest fitted neighbours, weighted by cosine above the least of them.
    seed : of the sample and of UMAP, which then runs on one thread: equal vectors give equal bytes.

    Returns
    -------
    [P, 2] float32 in [-1, 1]. Up to 16 vectors have too few neighbours and are placed by `principal_plane`.

    Source: UMAP (arXiv 1802.03426) as SemanticLens draws its maps; exact neighbours and the placing of the rest are
    ours.
    """
    if len(vectors) <= NEIGHBOURS + 1:
        return principal_plane(vectors)
    if len(vectors) <= MOST_FITTED:
        return _into_unit_square(_fit(vectors, seed))
    fitted = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:MOST_FITTED])
    plane = np.zeros((len(vectors), 2), np.float64)
    plane[fitted] = _fit(vectors[fitted], seed)
    rest = np.setdiff1d(np.arange(len(vectors)), fitted, assume_unique=True)
    cosine, near = _nearest(vectors[rest], vectors[fitted], NEIGHBOURS)
    weight = cosine - cosine[:, -1:] + 1e-6
    plane[rest] = (plane[fitted][near] * weight[:, :, None]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
    return _into_unit_square(plane)


def _fit(vectors: Floats, seed: int) -> NDArray[np.float64]:
    from umap import UMAP

    cosine, near = _nearest(vectors, vectors, NEIGHBOURS + 1)
    index, distance = _self_first(cosine, near)
    method = UMAP(
        n_neighbors=NEIGHBOURS, min_dist=MIN_DIST, random_state=seed, n_jobs=1,
        init=principal_plane(vectors) * np.float32(INITIAL_WIDTH), precomputed_knn=(index, distance, None),
        force_approximation_algorithm=True,
    )  # fmt: skip
    with _one_at_a_time, warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*precomputed_knn.*", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*transforming new data.*", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*not fully connected.*", category=UserWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        return np.asarray(method.fit_transform(vectors), np.float64)


def _nearest(queries: Floats, rows: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
    return exact_nearest(rows, queries, k, metric="inner", block=BLOCK)


def _self_first(cosine: Floats, near: NDArray[np.int64]) -> tuple[NDArray[np.int32], Floats]:
    """Each row's own number first with distance 0, then its nearest others; equal vectors hide it elsewhere."""
    own = np.arange(len(near))[:, None]
    order = np.argsort(near != own, axis=1, kind="stable")
    near, cosine = np.take_along_axis(near, order, axis=1), np.take_along_axis(cosine, order, axis=1)
    near[:, 0], cosine[:, 0] = own[:, 0], 1.0
    return near[:, :NEIGHBOURS].astype(np.int32), np.maximum(1 - cosine[:, :NEIGHBOURS], 0).astype(np.float32)


def _into_unit_square(plane: NDArray[np.float64]) -> Floats:
    centred = plane - (plane.max(axis=0) + plane.min(axis=0)) / 2
    largest = np.abs(centred).max()
    return (centred / largest if largest > 0 else centred).astype(np.float32)
