"""From alignments, relevance and evidence to one verdict a component, and to what a class rests on."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
VERDICTS = ("forbidden", "spurious", "mixed", "valid", "unexpected", "idle", "unclear", "insufficient_evidence")
FORBIDDEN, SPURIOUS, MIXED, VALID, UNEXPECTED, IDLE, UNCLEAR, INSUFFICIENT = range(len(VERDICTS))
FLAGGED = (FORBIDDEN, SPURIOUS, MIXED)


@dataclass(frozen=True)
class Rules:
    """When a concept counts as found, and when a component is judged at all.

    Parameters
    ----------
    fdr : q at or below it is a find. min_distinct : fewer distinct example pictures are no evidence.
    min_clarity_z : below it a component is unclear; None judges all. unexpected : share from which a component that
        no concept of the lists explains is worth a look.
    """

    fdr: float
    min_distinct: int
    min_clarity_z: float | None
    unexpected: float


@dataclass(frozen=True)
class Evidence:
    """What is known of C components.

    Parameters
    ----------
    judged : [C] bool, neither dead nor without a vector. distinct : [C] distinct example pictures.
    clarity_z : [C], NaN where undefined. share : [C], see `relevance_shares`.
    """

    judged: NDArray[np.bool_]
    distinct: NDArray[np.int64]
    clarity_z: Doubles
    share: Doubles


def relevance_shares(relevance: NDArray[np.floating]) -> Doubles:
    """|R_k| / sum |R|, float64 in [0, 1]; all 0 where nothing is relevant. [C] in, [C] out."""
    size = np.abs(np.asarray(relevance, np.float64))
    total = size.sum()
    return size / total if total > 0 else np.zeros_like(size)


def decide(
    evidence: Evidence, valid: Doubles, spurious: Doubles, forbidden: Doubles, rules: Rules
) -> NDArray[np.uint8]:
    """One verdict a component.

    Parameters
    ----------
    valid, spurious, forbidden : [C, *] q against the concepts of each list; NaN is no find, and a list may be empty.

    Returns
    -------
    [C] uint8, places in `VERDICTS`. Forbidden beats everything; spurious and valid together are mixed.
    """

    def found(q: Doubles) -> NDArray[np.bool_]:
        return np.asarray((np.nan_to_num(q, nan=1.0) <= rules.fdr).any(axis=1))

    good, bad, never = found(valid), found(spurious), found(forbidden)
    unclear = np.zeros(len(good), dtype=bool)
    if rules.min_clarity_z is not None:
        unclear = ~(evidence.clarity_z >= rules.min_clarity_z)  # unknown is unclear
    return np.select(
        [
            ~evidence.judged | (evidence.distinct < rules.min_distinct),
            unclear,
            never,
            bad & good,
            bad,
            good,
            evidence.share >= rules.unexpected,
        ],
        [INSUFFICIENT, UNCLEAR, FORBIDDEN, MIXED, SPURIOUS, VALID, UNEXPECTED],
        IDLE,
    ).astype(np.uint8)


def totals(verdicts: NDArray[np.uint8], share: Doubles) -> tuple[NDArray[np.int64], Doubles]:
    """Number of components of each verdict, and the share of relevance that they carry together: [V] and [V]."""
    counts = np.bincount(verdicts, minlength=len(VERDICTS))
    return counts, np.bincount(verdicts, weights=share, minlength=len(VERDICTS))


def discoveries_needed(smallest_p: float, tests: int, fdr: float) -> int:
    """How many discoveries at the smallest attainable p reach the rate together: smallest m with p <= fdr m / tests."""
    return max(1, ceil(smallest_p * tests / fdr - 1e-9))


def distinct_examples(
    ids: NDArray[np.int64], n_valid: NDArray[np.integer], group: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many groups the valid examples of each component come from.

    Parameters
    ----------
    ids : [C, n] sample ids, -1 where empty; the first `n_valid` are evidence. group : [N] group of each sample.
    """
    evident = (ids >= 0) & (np.arange(ids.shape[1]) < n_valid[:, None])
    of = np.where(evident, group[np.maximum(ids, 0)] if len(group) else -1, -1)
    ordered = np.sort(of, axis=1)
    new = np.ones(ordered.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return np.asarray((new & (ordered >= 0)).sum(axis=1), dtype=np.int64)
