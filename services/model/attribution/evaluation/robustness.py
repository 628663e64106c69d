"""Robustness: how much a map moves when the input barely does. Per sample, [B] float64; low is good."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from services.model.attribution.evaluation.errors import BadMetricParameter
from services.model.attribution.evaluation.maps import rows

Attribute = Callable[[Tensor], Tensor]


def max_sensitivity(
    attribute: Attribute, inputs: Tensor, *, radius: float = 0.2, draws: int = 200, seed: int = 0
) -> Tensor:
    """Largest ||a(x + δ) - a(x)|| / ||a(x)|| over δ uniform in the L∞ ball of `radius`; NaN for a map of zeros.

    Parameters
    ----------
    attribute : inputs [B, ...] -> maps [B, ...], for fixed targets.

    Source: Yeh et al. 2019, with the relative norm of Quantus' default.
    """
    return _sensitivities(attribute, inputs, radius, draws, seed).amax(1)


def average_sensitivity(
    attribute: Attribute, inputs: Tensor, *, radius: float = 0.2, draws: int = 200, seed: int = 0
) -> Tensor:
    """Mean of the same quotient. Source: Yeh et al. 2019."""
    return _sensitivities(attribute, inputs, radius, draws, seed).mean(1)


def noise_stability(
    attribute: Attribute, inputs: Tensor, *, noise: float = 0.1, draws: int = 8, seed: int = 0
) -> Tensor:
    """Mean 1 - cos(a(x + η), a(x)) for η ~ N(0, noise²): in [0, 2], 0 for a map that does not move.

    Unlike max-sensitivity it does not see the map's scale, so that a mere change of the score does not count.
    """
    _require(noise, draws)
    generator = torch.Generator().manual_seed(seed)
    plain = rows(attribute(inputs))
    angles = []
    for _ in range(draws):
        step = noise * torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype).to(inputs.device)
        moved = rows(attribute(inputs + step))
        angles.append((plain * moved).sum(1) / (plain.norm(dim=1) * moved.norm(dim=1)))
    return 1 - torch.stack(angles, 1).mean(1)


def _sensitivities(attribute: Attribute, inputs: Tensor, radius: float, draws: int, seed: int) -> Tensor:
    _require(radius, draws)
    plain = rows(attribute(inputs))
    size = plain.norm(dim=1)
    moves = torch.stack([(rows(attribute(near)) - plain).norm(dim=1) for near in _near(inputs, radius, draws, seed)], 1)
    return torch.where(size > 0, (moves.T / size), torch.nan).T


def _near(inputs: Tensor, radius: float, draws: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        step = torch.rand(inputs.shape, generator=generator, dtype=inputs.dtype).to(inputs.device)
        yield inputs + radius * (2 * step - 1)


def _require(amount: float, draws: int) -> None:
    if amount <= 0 or draws < 1:
        raise BadMetricParameter(f"amount {amount}, {draws} draws", field="draws")
