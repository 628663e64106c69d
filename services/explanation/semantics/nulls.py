"""Null distributions: what clarity, splits and scores would be if a component meant nothing in particular."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.explanation.semantics.clusters import gram, split_in_two
from services.explanation.semantics.embeddings import Embeddings
from services.explanation.semantics.metrics import Doubles, Floats, clarity
from services.explanation.semantics.vectors import SplitNull

ROUNDING = 1e-6  # of a cosine in float32: equal sets differ by this much on some processors
SIZES = (5, 10, 15, 20, 30, 50, 100, 200)
ANCHORS = 1200
PAIRS = 20_000
CHUNK = 64


def sizes_for(k: int) -> list[int]:
    """Numbers of examples for which nulls are kept, up to and including k."""
    return [*(size for size in SIZES if size < k), k]


def draw_sets(n: int, size: int, sets: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Draw sets of distinct samples.

    Returns
    -------
    [sets, size] int64 in 0..n-1, without repetition inside a set; size <= n.
    """
    if size * size > n:  # drawing until nothing repeats would take e^(size² / 2n) tries
        return np.stack([draw.permutation(n)[:size] for _ in range(sets)])
    drawn = draw.integers(0, n, (sets, size))
    while True:
        ordered = np.sort(drawn, axis=1)
        bad = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
        if not len(bad):
            return drawn
        drawn[bad] = draw.integers(0, n, (len(bad), size))


def random_set_bank(embeddings: Embeddings, size: int, sets: int, draw: np.random.Generator) -> Floats:
    """Unit mean vectors of random sets of samples.

    Returns
    -------
    [sets, d] float32. Its scores with a query are what a component without any content would get.

    Source: ours.
    """
    ids = draw_sets(embeddings.n, size, sets, draw)
    return np.concatenate([_unit_means(embeddings.rows(ids[start : start + CHUNK])) for start in range(0, sets, CHUNK)])


def _unit_means(examples: Floats) -> Floats:
    mean = examples.mean(axis=1, dtype=np.float64)
    return (mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)).astype(np.float32)


@dataclass(frozen=True)
class ClarityNull:
    """Moments of the clarity of random sets.

    Attributes
    ----------
    expected : E0, exact over all subsets of any size.
    zeta1, zeta2 : variance of a sample's mean cosine to the others; variance of the cosine of pairs.
    """

    expected: float
    zeta1: float
    zeta2: float

    def deviation(self, n: NDArray[np.integer]) -> Doubles:
        """Standard deviation of the clarity of n random samples, n >= 2; [C] in, [C] out.

        Var0 = 2 / (n (n - 1)) * [2 (n - 2) zeta1 + zeta2].
        """
        size = np.maximum(np.asarray(n, dtype=np.float64), 2.0)
        return np.sqrt(2 / (size * (size - 1)) * (2 * (size - 2) * self.zeta1 + self.zeta2))


def clarity_null(embeddings: Embeddings, draw: np.random.Generator) -> ClarityNull:
    """Moments of the clarity null over all samples, in two passes. Source: ours, U-statistic variance."""
    n = embeddings.n
    total = sum((block.sum(axis=0, dtype=np.float64) for _, block in embeddings.blocks()), np.zeros(1))
    mean = total / n
    expected = (n**2 * float(mean @ mean) - n) / (n * (n - 1))
    near = np.concatenate([(n * (block @ mean) - 1) / (n - 1) for _, block in embeddings.blocks()])
    left = draw.integers(0, n, PAIRS)
    right = (left + draw.integers(1, n, PAIRS)) % n
    pairs = np.concatenate(
        [
            np.einsum("bd,bd->b", embeddings.rows(left[s : s + 4000]), embeddings.rows(right[s : s + 4000]))
            for s in range(0, PAIRS, 4000)
        ]
    )
    return ClarityNull(expected, float(near.var()), float(pairs.var(dtype=np.float64)))


def nearest_samples(embeddings: Embeddings, anchors: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """The `most` samples nearest to each anchor, itself included: [A, most] int64, nearest first."""
    queries = embeddings.rows(anchors)
    best = np.full((len(anchors), most), -np.inf, np.float32)
    ids = np.zeros((len(anchors), most), np.int64)
    for start, block in embeddings.blocks():
        scores = np.concatenate([best, queries @ block.T], axis=1)
        names = np.concatenate(
            [ids, np.broadcast_to(start + np.arange(len(block)), (len(anchors), len(block)))], axis=1
        )
        order = np.sort(np.argpartition(-scores, most - 1, axis=1)[:, :most], axis=1)
        ranks = np.argsort(-np.take_along_axis(scores, order, axis=1), axis=1, kind="stable")
        order = np.take_along_axis(order, ranks, axis=1)
        best, ids = np.take_along_axis(scores, order, axis=1), np.take_along_axis(names, order, axis=1)
    return ids


def split_null(embeddings: Embeddings, size: int, draw: np.random.Generator) -> SplitNull:
    """Clarity and split share of sets of one topic: samples drawn from the neighbourhood of a random anchor.

    Neighbourhoods of 1, 2, 3 and 6 times `size` samples give sets from very clear to rather diffuse.

    Source: ours.
    """
    anchors = draw.integers(0, embeddings.n, ANCHORS)
    pools = nearest_samples(embeddings, anchors, min(6 * size, embeddings.n))
    widths = np.minimum(np.array([1, 2, 3, 6])[np.arange(ANCHORS) % 4] * size, pools.shape[1])
    keys = draw.random(pools.shape)
    keys[np.arange(pools.shape[1])[None, :] >= widths[:, None]] = np.inf
    chosen = np.take_along_axis(pools, np.argsort(keys, axis=1, kind="stable")[:, :size], axis=1)
    clarities, shares = [], []
    for start in range(0, ANCHORS, CHUNK * 4):
        examples = embeddings.rows(chosen[start : start + CHUNK * 4])
        clarities.append(clarity(examples))
        shares.append(split_in_two(gram(examples)).share)
    return SplitNull(np.concatenate(clarities), np.concatenate(shares))


def bank_moments(bank: Floats, queries: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the random sets' scores per query.

    Parameters
    ----------
    bank : [R, d] unit vectors of random sets; queries : [Q, d] unit directions.

    Returns
    -------
    ([Q], [Q]) float32; a deviation that is only the rounding of float32 becomes NaN so that no z is made of it.
    """
    scores = bank @ queries.T
    deviation = scores.std(axis=0, dtype=np.float64)
    usable = np.where(deviation > ROUNDING, deviation, np.nan)
    return scores.mean(axis=0, dtype=np.float64).astype(np.float32), usable.astype(np.float32)


def background_moments(rows: Floats, background: Floats, mean: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """Median and 1.4826 MAD of each row's standardised scores over a background of unrelated queries.

    Parameters
    ----------
    rows : [P, d] unit vectors; background : [B, d] unit queries; mean, deviation : [B] of the random-set bank.

    Returns
    -------
    ([P], [P]) float32. z_prompt = (x - median) / spread with x = (score - mean_p) / deviation_p; a spread of 0 becomes
    NaN.

    Source: ours; column-standardising keeps prompts that score high everywhere from hiding the rest.
    """
    usable = np.flatnonzero(np.isfinite(deviation))
    medians, spreads = np.full(len(rows), np.nan, np.float32), np.full(len(rows), np.nan, np.float32)
    if not len(usable):  # as many examples as samples: all random sets are one and the same
        return medians, spreads
    for start in range(0, len(rows), 4096):
        block = (rows[start : start + 4096] @ background[usable].T - mean[usable]) / deviation[usable]
        median = np.median(block, axis=1)
        spread = 1.4826 * np.median(np.abs(block - median[:, None]), axis=1)
        medians[start : start + len(block)] = median
        spreads[start : start + len(block)] = np.where(spread > 0, spread, np.nan)
    return medians, spreads
