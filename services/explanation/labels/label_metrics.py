"""How well a name's similarities predict a component's activations: scores that see narrow and broad names alike.

Of the usual scores only these fall both when half of a right label's samples are taken away and when as many wrong
ones are added (Neuron-Eval, ICML 2025): correlation, cosine, average precision, F1, IoU. The others are given as
secondary figures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.floating]
Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]


def correlation(a: Array, s: Array, weights: Array | None = None) -> Doubles:
    """Pearson correlation of columns: a, s [N, C] -> [C]; NaN where a column is constant.

    Parameters
    ----------
    weights : [N] how often each sample counts; None: once.
    """
    return correlations(a, s, np.ones((1, len(a))) if weights is None else np.asarray(weights)[None])[0]


def correlations(a: Array, s: Array, weights: Array) -> Doubles:
    """Weighted Pearson correlations for B sets of weights at once: a, s [N, C], weights [B, N] -> [B, C]."""
    one, other, w = a.astype(np.float64), s.astype(np.float64), weights.astype(np.float64)
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    total = np.maximum(w.sum(axis=1, keepdims=True), 1e-300)
    mean, mean_other = w @ one / total, w @ other / total
    left = w @ (one * one) / total - mean**2
    right = w @ (other * other) / total - mean_other**2
    both = w @ (one * other) / total - mean * mean_other
    scale = (
        np.maximum(np.abs(one).max(axis=0, initial=0), 1e-30) ** 2,
        np.maximum(np.abs(other).max(axis=0, initial=0), 1e-30) ** 2,
    )
    defined = (left > 1e-14 * scale[0]) & (right > 1e-14 * scale[1])
    return np.where(defined, np.clip(both / np.sqrt(np.where(defined, left * right, 1)), -1, 1), np.nan)


def cosine(a: Array, s: Array) -> float:
    """Cosine of two columns [N]; NaN for a zero column."""
    length = float(np.linalg.norm(a) * np.linalg.norm(s))
    return float(np.dot(a, s)) / length if length > 0 else float("nan")


def average_precision(scores: Array, truth: Bools) -> float:
    """Σ over distinct thresholds of (recall step · precision); NaN without a true sample. Ties fall together."""
    if not truth.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(truth[order])
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    found = hits[ends]
    return float((np.diff(found, prepend=0) * found / (ends + 1)).sum() / truth.sum())


def auroc(scores: Array, truth: Bools) -> float:
    """P(true above false) + ½ P(tie), by midranks; NaN where all or none is true."""
    held, n = int(truth.sum()), len(truth)
    if held in (0, n):
        return float("nan")
    return float((rankdata(scores)[truth].sum() - held * (held + 1) / 2) / (held * (n - held)))


def f1(predicted: Bools, truth: Bools) -> float:
    """2 tp / (predicted + true); NaN where both are empty."""
    total = int(predicted.sum() + truth.sum())
    return 2 * float((predicted & truth).sum()) / total if total else float("nan")


def iou(predicted: Bools, truth: Bools) -> float:
    """Intersection over union; NaN where both are empty."""
    union = int((predicted | truth).sum())
    return float((predicted & truth).sum()) / union if union else float("nan")


def top_share(values: Array, share: float, *, fewest: int = 1) -> Bools:
    """The samples among the top `share`, at least `fewest`; all that tie with the last one are in."""
    count = min(max(fewest, round(share * len(values))), len(values))
    return values >= np.partition(values, len(values) - count)[len(values) - count]


def tuned_share(scores: Array, truth: Bools, grid: tuple[float, ...]) -> float:
    """The share of the grid whose top samples agree best (F1) with the truth; of equal ones the first."""
    reached = [f1(top_share(scores, share), truth) for share in grid]
    return grid[int(np.argmax(np.nan_to_num(reached)))]


def cosy(natural: Array, generated: Array) -> dict[str, float | None]:
    """CoSy: AUC = P(generated > natural) + ½ P(tie), and MAD = (mean difference) / sample sd of the natural ones.

    Parameters
    ----------
    natural : [n] activations on control samples; generated : [m] on samples made for, or known to show, the label.

    Source: CoSy (arXiv 2405.20331); ties count half (there they count as losses), MAD is 0 where sd is 0. A secondary
    score: it cannot see labels that are too narrow.
    """
    if not len(natural) or not len(generated):
        return {"auc": None, "mad": None}
    truth = np.arange(len(natural) + len(generated)) >= len(natural)
    spread = float(np.std(natural, ddof=1)) if len(natural) > 1 else 0.0
    mad = (float(np.mean(generated)) - float(np.mean(natural))) / spread if spread > 0 else 0.0
    return {"auc": auroc(np.concatenate([natural, generated]), truth), "mad": mad}


def clarity_of_concept(concept: Array, natural: Array) -> tuple[float, int] | None:
    """FADE clarity |2 AUROC - 1| and its sign (-1: inverse coding); None where one side is empty.

    Source: FADE; a secondary score.
    """
    reached = cosy(natural, concept)["auc"]
    return None if reached is None else (abs(2 * reached - 1), 1 if reached >= 0.5 else -1)


def responsiveness(activations: Array, ratings: NDArray[np.integer]) -> tuple[float, float, int] | None:
    """FADE responsiveness, purity and sign: ratings are 2 (shows it), 1 (unclear, left out), 0; None without both."""
    judged = ratings != 1
    truth, values = ratings[judged] == 2, activations[judged]
    reached = auroc(values, truth)
    if np.isnan(reached):
        return None
    sign = 1 if reached >= 0.5 else -1
    return abs(2 * reached - 1), average_precision(sign * values, truth), sign


def faithfulness_of_steering(shares: dict[float, float]) -> tuple[float, float] | None:
    """FADE faithfulness max(0, max_f c(f) - c(0)) / (1 - c(0)) and the factor f that reaches it.

    Parameters
    ----------
    shares : factor -> share of outputs that express the concept; 0 must be among the factors.

    Returns
    -------
    None where every output expresses it already (c(0) = 1). The factor is the maximising one (smallest |f| of equals).
    """
    base = shares[0]
    if base >= 1:
        return None
    factor = max(shares, key=lambda f: (shares[f], -abs(f), f))
    return max(0.0, shares[factor] - base) / (1 - base), factor
