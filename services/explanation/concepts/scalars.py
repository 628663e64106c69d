"""Scalar measures of similarity between two representations, shown beside the concept-based ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.errors import PointMismatch, TooFewPoints
from services.explanation.concepts.neighbours import other_nearest, require_features

RSA_POINTS = 4000
KERNEL_POINTS = 4000
NEIGHBOURS = 10


@dataclass(frozen=True)
class ScalarMeasures:
    """All scalar measures of a pair of representations; None where a measure is undefined.

    `cka` is biased towards 1 when there are few points for the width; `cka_unbiased` is not. `mutual_knn_corrected` is
    0 at chance. `svcca_variance` is the share of variance that the 10 directions of SVCCA keep, the smaller side's.
    """

    cka: float | None
    cka_unbiased: float | None
    svcca: float | None
    svcca_variance: float | None
    rsa: float | None
    mutual_knn: float | None
    mutual_knn_corrected: float | None
    cknna: float | None


def require_pair(x: np.ndarray, y: np.ndarray, *, smallest: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Check two feature matrices [n, dx], [n, dy] over the same points.

    Raises
    ------
    PointMismatch, TooFewPoints, ConstantFeatures, InvalidRequest.
    """
    if len(x) != len(y):
        raise PointMismatch(f"one side has {len(x)} points and the other {len(y)}", field="points")
    return require_features(x, smallest=smallest), require_features(y, smallest=smallest)


def _centred(x: np.ndarray) -> np.ndarray:
    values = np.asarray(x, np.float64)
    return values - values.mean(axis=0)


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear centred kernel alignment in its feature form, O(n d^2).

    Parameters
    ----------
    x, y : [n, dx], [n, dy] floating. Biased: independent Gaussians give 0.30 at n = 100, d = 50.

    Source: Kornblith et al. 2019, eq. 4.
    """
    x, y = (_centred(side) for side in require_pair(x, y))
    cross = np.linalg.norm(y.T @ x) ** 2
    return float(cross / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def _unbiased_hsic(k: np.ndarray, other: np.ndarray) -> float:
    """Unbiased HSIC estimate of two symmetric [n, n] kernels with zero diagonals. Source: Song et al. 2012, eq. 4."""
    n = len(k)
    rows_k, rows_l = k.sum(axis=1), other.sum(axis=1)
    trace = float((k * other).sum())
    product = float(rows_k.sum() * rows_l.sum()) / ((n - 1) * (n - 2))
    return (trace + product - 2 * float(rows_k @ rows_l) / (n - 2)) / (n * (n - 3))


def _kernel(x: np.ndarray) -> np.ndarray:
    kernel = _centred(x) @ _centred(x).T
    np.fill_diagonal(kernel, 0)
    return kernel


def _normalised(cross: float, own: float, other: float) -> float | None:
    return cross / float(np.sqrt(own * other)) if own > 0 and other > 0 else None


def unbiased_cka(x: np.ndarray, y: np.ndarray) -> float | None:
    """Linear CKA from unbiased HSIC: about 0 for independent representations of any width, O(n^2) memory.

    Parameters
    ----------
    x, y : [n, dx], [n, dy] floating, n >= 4.

    Returns
    -------
    A value up to 1, possibly negative; None if a self-term is not positive. Source: Nguyen et al. 2021, eq. 3.
    """
    x, y = require_pair(x, y)
    k, other = _kernel(x), _kernel(y)
    return _normalised(_unbiased_hsic(k, other), _unbiased_hsic(k, k), _unbiased_hsic(other, other))


def svcca(x: np.ndarray, y: np.ndarray, *, directions: int = 10) -> tuple[float, float] | None:
    """Mean canonical correlation of the leading principal directions of the standardised features.

    Parameters
    ----------
    x, y : [n, dx], [n, dy] floating.

    Returns
    -------
    (mean correlation, share of variance kept on the poorer side), or None if a side has fewer than `directions`
    directions. Source: Raghu et al. 2017.
    """
    bases, kept = [], []
    for side in require_pair(x, y):
        values = _centred(side)
        spread = values.std(axis=0)
        values = values / np.where(spread > 0, spread, 1)
        variance, axes = np.linalg.eigh(values.T @ values)
        variance, axes = variance[::-1], axes[:, ::-1]
        if len(variance) < directions or variance[directions - 1] <= 1e-10 * variance[0]:
            return None
        # orthonormal columns: canonical correlations are the singular values of their product
        bases.append(values @ axes[:, :directions] / np.sqrt(variance[:directions]))
        kept.append(float(variance[:directions].sum() / variance.sum()))
    correlations = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    return float(np.clip(correlations, 0, 1).mean()), min(kept)


def rsa(x: np.ndarray, y: np.ndarray, *, metric: str = "euclidean") -> float | None:
    """Spearman correlation of the two sets of pairwise distances.

    Parameters
    ----------
    x, y : [n, dx], [n, dy] floating, n <= 4,000: all n(n-1)/2 distances are held.

    Returns
    -------
    A value in [-1, 1]; None if all distances of one side are equal.

    Raises
    ------
    TooFewPoints, PointMismatch, ConstantFeatures; ValueError : more points than the distances' memory allows.

    Source: Kriegeskorte et al. 2008.
    """
    x, y = require_pair(x, y)
    if len(x) > RSA_POINTS:
        raise ValueError(f"{len(x)} points; representational similarity holds all distances, at most {RSA_POINTS}")
    from scipy.spatial.distance import pdist
    from scipy.stats import rankdata  # takes a second, and every command imports this module

    ranks = [rankdata(pdist(side.astype(np.float64), metric)) for side in (x, y)]
    first, second = (rank - rank.mean() for rank in ranks)
    size = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / size) if size > 0 else None


def mutual_knn(x: np.ndarray, y: np.ndarray, *, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Mean overlap of the k nearest neighbours by cosine, and the same corrected for chance k / (n - 1).

    Parameters
    ----------
    x, y : [n, dx], [n, dy] floating, n > k + 1.

    Source: Huh et al. 2024 (arXiv 2405.07987), appendix A; the correction is ours.
    """
    x, y = require_pair(x, y)
    if len(x) <= k + 1:
        raise TooFewPoints(f"{len(x)} points for {k} neighbours", field="neighbours", found=len(x))
    first, second = other_nearest(x, k, cosine=True), other_nearest(y, k, cosine=True)
    overlap = float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(first, second, strict=True)]) / k)
    chance = k / (len(x) - 1)
    return overlap, (overlap - chance) / (1 - chance)


def cknna(x: np.ndarray, y: np.ndarray, *, k: int = NEIGHBOURS) -> float | None:
    """CKA restricted to pairs that are nearest neighbours in both representations.

    Parameters
    ----------
    x, y : [n, dx], [n, dy] floating. Neighbours are by inner product of unit rows.

    Returns
    -------
    A value up to 1; None if a self-term is not positive. Source: Huh et al. 2024, appendix A.
    """
    kernels, near = [], []
    for side in require_pair(x, y):
        unit = side.astype(np.float64)
        unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
        kernel = unit @ unit.T
        np.fill_diagonal(kernel, -np.inf)
        places = np.argpartition(kernel, -k, axis=1)[:, -k:]
        mask = np.zeros(kernel.shape, bool)
        np.put_along_axis(mask, places, True, axis=1)
        np.fill_diagonal(kernel, 0)
        kernels.append(kernel)
        near.append(mask)

    def restricted(a: int, b: int) -> float:
        both = near[a] & near[b]
        return _unbiased_hsic(kernels[a] * both, kernels[b] * both)

    return _normalised(restricted(0, 1), restricted(0, 0), restricted(1, 1))


def scalar_measures(x: np.ndarray, y: np.ndarray, *, seed: int = 0, points: int = 2000) -> ScalarMeasures:
    """All measures of one pair; those quadratic in the number of points on the same `points` random ones.

    Parameters
    ----------
    x, y : [n, dx], [n, dy] floating over the same points.
    """
    x, y = require_pair(x, y, smallest=NEIGHBOURS + 2)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(x))[: min(points, KERNEL_POINTS, RSA_POINTS)])
    few_x, few_y = x[chosen], y[chosen]
    canonical = svcca(x, y)
    overlap, beyond_chance = mutual_knn(few_x, few_y)
    return ScalarMeasures(
        cka=linear_cka(x, y),
        cka_unbiased=unbiased_cka(few_x, few_y),
        svcca=None if canonical is None else canonical[0],
        svcca_variance=None if canonical is None else canonical[1],
        rsa=rsa(few_x, few_y),
        mutual_knn=overlap,
        mutual_knn_corrected=beyond_chance,
        cknna=cknna(few_x, few_y),
    )
