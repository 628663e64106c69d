"""What became of each component between two states of one network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.explanation.comparison.similarity import nearest_in, relative_similarity, too_diffuse

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
FATES = ("kept", "changed", "undecided", "lost", "gained", "absent")
KEPT, CHANGED, UNDECIDED, LOST, GAINED, ABSENT = range(6)


@dataclass(frozen=True)
class State:
    """One layer's components in one of the two states; row i is the same component in both.

    Parameters
    ----------
    vectors : [C, d] float32 unit rows, anything where there is none. good : [C] whether it has one.
    centred : [C, d] the same without the direction of the mean picture; ceiling : [C], see `Placed`.
    ids, values : [C, k] examples, -1 = empty, and their activations. n_valid : [C] how many are evidence.
    clarity : [C] float32, NaN where undefined.
    """

    vectors: Floats
    centred: Floats
    ceiling: Doubles
    good: NDArray[np.bool_]
    ids: NDArray[np.int64]
    values: Floats
    n_valid: NDArray[np.int64]
    clarity: Floats


@dataclass(frozen=True)
class Drift:
    """[C] each; NaN (or -1 for `nearest`) where a side has nothing to compare.

    `relative` is 0 at what random sets reach and 1 at an unchanged meaning. `nearest` is the new component most like
    the old one, `nearest_cosine` its cosine.
    """

    fate: NDArray[np.uint8]
    cosine: Floats
    relative: Doubles
    overlap: Doubles
    scale: Doubles
    clarity_change: Doubles
    nearest: NDArray[np.int64]
    nearest_cosine: Floats


def drift_of(old: State, new: State, bank: Floats, *, threshold: float, same_samples: bool) -> Drift:
    """Compare component i with component i.

    Parameters
    ----------
    bank : [R, d] random sets of the new state's data, without that direction too: what a centred cosine is by chance.
    threshold : least `relative` of a component that was kept.
    same_samples : whether sample numbers mean the same pictures in both; without that there is no overlap.

    Returns
    -------
    Drift. `cosine` is of the vectors as they are, `relative` and `nearest` of the centred ones; `scale` is the
    new mean magnitude of the examples' activations over the old one.

    Source: ours, after the drift figures that SemanticLens names for checkpoints.
    """
    both = old.good & new.good
    rows = np.flatnonzero(both)
    count = len(old.good)
    cosine, nearest_cosine = (np.full(count, np.nan, np.float32) for _ in range(2))
    relative, overlap, scale, clarity = (np.full(count, np.nan) for _ in range(4))
    nearest = np.full(count, -1, np.int64)
    cosine[rows] = np.einsum("cd,cd->c", old.vectors[rows], new.vectors[rows])
    chance = old.centred[rows] @ bank.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = np.einsum("cd,cd->c", old.centred[rows], new.centred[rows])
    most = np.ones(len(rows)) if same_samples else old.ceiling[rows]
    relative[rows] = relative_similarity(centred, chance, most)
    if same_samples:
        overlap[rows] = jaccard(_evident(old, rows), _evident(new, rows))
    before, after = _magnitude(old), _magnitude(new)
    scale[rows] = np.divide(after[rows], before[rows], out=np.full(len(rows), np.nan), where=before[rows] > 0)
    clarity[rows] = new.clarity[rows].astype(np.float64) - old.clarity[rows]
    evident, left = np.flatnonzero(new.good), np.flatnonzero(old.good)
    if len(evident) and len(left):
        found = nearest_in(old.centred[left], new.centred[evident], np.array([len(evident)]))
        nearest[left], nearest_cosine[left] = evident[found.index[:, 0]], found.score[:, 0]
    fate = np.select(
        [
            ~old.good & ~new.good,
            old.good & ~new.good,
            ~old.good & new.good,
            relative >= threshold,
            too_diffuse(relative, old.ceiling),
        ],
        [ABSENT, LOST, GAINED, KEPT, UNDECIDED],
        CHANGED,
    ).astype(np.uint8)
    return Drift(fate, cosine, relative, overlap, scale, clarity, nearest, nearest_cosine)


def jaccard(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> Doubles:
    """Shared share of two lists of examples, row by row.

    Parameters
    ----------
    ours : [C, k], theirs : [C, m] sample numbers without repetition in a row; -1 = empty.

    Returns
    -------
    [C] float64, |both| / |either| in [0, 1]; NaN where both rows are empty.
    """
    common = np.zeros(len(ours))
    for column in range(ours.shape[1]):
        sample = ours[:, column : column + 1]
        common += ((theirs == sample) & (sample >= 0)).any(axis=1)
    either = (ours >= 0).sum(axis=1) + (theirs >= 0).sum(axis=1) - common
    return np.divide(common, either, out=np.full(len(ours), np.nan), where=either > 0)


def _evident(state: State, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    ids = state.ids[rows]
    return np.where(np.arange(ids.shape[1]) < state.n_valid[rows, None], ids, -1)


def _magnitude(state: State) -> Doubles:
    """Mean magnitude of the activations of each component's valid examples; 0 without any."""
    valid = (np.arange(state.ids.shape[1]) < state.n_valid[:, None]) & (state.ids >= 0)
    total = np.where(valid, np.abs(state.values.astype(np.float64)), 0).sum(axis=1)
    return total / np.maximum(valid.sum(axis=1), 1)
