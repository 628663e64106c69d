"""The best names of each component, without ever holding all scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
BEST = 5
SPARE = 8
COMPONENTS = 512


@dataclass(frozen=True)
class Ranked:
    """The best names, best first, equal scores by ascending index.

    Attributes
    ----------
    scores : [C, L] float32; index : [C, L] int32 into the vocabulary, -1 and -inf where there are fewer names.
    """

    scores: Floats
    index: NDArray[np.int32]

    @property
    def margin(self) -> Floats:
        """[C] distance from the best to the runner-up; 0 where either is missing."""
        if self.scores.shape[1] < 2:
            return np.zeros(len(self.scores), np.float32)
        usable = (self.index[:, :2] >= 0).all(axis=1)
        first, second = np.where(usable[:, None], self.scores[:, :2], 0).T
        return first - second

    def without(self, unusable: NDArray[np.bool_]) -> Ranked:
        """Take all names from some components."""
        gone = unusable[:, None]
        return Ranked(np.where(gone, np.float32(-np.inf), self.scores), np.where(gone, np.int32(-1), self.index))


def best_of(scores: Floats, *, names: int = BEST, first: int = 0) -> Ranked:
    """Rank the columns of scores [C, T]; column j is name `first + j`. NaN counts as -inf."""
    import torch

    given = torch.from_numpy(np.nan_to_num(scores, nan=-np.inf, posinf=np.inf, neginf=-np.inf))
    kept = torch.topk(given, min(names + SPARE, scores.shape[1]), dim=1)
    return _ordered(kept.values.numpy(), kept.indices.numpy() + first, names)


def merged(one: Ranked, other: Ranked) -> Ranked:
    """Join the rankings of two parts of a vocabulary."""
    names = one.scores.shape[1]
    scores = np.concatenate([one.scores, other.scores], axis=1)
    return _ordered(scores, np.concatenate([one.index, other.index], axis=1), names)


def nothing(components: int, names: int = BEST) -> Ranked:
    """Start with no names."""
    return Ranked(np.full((components, names), -np.inf, np.float32), np.full((components, names), -1, np.int32))


def _ordered(scores: Floats, index: NDArray[np.integer], names: int) -> Ranked:
    place = np.where(np.isneginf(scores), np.iinfo(np.int64).max, index)
    order = np.lexsort((place, -scores), axis=1)[:, :names]
    kept = np.take_along_axis(scores, order, axis=1)
    chosen = np.take_along_axis(index, order, axis=1)
    ranked = nothing(len(scores), names)
    ranked.scores[:, : kept.shape[1]] = kept
    ranked.index[:, : kept.shape[1]] = np.where(np.isneginf(kept), -1, chosen)
    return ranked


def rank_by_product(vectors: Floats, texts: Floats, *, names: int = BEST) -> Ranked:
    """Rank the names of a vocabulary by inner product with each component's vector.

    Parameters
    ----------
    vectors : [C, d] float32; texts : [T, d] float32. Scores are made for 512 components at a time.
    """
    pieces = [
        best_of(vectors[start : start + COMPONENTS] @ texts.T, names=names)
        for start in range(0, len(vectors), COMPONENTS)
    ]
    if not pieces:
        return nothing(0, names)
    return Ranked(np.concatenate([piece.scores for piece in pieces]), np.concatenate([p.index for p in pieces]))
