"""Probe, tune and held-out samples: what makes a label never judges it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import HeldOutOverlap, TooFewGroups

Ints = NDArray[np.int64]
PROBE, TUNE = 0.70, 0.05
FEWEST_GROUPS = 10


@dataclass(frozen=True)
class Split:
    """Sample ids of the three parts, ascending, and the group number of every sample.

    Attributes
    ----------
    probe : makes labels. tune : sets thresholds. held_out : gives every figure. groups : [N].

    Raises
    ------
    HeldOutOverlap : two parts share a sample or a group.
    """

    probe: Ints
    tune: Ints
    held_out: Ints
    groups: Ints

    def __post_init__(self) -> None:
        parts = [set(np.unique(self.groups[part]).tolist()) for part in (self.probe, self.tune, self.held_out)]
        if parts[0] & parts[2] or parts[0] & parts[1] or parts[1] & parts[2]:
            raise HeldOutOverlap("two parts of the split share a group", field="split")


def split_by_group(groups: Ints, *, seed: int = 0) -> Split:
    """Divide samples 70 / 5 / 25 % by group, in an order drawn from the seed.

    Parameters
    ----------
    groups : [N] int64, equal for samples of one source photo.

    Raises
    ------
    TooFewGroups : fewer than ten groups; everything is never used for everything instead.
    """
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < FEWEST_GROUPS:
        raise TooFewGroups(
            f"{len(names)} groups of pictures; {FEWEST_GROUPS} are needed", field="snapshot", n=len(names)
        )
    order = np.random.default_rng(seed).permutation(len(names))
    share = np.cumsum(sizes[order]) / len(groups)
    probe = max(1, min(int(np.searchsorted(share, PROBE)) + 1, len(names) - 3))
    tune = max(1, min(int(np.searchsorted(share, PROBE + TUNE)) + 1 - probe, len(names) - probe - 2))
    parts = np.split(names[order], [probe, probe + tune])
    return Split(*(np.flatnonzero(np.isin(groups, part)) for part in parts), groups)
