"""From token activations to one value a window."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from contracts.errors import UnknownPooling
from contracts.language import NoTokens

TOP = 3
FLOAT16_MAX = 65_504.0


def pooled(values: Tensor, windows: Tensor, n: int, pool: str) -> Tensor:
    """Pool tokens by window.

    Parameters
    ----------
    values : [K, d] float, kept tokens only. windows : [K] int64 in 0..n-1, ascending; within a window in text order.
    pool : max (signed), mean, last, top3 (mean of the three largest, or of all if there are fewer), absmax (the value
        whose magnitude is largest).

    Returns
    -------
    [n, d] float32.

    Raises
    ------
    UnknownPooling. NoTokens : a window without a kept token, by index.

    Source: maximum as in Atlas-Alignment (arXiv 2510.27413), absmax as in FADE (arXiv 2502.16994).
    """
    if pool not in POOLS:
        raise UnknownPooling(f"there is no pool {pool}", field="pool", pools=[*POOLS])
    counts = torch.bincount(windows, minlength=n)
    if bool((counts == 0).any()):
        window = int((counts == 0).nonzero()[0])
        raise NoTokens(f"window {window} has no kept token", field="texts", window=window)
    return POOLS[pool](values.float(), windows, counts)


def _max(values: Tensor, windows: Tensor, counts: Tensor) -> Tensor:
    start = values.new_full((len(counts), values.shape[1]), -torch.inf)
    return start.scatter_reduce(0, windows[:, None].expand_as(values), values, "amax")


def _mean(values: Tensor, windows: Tensor, counts: Tensor) -> Tensor:
    total = values.new_zeros(len(counts), values.shape[1], dtype=torch.float64)
    return (total.index_add_(0, windows, values.double()) / counts[:, None]).float()


def _last(values: Tensor, windows: Tensor, counts: Tensor) -> Tensor:
    return values[counts.cumsum(0) - 1]


def _top(values: Tensor, windows: Tensor, counts: Tensor) -> Tensor:
    return torch.stack([part.topk(min(TOP, len(part)), 0).values.mean(0) for part in values.split(counts.tolist())])


def _absmax(values: Tensor, windows: Tensor, counts: Tensor) -> Tensor:
    largest, smallest = _max(values, windows, counts), -_max(-values, windows, counts)
    return torch.where(largest.abs() >= smallest.abs(), largest, smallest)


POOLS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "max": _max, "mean": _mean, "last": _last, "top3": _top, "absmax": _absmax,
}  # fmt: skip


def storage_dtype(absmax: float) -> torch.dtype:
    """float16 if the largest magnitude fits into it, else bfloat16 (Gemma's residual stream does not fit)."""
    return torch.float16 if absmax <= FLOAT16_MAX else torch.bfloat16
