"""How alike two sets of components are, what chance would give, and what the best possible answer is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.integer]
BLOCK = 2048
DRAWS = 20
SMALLEST_SPAN = 0.05
DIFFUSE = 0.2


@dataclass(frozen=True)
class Nearest:
    """The most similar component of the other set, in each of its groups.

    Attributes
    ----------
    score : [A, G] float32 cosine; -inf for a group without members. index : [A, G] int64 row in the other set.
    """

    score: Floats
    index: NDArray[np.int64]

    def overall(self) -> tuple[Floats, NDArray[np.int64]]:
        """Cosine and row of the nearest over all groups: [A] each; of equal ones the first."""
        rows = np.arange(len(self.score))
        best = self.score.argmax(axis=1)
        return self.score[rows, best], self.index[rows, best]


def nearest_in(ours: Floats, theirs: Floats, groups: Integers) -> Nearest:
    """Find each component's most similar one in every group (layer) of another set.

    Parameters
    ----------
    ours : [A, d] unit rows. theirs : [B, d] unit rows, one group after the other.
    groups : [G] how many of their rows each group has; their sum is B.

    Returns
    -------
    Nearest. In blocks of 2,048 rows, so that no A x B matrix exists.
    """
    ends = np.cumsum(groups)
    score = np.full((len(ours), len(groups)), -np.inf, np.float32)
    index = np.zeros((len(ours), len(groups)), np.int64)
    for start in range(0, len(ours), BLOCK):
        cosine = ours[start : start + BLOCK] @ theirs.T
        rows = np.arange(len(cosine))
        for group, (size, end) in enumerate(zip(groups, ends, strict=True)):
            if size:
                at = end - size + cosine[:, end - size : end].argmax(axis=1)
                index[start + rows, group], score[start + rows, group] = at, cosine[rows, at]
    return Nearest(score, index)


def set_similarity(ours: Floats, theirs: Floats) -> float:
    """Mean over our components of the cosine to their nearest one.

    Parameters
    ----------
    ours : [A, d] unit rows, A >= 1. theirs : [B, d] unit rows, B >= 1.

    Returns
    -------
    S(A -> B) in [-1, 1]; not symmetric, and growing with B: see `chance_of_nearest`.

    Source: SemanticLens (arXiv 2501.05398), similarity of two sets of components.
    """
    return float(nearest_in(ours, theirs, np.array([len(theirs)])).score.mean(dtype=np.float64))


@dataclass(frozen=True)
class Chance:
    """What as many random sets of pictures as the other side has components would reach.

    Attributes
    ----------
    expected : [S, A] float32, each component's expected nearest cosine, for each size of the other set.
    groups : [S, T, G] float64, mean over each group of our components, in each of T draws.
    """

    expected: Floats
    groups: Doubles


def chance_of_nearest(
    ours: Floats, groups: Integers, bank: Floats, sizes: list[int], *, draws: int = DRAWS, seed: int = 0
) -> Chance:
    """Replace the other set by random-set vectors, `draws` times.

    Parameters
    ----------
    ours : [A, d] unit rows, one group after the other; groups : [G] their counts.
    bank : [R, d] unit mean vectors of random sets of pictures, in the other side's data.
    sizes : how many components the other set has; several at once, since larger sets contain the smaller draws.
        Drawn with replacement: for more than R the bank is exhausted and the chance is a little too low.

    Returns
    -------
    Chance

    Source: ours. A set similarity grows with the size of the other set, so it is only read beside this.
    """
    draw = np.random.default_rng(seed)
    order = np.argsort(sizes, kind="stable")
    drawn = [draw.integers(0, len(bank), max(sizes, default=0)) for _ in range(draws)]
    expected = np.zeros((len(sizes), len(ours)), np.float32)
    of_groups = np.zeros((len(sizes), draws, len(groups)))
    ends = np.cumsum(groups)
    for start in range(0, len(ours), BLOCK):
        cosine = np.ascontiguousarray((ours[start : start + BLOCK] @ bank.T).T)  # [R, block]
        width = cosine.shape[1]
        for turn, sequence in enumerate(drawn):
            best, begin = np.full(width, -1, np.float32), 0
            for place in order:
                fresh = np.unique(sequence[begin : sizes[place]])
                if len(fresh):
                    best = np.maximum(best, cosine[fresh].max(axis=0))
                begin = sizes[place]
                expected[place, start : start + width] += best / draws
                for group, (size, end) in enumerate(zip(groups, ends, strict=True)):
                    inside = best[max(end - size - start, 0) : max(end - start, 0)]
                    of_groups[place, turn, group] += inside.sum(dtype=np.float64) / max(size, 1)
    return Chance(expected, of_groups)


def relative_similarity(score: Floats, chance: Floats, most: Doubles) -> Doubles:
    """Where a cosine lies between chance (0) and the most that is possible (1).

    Parameters
    ----------
    score, chance : [A] cosines. most : [A] 1 where both sides saw the same pictures; on different ones what each
        component would reach with itself, had its examples been drawn anew (`Placed.ceiling`).

    Returns
    -------
    [A] float64, NaN where chance and most are less than 0.05 apart: the component is too diffuse for an answer.

    Source: ours; encoders differ in how large cosines are, these figures do not.
    """
    span = most - chance
    return np.where(span >= SMALLEST_SPAN, (score - chance) / np.maximum(span, SMALLEST_SPAN), np.nan)


def too_diffuse(relative: Doubles, most: Doubles) -> NDArray[np.bool_]:
    """Whether not being found says nothing: no relative similarity, or less than 0.2 to itself with other examples.

    Parameters
    ----------
    relative : [A] of `relative_similarity`. most : [A] of `Placed.ceiling`.
    """
    return np.isnan(relative) | (most < DIFFUSE)


def standard_score(value: float, draws: Doubles) -> float | None:
    """(value - mean) / standard deviation of the draws; None where they do not vary."""
    spread = float(np.std(draws, ddof=1)) if len(draws) > 1 else 0.0
    return (value - float(np.mean(draws))) / spread if spread > 1e-9 else None
