"""Groups of samples that belong together, such as crops of one photograph, and halves that never share one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def group_numbers(groups: Sequence[str | None]) -> NDArray[np.int64]:
    """A number for each sample's group; samples without one are groups of their own. [N] int64."""
    known: dict[str, int] = {}
    return np.array(
        [
            known.setdefault(group, len(known)) if group is not None else len(groups) + place
            for place, group in enumerate(groups)
        ],
        dtype=np.int64,
    )


def held_out_groups(numbers: NDArray[np.int64], *, share: float = 0.2, seed: int = 0) -> NDArray[np.bool_]:
    """Which samples are held out: whole groups, in seeded order, until `share` of the samples is reached. [N] bool."""
    names, sizes = np.unique(numbers, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    before = np.cumsum(sizes[order]) - sizes[order]
    held: NDArray[np.bool_] = np.isin(numbers, names[order[before < share * len(numbers)]])
    return held
