"""Which component of one set belongs to which of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.comparison import TooManyToPair

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
MOST_PAIRED = 5000


def mutual_nearest(ours_to_theirs: Integers, theirs_to_ours: Integers) -> tuple[Integers, Integers]:
    """Pairs that are each other's nearest.

    Parameters
    ----------
    ours_to_theirs : [A] their row nearest to each of ours. theirs_to_ours : [B] our row nearest to each of theirs.

    Returns
    -------
    Rows of ours and of theirs, equally long, ascending in ours. No row is in two pairs.
    """
    ours = np.arange(len(ours_to_theirs))
    good = theirs_to_ours[ours_to_theirs] == ours if len(theirs_to_ours) else np.zeros(len(ours), bool)
    return ours[good], ours_to_theirs[good]


def one_to_one(ours: Floats, theirs: Floats) -> tuple[Integers, Integers]:
    """Pairs of least total distance 1 - cos, every component of the smaller set in one pair.

    Parameters
    ----------
    ours : [A, d], theirs : [B, d] unit rows; at most 5,000 each.

    Returns
    -------
    Rows of ours and of theirs, [min(A, B)] each, ascending in ours.

    Raises
    ------
    TooManyToPair

    Source: Kuhn 1955 (Hungarian method), as `scipy.optimize.linear_sum_assignment`.
    """
    from scipy.optimize import linear_sum_assignment

    most = max(len(ours), len(theirs))
    if most > MOST_PAIRED:
        raise TooManyToPair(f"{most:,} components on one side", field="pairing", limit=MOST_PAIRED)
    rows, columns = linear_sum_assignment(1 - ours @ theirs.T)
    return rows.astype(np.int64), columns.astype(np.int64)
