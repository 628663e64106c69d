"""Faithfulness: whether what a map calls relevant moves the score. Per sample, [B] float64.

Everything takes the model's score (`Scorer`), inputs [B, ...], maps and targets [B]; nothing needs gradients.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from services.model.attribution.evaluation.errors import BadMaps, BadMetricParameter
from services.model.attribution.evaluation.maps import rows
from services.model.attribution.evaluation.perturbation import (
    Scorer,
    area,
    blurred,
    curve,
    on_inputs,
    ranks,
    step_sizes,
)


def deletion(
    score: Scorer, inputs: Tensor, maps: Tensor, target: Tensor, *, steps: int = 32, goal: Tensor | float = 0.0
) -> Tensor:
    """Area under the score while the most relevant features are replaced; low is good.

    Source: Petsiuk et al. 2018 (RISE); with probabilities as in the paper if the scorer gives them.
    """
    return area(curve(score, inputs, maps, target, goal=goal, steps=steps))


def insertion(
    score: Scorer, inputs: Tensor, maps: Tensor, target: Tensor, *, steps: int = 32, sigma: float = 5.0
) -> Tensor:
    """Area under the score while the most relevant features return to a blurred picture; high is good.

    Source: Petsiuk et al. 2018 (RISE).
    """
    goal = blurred(inputs, sigma=sigma)
    return area(curve(score, inputs, maps, target, goal=goal, start_at_goal=True, steps=steps))


def pixel_flipping(
    score: Scorer, inputs: Tensor, maps: Tensor, target: Tensor, *, steps: int = 32, goal: Tensor | float = 0.0
) -> Tensor:
    """Score curve under MoRF perturbation, [B, steps + 1]. Source: Bach et al. 2015, Samek et al. 2017."""
    return curve(score, inputs, maps, target, goal=goal, steps=steps)


def abpc(
    score: Scorer, inputs: Tensor, maps: Tensor, target: Tensor, *, steps: int = 32, goal: Tensor | float = 0.0
) -> Tensor:
    """Area between the LeRF and the MoRF curve; high is good, 0 in expectation for a random order.

    Source: Schulz et al. 2020.
    """
    least = curve(score, inputs, maps, target, goal=goal, steps=steps, order="least")
    most = curve(score, inputs, maps, target, goal=goal, steps=steps, order="most")
    return area(least) - area(most)


def sensitivity_n(
    score: Scorer, inputs: Tensor, maps: Tensor, target: Tensor, *, steps: int = 16, goal: Tensor | float = 0.0
) -> Tensor:
    """Pearson correlation, along nested subsets T in the order of the map, of Σ_T a and f(x) - f(x_T ← goal).

    Returns
    -------
    [B] in [-1, 1]; NaN where either side does not vary.

    Source: Ancona et al. 2018 for one n; over nested n as in Quantus.
    """
    place = ranks(maps)
    sizes = step_sizes(place.shape[1], steps)[1:]
    flat = rows(maps)
    sums = torch.stack([(flat * (place < size)).sum(1) for size in sizes], 1)
    scores = curve(score, inputs, maps, target, goal=goal, steps=steps).double()
    return pearson(sums, scores[:, :1] - scores[:, 1:])


def faithfulness_correlation(
    score: Scorer, inputs: Tensor, maps: Tensor, target: Tensor, *, size: int = 224, runs: int = 100,
    goal: Tensor | float = 0.0, seed: int = 0,
) -> Tensor:  # fmt: skip
    """Pearson correlation over random subsets T of `size` features of Σ_T a and f(x) - f(x_T ← goal).

    Returns
    -------
    [B] in [-1, 1]; NaN where either side does not vary. The same subsets are used for all samples.

    Source: Bhatt et al. 2020.
    """
    flat = rows(maps)
    d = flat.shape[1]
    if not 1 <= size <= d or runs < 3:
        raise BadMetricParameter(f"{runs} subsets of {size} among {d} features", field="size", d=d)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.stack([torch.randperm(d, generator=generator) < size for _ in range(runs)]).to(flat.device)
    replaced = torch.as_tensor(goal, dtype=inputs.dtype, device=inputs.device).expand_as(inputs)
    versions = (
        torch.where(on_inputs(subset.expand_as(flat).contiguous(), maps, inputs), replaced, inputs) for subset in chosen
    )
    drops = score(inputs, target).unsqueeze(1) - score.each(versions, target, runs)
    return pearson(flat @ chosen.double().T, drops.double())


def infidelity(
    score: Scorer, inputs: Tensor, maps: Tensor, target: Tensor, *, noise: float = 0.2, draws: int = 64,
    rescale: bool = False, seed: int = 0,
) -> Tensor:  # fmt: skip
    """Mean over perturbations I of (I·a - (f(x) - f(x - I)))²; low is good.

    Parameters
    ----------
    maps : of the inputs' shape: every input feature has its own attribution (gradients; not gradient x input, whose
        attribution of a perturbation is not I·a).
    noise : standard deviation of I ~ N(0, noise²), in the unit of the inputs.
    rescale : multiply a by the β that fits best, Σ (I·a)(Δf) / Σ (I·a)², so that the unit of a does not count.

    Source: Yeh et al. 2019, definition 2.1.
    """
    if maps.shape != inputs.shape:
        raise BadMaps(f"maps {tuple(maps.shape)} for inputs {tuple(inputs.shape)}", field="maps")
    if noise <= 0 or draws < 1:
        raise BadMetricParameter(f"noise {noise}, {draws} draws", field="noise")
    flat, generator = rows(maps), torch.Generator().manual_seed(seed)
    promised: list[Tensor] = []

    def perturbed() -> Iterator[Tensor]:
        for _ in range(draws):
            step = noise * torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype).to(inputs.device)
            promised.append((flat * step.flatten(1)).sum(1))
            yield inputs - step

    kept = score.each(perturbed(), target, draws)
    drops = (score(inputs, target).unsqueeze(1) - kept).double()
    promise = torch.stack(promised, 1)
    if rescale:
        promise = promise * (
            (promise * drops).sum(1, keepdim=True) / (promise**2).sum(1, keepdim=True).clamp(min=1e-300)
        )
    return ((promise - drops) ** 2).mean(1)


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """Correlation of rows. [B, n], [B, n] -> [B]; NaN where a row does not vary."""
    first, second = first - first.mean(1, keepdim=True), second - second.mean(1, keepdim=True)
    scale = first.norm(dim=1) * second.norm(dim=1)
    return torch.where(scale > 0, (first * second).sum(1) / scale, torch.nan)
