"""Best division of a few unit vectors into two, for thousands of components at once, in Gram space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
RESTARTS = 10
ITERATIONS = 25
BLOCK = 32


@dataclass(frozen=True)
class Split:
    """The best 2-means split of each component's examples.

    Attributes
    ----------
    second : [C, n] bool, members of the second cluster.
    share : [C] float64 in [0, 1], 1 - SS_within / SS_total: how much of the spread the split explains.
    cosine : [C] float64, cosine of the two cluster means; 1 where a cluster is empty.
    """

    second: NDArray[np.bool_]
    share: Doubles
    cosine: Doubles


def gram(vectors: NDArray[np.float32]) -> Doubles:
    """Gram matrices [C, n, n] float64 of unit vectors [C, n, d]."""
    c, n = vectors.shape[:2]
    grams = np.empty((c, n, n))
    for start in range(0, c, BLOCK):  # few enough for the wide copy to stay in the processor's cache
        wide = vectors[start : start + BLOCK].astype(np.float64)
        np.matmul(wide, wide.transpose(0, 2, 1), out=grams[start : start + BLOCK])
    return grams


def split_in_two(grams: Doubles, *, seed: int = 0, restarts: int = RESTARTS, iterations: int = ITERATIONS) -> Split:
    """2-means in Gram space: k-means++ starts, at most `iterations` Lloyd steps, the best of `restarts` starts.

    Parameters
    ----------
    grams : [C, n, n] float64, n >= 2.

    Returns
    -------
    Split. Deterministic for a seed, and independent of how components are batched.

    Source: ours. dist²(i, cluster) = G_ii - 2 (wG)_i + w G wᵀ with w the normalised membership row, so that no vector
    of width d is touched after the Gram matrix.
    """
    c, n = grams.shape[:2]
    self_products = np.einsum("cii->ci", grams)
    rows = grams.sum(axis=2)
    total = self_products.sum(axis=1) - rows.sum(axis=1) / n
    draws = np.random.default_rng(seed).random((restarts, 2))
    second = np.stack([_start(grams, self_products, first, other) for first, other in draws], axis=1)  # [C, R, n]
    moving = np.arange(c)
    for _ in range(iterations):
        moved = _assign(grams[moving], rows[moving], second[moving])
        still = (moved != second[moving]).any(axis=(1, 2))
        second[moving] = moved
        moving = moving[still]
        if not len(moving):
            break
    explained = _explained(grams, rows, second)
    best, most = np.zeros(c, dtype=np.int64), explained[:, 0].copy()
    for restart in range(1, restarts):
        better = explained[:, restart] > most + 1e-12
        best[better], most[better] = restart, explained[better, restart]
    chosen = second[np.arange(c), best]
    within = self_products.sum(axis=1) - most
    share = np.where(total > 1e-9, 1 - within / np.maximum(total, 1e-9), 0.0)
    return Split(chosen, np.clip(share, 0.0, 1.0), _cosine(grams, chosen))


def _start(grams: Doubles, self_products: Doubles, first_draw: float, second_draw: float) -> NDArray[np.bool_]:
    """Two seeds by k-means++: the first at random, the second with probability proportional to squared distance."""
    c, n = self_products.shape
    first = int(first_draw * n)
    squared = np.maximum(self_products + self_products[:, [first]] - 2 * grams[:, first, :], 0.0)
    cumulative = np.cumsum(squared, axis=1)
    second = np.minimum((cumulative < second_draw * cumulative[:, -1:]).sum(axis=1), n - 1)
    rows = np.arange(c)
    to_second = self_products + self_products[rows, second][:, None] - 2 * grams[rows, second, :]
    return to_second < squared


def _weights(second: NDArray[np.bool_]) -> Doubles:
    """Normalised membership rows [C, 2, n]; an empty cluster has zeros."""
    members = np.stack([~second, second], axis=1).astype(np.float64)
    return members / np.maximum(members.sum(axis=2, keepdims=True), 1.0)


@dataclass(frozen=True)
class _Sums:
    """Sums over both clusters of each start: rows of the Gram matrix [C, R, n], whole blocks and sizes [C, R, 1]."""

    rows: tuple[Doubles, Doubles]
    blocks: tuple[Doubles, Doubles]
    sizes: tuple[Doubles, Doubles]


def _sums(grams: Doubles, rows: Doubles, second: NDArray[np.bool_]) -> _Sums:
    """One product for all starts of a component; the first cluster is what the second leaves of the whole."""
    members = second.astype(np.float64)
    of_second = members @ grams
    of_first = rows[:, None, :] - of_second
    block_second = (of_second * members).sum(axis=2, keepdims=True)
    block_first = of_first.sum(axis=2, keepdims=True) - (of_first * members).sum(axis=2, keepdims=True)
    size = members.sum(axis=2, keepdims=True)
    sizes = np.maximum(members.shape[2] - size, 1.0), np.maximum(size, 1.0)
    return _Sums((of_first, of_second), (block_first, block_second), sizes)


def _assign(grams: Doubles, rows: Doubles, second: NDArray[np.bool_]) -> NDArray[np.bool_]:
    sums = _sums(grams, rows, second)
    to_first, to_second = (
        block / size**2 - 2 * row / size for row, block, size in zip(sums.rows, sums.blocks, sums.sizes, strict=True)
    )
    empty = ~second.any(axis=2) | second.all(axis=2)
    return np.where(empty[:, :, None], second, to_second < to_first)


def _explained(grams: Doubles, rows: Doubles, second: NDArray[np.bool_]) -> Doubles:
    """[C, R] sum of squares that the cluster means explain, without the mean of all: the larger, the better."""
    sums = _sums(grams, rows, second)
    explained: Doubles = sum(block / size for block, size in zip(sums.blocks, sums.sizes, strict=True))[:, :, 0]
    return explained


def _cosine(grams: Doubles, second: NDArray[np.bool_]) -> Doubles:
    weights = _weights(second)
    crossed = weights @ grams
    norms = np.sqrt(np.maximum((crossed * weights).sum(axis=2), 1e-12))
    between = (crossed[:, 0] * weights[:, 1]).sum(axis=1)
    empty = ~second.any(axis=1) | second.all(axis=1)
    return np.where(empty, 1.0, between / (norms[:, 0] * norms[:, 1]))
