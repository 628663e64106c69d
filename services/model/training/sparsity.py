"""How concentrated weights are, and how many have changed their sign."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

NEAR = 1e-3
EDGES = tuple(-6 + step / 4 for step in range(29))  # of log10 |w|, from a millionth to 10


def gini(values: Tensor) -> float:
    """Gini index of |values|: 0 for equal ones, 1 - 1/n for a single one that is not zero.

    Parameters
    ----------
    values : any shape, n elements; an all-zero tensor gives 0.

    Source: 2 sum_i i |w|_(i) / (n sum |w|) - (n + 1) / n over ascending |w|, i from 1.
    """
    ordered = values.detach().abs().flatten().double().sort().values
    n, total = len(ordered), float(ordered.sum())
    if total == 0:
        return 0.0
    ranks = torch.arange(1, n + 1, dtype=torch.float64, device=ordered.device)
    return float(2 * (ranks * ordered).sum() / (n * total) - (n + 1) / n)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Weights of linear and convolution layers by name; no biases, no norms."""
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    return {
        f"{name}.weight" if name else "weight": module.weight.detach()
        for name, module in model.named_modules()
        if isinstance(module, kinds)
    }


def all_weights(model: nn.Module) -> Tensor:
    """All of them as one vector."""
    return torch.cat([weight.flatten() for weight in weights_of(model).values()])


def near_zero(weights: Mapping[str, Tensor]) -> float:
    """Share of weights with |w| below `NEAR` times the largest of their layer; all of a layer that is zero."""
    near = sum(int((part.abs() <= NEAR * part.abs().max()).sum()) for part in weights.values())
    return near / sum(part.numel() for part in weights.values())


def magnitudes(weights: Mapping[str, Tensor]) -> list[int]:
    """How many weights have log10 |w| between each two of `EDGES`; zeros and what is beyond are in the end bins."""
    counts = torch.zeros(len(EDGES) - 1, dtype=torch.int64)
    inner = torch.tensor(EDGES[1:-1], dtype=torch.float64)
    for weight in weights.values():
        place = torch.bucketize(weight.detach().abs().double().flatten().log10(), inner, right=True)
        counts += torch.bincount(place, minlength=len(counts))
    return [int(count) for count in counts]


def sign_flips(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Share of weights with another sign than before; zeros have none."""
    pairs = [(before[name], after[name]) for name in before]
    flipped = sum(int((old * new < 0).sum()) for old, new in pairs)
    return flipped / sum(old.numel() for old, _ in pairs)
