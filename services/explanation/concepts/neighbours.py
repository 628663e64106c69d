"""Nearest neighbours of feature vectors, exact, by FAISS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.errors import ConstantFeatures, InvalidRequest, TooFewPoints
from services.explanation.index.library import exact_nearest


@dataclass(frozen=True)
class Neighbours:
    """The k nearest points of each point, itself first.

    Parameters
    ----------
    index : [n, k] int32; column 0 is the point itself. distance : [n, k] float32, Euclidean; column 0 is 0.
    """

    index: np.ndarray
    distance: np.ndarray


def require_features(features: np.ndarray, *, smallest: int = 2) -> np.ndarray:
    """Check a feature matrix [n, d] and return it as C-contiguous float32.

    Raises
    ------
    InvalidRequest : not a matrix, or NaN or infinity; names the first row. TooFewPoints : fewer than `smallest` rows.
    ConstantFeatures : all rows are equal.
    """
    matrix = np.ascontiguousarray(features, np.float32)
    if matrix.ndim != 2:
        raise InvalidRequest(f"features have {matrix.ndim} axes, [points, width] is wanted", field="features")
    if len(matrix) < smallest:
        raise TooFewPoints(f"{len(matrix)} points, at least {smallest} are needed", field="points", found=len(matrix))
    finite = np.isfinite(matrix.sum(axis=1))
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise InvalidRequest(f"row {row} of the features is not finite", field="features", row=row)
    if not (matrix != matrix[0]).any():
        raise ConstantFeatures(f"all {len(matrix)} points have the same features", field="features")
    return matrix


def standardized(features: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and standard deviation 1; constant columns become 0: [n, d] float32.

    Language models' residual streams need it: a few massive dimensions otherwise own every distance.
    """
    values = features.astype(np.float64)
    spread = values.std(axis=0)
    return ((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(np.float32)


def nearest(features: np.ndarray, k: int) -> Neighbours:
    """The k nearest points of each point in Euclidean distance, itself included as the first.

    Parameters
    ----------
    features : [n, d] float32.

    Raises
    ------
    TooFewPoints : not more points than neighbours.
    """
    if len(features) <= k:
        raise TooFewPoints(f"{len(features)} points for {k} neighbours", field="neighbours", found=len(features))
    squared, found = exact_nearest(features, features, k, metric="squared")
    distance = np.sqrt(np.maximum(squared, 0))
    return _self_first(found.astype(np.int32), distance)


def _self_first(found: np.ndarray, distance: np.ndarray) -> Neighbours:
    """Put each point first among its neighbours: a copy of it may have come before it, or have crowded it out."""
    own = np.arange(len(found), dtype=np.int32)
    place = np.where(found == own[:, None], 0, 1).argmin(axis=1)
    held = found[own, place] == own
    place = np.where(held, place, found.shape[1] - 1)
    rest = np.arange(found.shape[1])[None, :] != place[:, None]
    index = np.column_stack([own, found[rest].reshape(len(found), -1)])
    spaced = np.column_stack([np.zeros(len(found), np.float32), distance[rest].reshape(len(found), -1)])
    return Neighbours(index, spaced.astype(np.float32))


def other_nearest(features: np.ndarray, k: int, *, cosine: bool = False) -> np.ndarray:
    """Numbers of the k nearest other points, by Euclidean distance or cosine: [n, k] int32."""
    values = np.asarray(features, np.float32)
    if cosine:
        length = np.linalg.norm(values, axis=1, keepdims=True)
        values = values / np.where(length > 0, length, 1)
    return nearest(np.ascontiguousarray(values), k + 1).index[:, 1:]
