"""Bootstrap intervals of a mean, and of the paired difference of two methods on the same samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from services.model.attribution.evaluation.errors import BadMaps, BadMetricParameter

BLOCK = 1 << 22


@dataclass(frozen=True)
class Interval:
    """A mean over the samples where the figure is defined, with its percentile interval.

    Parameters
    ----------
    mean, low, high : NaN where no sample is defined.
    n : samples that count.
    undefined : samples left out because the figure is not defined for them (NaN), such as empty masks.
    """

    mean: float
    low: float
    high: float
    n: int
    undefined: int


def interval(values: Tensor, *, level: float = 0.95, draws: int = 2000, seed: int = 0) -> Interval:
    """Percentile bootstrap of the mean.

    Parameters
    ----------
    values : [B], NaN where undefined.
    level : coverage in (0, 1).

    Source: Efron and Tibshirani 1993, ch. 13.
    """
    if not 0 < level < 1 or draws < 1:
        raise BadMetricParameter(f"level {level} and {draws} draws", field="level")
    flat = values.detach().double().flatten().cpu()
    known = flat[~flat.isnan()]
    n, undefined = len(known), len(flat) - len(known)
    if not n:
        return Interval(float("nan"), float("nan"), float("nan"), 0, undefined)
    generator = torch.Generator().manual_seed(seed)
    per_block = max(1, BLOCK // n)
    means = torch.cat([
        known[torch.randint(n, (min(per_block, draws - start), n), generator=generator)].mean(1)
        for start in range(0, draws, per_block)
    ])  # fmt: skip
    tail = (1 - level) / 2
    low, high = torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(float(known.mean()), low, high, n, undefined)


def paired_interval(ours: Tensor, theirs: Tensor, *, level: float = 0.95, draws: int = 2000, seed: int = 0) -> Interval:
    """Interval of the mean difference on the same samples; a sample undefined for either is left out."""
    if ours.shape != theirs.shape:
        raise BadMaps(f"{tuple(ours.shape)} and {tuple(theirs.shape)} are not paired", field="theirs")
    return interval(ours - theirs, level=level, draws=draws, seed=seed)
