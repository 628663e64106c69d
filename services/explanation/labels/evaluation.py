"""Labels judged on held-out samples: per component with intervals, per scorer with controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.explanation.labels.intervals import SAMPLE_DRAWS, group_weights
from services.explanation.labels.label_metrics import (
    average_precision,
    correlation,
    correlations,
    f1,
    iou,
    top_share,
    tuned_share,
)

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
ACTIVE_SHARE, FEWEST_ACTIVE = 0.01, 10
GRID = (1e-4, 1e-3, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
BLOCK = 256


@dataclass(frozen=True)
class Judged:
    """Scores of one label per component; NaN where undefined (no label, constant column).

    Attributes
    ----------
    correlation : simulation correlation; low, high : its 95 % bootstrap interval over groups.
    auprc, f1, iou : against the component's most active held-out samples.
    """

    correlation: Doubles
    low: Doubles
    high: Doubles
    auprc: Doubles
    f1: Doubles
    iou: Doubles


@dataclass(frozen=True)
class HeldOut:
    """The samples that judge: activations of tune and held-out samples [n, C], groups of the held-out ones [n]."""

    tune: Floats
    activations: Floats
    groups: Ints
    seed: int = 0
    draws: int = SAMPLE_DRAWS


def judge(samples: HeldOut, tune: Floats, simulated: Floats, has_label: NDArray[np.bool_]) -> Judged:
    """Judge one label per component.

    Parameters
    ----------
    tune, simulated : [n, C] what the label predicts for the tune and the held-out samples: similarities of the
        label's text, or the truth of a formula. has_label : [C].

    Source: simulation correlation as in Linear Explanations (ICML 2024); truth = the top 1 % of activations, at least
    10 samples (Neuron-Eval, ICML 2025). The threshold of F1 and IoU is chosen on the tune samples.
    """
    a = samples.activations
    made = {name: np.full(a.shape[1], np.nan) for name in ("correlation", "low", "high", "auprc", "f1", "iou")}
    weights = group_weights(samples.groups, samples.draws, seed=samples.seed)
    rows = np.flatnonzero(has_label)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        made["correlation"][block] = correlation(a[:, block], simulated[:, block])
        drawn = correlations(a[:, block], simulated[:, block], weights)
        usable = np.isfinite(drawn).any(axis=0) & np.isfinite(made["correlation"][block])
        if usable.any():
            low, high = np.nanquantile(drawn[:, usable], [0.025, 0.975], axis=0)
            made["low"][block[usable]], made["high"][block[usable]] = low, high
    for c in rows:
        if a[:, c].max() <= a[:, c].min():
            continue
        truth, scores = active(a[:, c]), simulated[:, c]
        made["auprc"][c] = average_precision(scores, truth)
        share = tuned_share(tune[:, c], active(samples.tune[:, c]), GRID) if len(tune) else ACTIVE_SHARE
        predicted = top_share(scores, share)
        made["f1"][c], made["iou"][c] = f1(predicted, truth), iou(predicted, truth)
    return Judged(**made)


def active(column: Floats) -> NDArray[np.bool_]:
    """The samples that count as active: the top 1 %, at least 10 but at most half of them."""
    return top_share(column, ACTIVE_SHARE, fewest=max(1, min(FEWEST_ACTIVE, len(column) // 2)))


def random_labels(components: Sequence[int], names: int, *, seed: int = 0) -> Ints:
    """One random name per component, the same whichever components are asked for."""
    return np.array([np.random.default_rng([seed, c]).integers(names) for c in components], np.int64)


def most_frequent(index: NDArray[np.integer]) -> int:
    """The label that most components have; of equal ones the smallest."""
    return int(np.bincount(index[index >= 0]).argmax()) if (index >= 0).any() else 0


def unsure(label: Judged, control: Judged, same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Labels whose correlation may be nothing: the interval includes 0 or overlaps that of a random label.

    Parameters
    ----------
    same : [C] where the random label happens to be the label itself, which then says nothing about it.
    """
    nothing = ~np.isfinite(label.low) | (label.low <= 0)
    overlap = ~same & np.isfinite(control.high) & (label.low <= control.high)
    return nothing | overlap
