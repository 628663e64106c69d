"""Semantic vectors and prototypes: where a component lies in the encoder's space, and its separate meanings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.explanation.semantics.clusters import Split, split_in_two
from services.explanation.semantics.embeddings import unit_rows
from services.explanation.semantics.metrics import Doubles, Floats, standardised

SPLIT_Z = 3.0
SMALLEST_SHARE = 0.1
SMALLEST_CLUSTER = 3
MOST_PROTOTYPES = 3
SMALLEST_LENGTH = 1e-6


def semantic_vectors(examples: Floats) -> tuple[Floats, Floats]:
    """Unit mean of each component's example embeddings, and the mean's length.

    Parameters
    ----------
    examples : [C, n, d] float32 unit rows, the valid examples.

    Returns
    -------
    ([C, d] float32 unit rows, [C] float32 length in [0, 1]). A length near 0 means that the examples cancel out.

    Source: SemanticLens (arXiv 2501.05398) uses the raw mean; normalising each embedding first is ours.
    """
    mean = examples.mean(axis=1, dtype=np.float64)
    length = np.linalg.norm(mean, axis=1)
    return (mean / np.maximum(length, 1e-12)[:, None]).astype(np.float32), length.astype(np.float32)


@dataclass(frozen=True)
class SplitNull:
    """Clarity and split share of null sets of one topic, for one number of examples. Both [S] float64."""

    clarity: Doubles
    share: Doubles


def null_for(nulls: Mapping[int, SplitNull], n: int) -> SplitNull:
    """The null of the largest kept number of examples not above n.

    The share of one diffuse group grows as n falls, so a null of fewer examples errs on the side of one meaning.
    """
    return nulls[max((size for size in nulls if size <= n), default=min(nulls))]


def memberships(
    grams: Doubles, split: Split, clarities: Doubles, nulls: Mapping[int, SplitNull], *, seed: int = 0
) -> NDArray[np.int8]:
    """Which prototype each example belongs to.

    A component is split in two where the split explains more than it does for null sets of one topic and similar
    clarity (z >= 3) and both halves have at least max(3, 10 %) examples; the larger half is tried once more.

    Parameters
    ----------
    grams, split : [C, n, n] of the examples' unit rows, and its best division in two; clarities : [C].
    nulls : by number of examples; the larger half is held against the null of its own number.

    Returns
    -------
    [C, n] int8, prototype numbers 0 to 2, prototype 0 having the most examples.

    Source: ours.
    """
    c, n = split.second.shape
    numbers = np.zeros((c, n), dtype=np.int8)
    smallest = max(SMALLEST_CLUSTER, int(np.ceil(SMALLEST_SHARE * n)))
    if n < 2 * smallest:
        return numbers
    null = null_for(nulls, n)
    z = standardised(split.share, clarities, null.clarity, null.share)
    sizes = split.second.sum(axis=1)
    good = (z >= SPLIT_Z) & (sizes >= smallest) & (n - sizes >= smallest)
    numbers[good] = split.second[good]
    for row in np.flatnonzero(good):
        _split_larger_half(grams[row], numbers[row], nulls, smallest=smallest, seed=seed)
    return _by_size(numbers)


def _split_larger_half(
    own: Doubles, numbers: NDArray[np.int8], nulls: Mapping[int, SplitNull], *, smallest: int, seed: int
) -> None:
    larger = np.int8(np.bincount(numbers, minlength=2).argmax())
    inside = np.flatnonzero(numbers == larger)
    m = len(inside)
    if m < 2 * smallest:
        return
    part = own[np.ix_(inside, inside)][None]
    split = split_in_two(part, seed=seed)
    sizes = int(split.second.sum())
    clear = (part.sum(axis=(1, 2)) - m) / (m * (m - 1))
    null = null_for(nulls, m)
    z = standardised(split.share, clear, null.clarity, null.share)[0]
    if z >= SPLIT_Z and smallest <= sizes <= m - smallest:
        numbers[inside[split.second[0]]] = 2


def _by_size(numbers: NDArray[np.int8]) -> NDArray[np.int8]:
    """Renumber so that larger prototypes come first; equal sizes keep the order of their best example."""
    counts = np.stack([(numbers == prototype).sum(axis=1) for prototype in range(MOST_PROTOTYPES)], axis=1)
    rank = np.argsort(np.argsort(-counts, axis=1, kind="stable"), axis=1, kind="stable")
    return np.take_along_axis(rank, numbers.astype(np.int64), axis=1).astype(np.int8)


def prototype_vectors(
    examples: Floats, numbers: NDArray[np.int8]
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int8]]:
    """Unit mean of each prototype's examples; one whose examples cancel out (mean shorter than 1e-6) has none.

    Parameters
    ----------
    examples : [C, n, d] unit rows; numbers : [C, n] as `memberships` returns them.

    Returns
    -------
    ([P, d] float32 unit rows, [P] row of the component, [P] prototype number), by component, then number.
    """
    rows, component, prototype = [], [], []
    for number in range(MOST_PROTOTYPES):
        members = numbers == number
        there = np.flatnonzero(members.any(axis=1))
        sums = (members[there][:, None, :].astype(np.float32) @ examples[there])[:, 0]
        long = np.linalg.norm(sums, axis=1) >= SMALLEST_LENGTH * members[there].sum(axis=1)
        there, sums = there[long], sums[long]
        rows.append(unit_rows(sums))
        component.append(there)
        prototype.append(np.full(len(there), number, dtype=np.int8))
    joined = np.concatenate(component)
    order = np.lexsort((np.concatenate(prototype), joined))
    return np.concatenate(rows)[order], joined[order], np.concatenate(prototype)[order]
