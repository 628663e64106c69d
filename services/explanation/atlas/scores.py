"""Scores of translated latents: midrank AUROC, average precision with grouped ties, intervals over documents, ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from contracts.atlas import TooFewPositives
from services.explanation.atlas.statistics import Doubles, Floats
from services.explanation.labels.intervals import group_weights

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Tier = Literal["verified", "weak", "untrusted", "insufficient_evidence"]
LEAST_RATE, MOST_RATE, TOP_SHARE = 0.005, 0.30, 0.05
FEWEST_TRAINING, FEWEST_TEST = 20, 10
VERIFIED, WEAK = 0.85, 0.70
DRAWS = 200
BINS = ((0.005, 0.01), (0.01, 0.05), (0.05, 0.30))


@dataclass(frozen=True)
class Truth:
    """What each latent should say on test windows.

    Attributes
    ----------
    y : [N_test, d_c] bool. evident : [d_c] bool, enough positives in both halves (20 training, 10 test).
    rate : [d_c] float64, share of training windows in which the latent fires.
    by_threshold : [d_c] bool, latents outside .5-30 % that are judged by the training half's top 5 % instead.
    """

    y: Bools
    evident: Bools
    rate: Doubles
    by_threshold: Bools


def truth_of(training: Floats, test: Floats) -> Truth:
    """Binary truth of atlas codes.

    Parameters
    ----------
    training, test : [N, d_c] >= 0, pooled codes; a latent fired where its code is above 0.

    Returns
    -------
    y = [c > 0] where the base rate lies in .5-30 %, else [c > the training half's .95 quantile].
    """
    fired = training > 0
    rate = fired.mean(axis=0)
    outside = (rate < LEAST_RATE) | (rate > MOST_RATE)
    threshold = np.zeros(training.shape[1])
    if outside.any():
        threshold[outside] = np.quantile(training[:, outside].astype(np.float64), 1 - TOP_SHARE, axis=0)
    y = test > threshold
    positives = (training > threshold).sum(axis=0)
    held = y.sum(axis=0)
    evident = (positives >= FEWEST_TRAINING) & (held >= FEWEST_TEST) & (held < len(test))
    return Truth(y, evident, rate, outside)


def auroc(scores: Floats, y: Bools) -> Doubles:
    """P(positive above negative) + ½ P(tie) of each column: [N, C], [N, C] bool -> [C]; NaN if of one class."""
    ranks = rankdata(scores, axis=0)
    held = y.sum(axis=0).astype(np.float64)
    pairs = held * (len(y) - held)
    summed = np.where(y, ranks, 0).sum(axis=0) - held * (held + 1) / 2
    return np.where(pairs > 0, summed / np.where(pairs > 0, pairs, 1), np.nan)


def average_precision(scores: Floats, y: Bools) -> Doubles:
    """Σ recall step · precision over distinct scores of each column: [N, C], [N, C] bool -> [C]; NaN without positives.

    Tied scores are one threshold, so their order cannot matter.
    """
    order = np.argsort(-scores, axis=0, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=0)
    hits = np.cumsum(np.take_along_axis(y, order, axis=0), axis=0)
    ends = np.ones(scores.shape, bool)
    ends[:-1] = ordered[1:] != ordered[:-1]
    precision = hits / np.arange(1, len(scores) + 1)[:, None]
    upto = np.maximum.accumulate(np.where(ends, hits, 0), axis=0)
    before = np.vstack([np.zeros((1, hits.shape[1]), hits.dtype), upto[:-1]])
    total = hits[-1]
    area = np.where(ends, (hits - before) * precision, 0).sum(axis=0)
    return np.where(total > 0, area / np.where(total > 0, total, 1), np.nan)


def auroc_intervals(
    scores: Floats, y: Bools, documents: Ints, *, draws: int = DRAWS, seed: int = 0,
    beat: Callable[[], None] = lambda: None,
) -> Doubles:  # fmt: skip
    """95 % bootstrap intervals of the AUROC, whole documents drawn together.

    Parameters
    ----------
    scores : [N, C]; y : [N, C] bool; documents : [N] int64, the document of each window. beat : called now and then.

    Returns
    -------
    [C, 2] float64; NaN where a column is of one class. Draws of one class are left out.
    """
    weights = group_weights(documents, draws, seed=seed).astype(np.float64)
    bounds = np.full((scores.shape[1], 2), np.nan)
    for column in range(scores.shape[1]):
        if column % 64 == 0:
            beat()
        if 0 < y[:, column].sum() < len(y):
            values = _weighted_auroc(scores[:, column], y[:, column], weights)
            values = values[np.isfinite(values)]
            if len(values):
                bounds[column] = np.quantile(values, [0.025, 0.975])
    return bounds


def _weighted_auroc(score: Floats, y: Bools, weights: Doubles) -> Doubles:
    """[B] AUROC under B sets of weights: negatives below each positive plus half of those tied with it."""
    negative = np.sort(score[~y], kind="stable")
    by_score = weights[:, ~y][:, np.argsort(score[~y], kind="stable")]
    below = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(by_score, axis=1)], axis=1)
    left = np.searchsorted(negative, score[y], "left")
    right = np.searchsorted(negative, score[y], "right")
    positive = weights[:, y]
    won = (positive * (below[:, left] + below[:, right]) / 2).sum(axis=1)
    pairs = positive.sum(axis=1) * below[:, -1]
    return np.where(pairs > 0, won / np.where(pairs > 0, pairs, 1), np.nan)


def tiers(low: Doubles, evident: Bools) -> list[Tier]:
    """Tier of each latent from the lower bound of its AUROC: verified >= .85, weak >= .7, else untrusted."""
    named: list[Tier] = []
    for bound, enough in zip(low, evident, strict=True):
        if not enough or not np.isfinite(bound):
            named.append("insufficient_evidence")
        else:
            named.append("verified" if bound >= VERIFIED else "weak" if bound >= WEAK else "untrusted")
    return named


def rank_of_target(scores: Floats, target: Ints) -> Doubles:
    """Rank of each row's target among the columns, best first, ties at their mean: [Q, d], [Q] -> [Q]."""
    return rankdata(-scores, axis=1)[np.arange(len(scores)), target]


def mean_reciprocal_rank(ranks: Floats) -> float:
    """Mean of 1 / rank; chance is H_d / d."""
    return float(np.mean(1 / np.asarray(ranks, np.float64)))


def mean_percentile(ranks: Floats, d: int) -> float:
    """MPP: mean of 1 - (rank - 1) / (d - 1); chance is ½. The abbreviation's reading is ours."""
    return float(np.mean(1 - (np.asarray(ranks, np.float64) - 1) / (d - 1)))


def chance_ranks(d: int) -> tuple[float, float]:
    """(MRR, MPP) of a random ranking of d."""
    return float(np.sum(1 / np.arange(1, d + 1)) / d), 0.5


def self_retrieval(rows: Floats, x: Floats, c: Floats, *, k: int = 30) -> Doubles:
    """Rank of each subject unit among all rows of a map fitted on other windows, queried by its own top windows.

    Parameters
    ----------
    rows : [d_s, d_c] a map's rows, fitted on half A. x : [N, d_s], c : [N, d_c] of half B.

    Returns
    -------
    [d_s] ranks. It can be near-perfect with useless labels: report paired retrieval beside it.
    """
    codes = c.astype(np.float64)
    order = np.argsort(-x, axis=0, kind="stable")[: min(k, len(x))]
    query = np.stack([codes[order[:, unit]].mean(axis=0) for unit in range(x.shape[1])]) - codes.mean(axis=0)
    return rank_of_target(_cosines(query, rows.astype(np.float64)), np.arange(len(rows)))


def paired_retrieval(rows: Floats, subject: Floats, atlas: Floats, *, least: float = 0.5) -> tuple[Doubles, Ints]:
    """Ranks of gold partners: for each atlas latent, the subject latent of highest Pearson r on held-out windows.

    Parameters
    ----------
    rows : [d_s, d_c] a map between subject latents and atlas latents. subject : [N, d_s]; atlas : [N, d_c] held-out.
    least : pairs of r at or below it are no gold.

    Returns
    -------
    (ranks [Q], atlas latents [Q]) of the pairs kept.

    Raises
    ------
    TooFewPositives : no pair is above `least`.
    """
    r = _cosines(
        (atlas - atlas.mean(axis=0)).T.astype(np.float64), (subject - subject.mean(axis=0)).T.astype(np.float64)
    )
    gold, best = r.argmax(axis=1), r.max(axis=1)
    kept = np.flatnonzero(best > least)
    if not len(kept):
        raise TooFewPositives(f"no pair correlates above {least}; the best reaches {best.max():.2f}", field="least")
    norm = np.linalg.norm(rows, axis=0)
    scores = (rows / np.where(norm > 0, norm, 1)).T[kept]
    return rank_of_target(scores, gold[kept]), kept


def _cosines(a: Doubles, b: Doubles) -> Doubles:
    one, other = (side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-300) for side in (a, b))
    return one @ other.T
