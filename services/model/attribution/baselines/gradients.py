"""Attributions from gradients and from occlusion; Captum computes those that it does well. Sign is kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from services.model.attribution.baselines.scoring import Score, Target, checked

BATCH = 64


def gradient(model: nn.Module, inputs: Tensor, target: Target) -> Tensor:
    """∂f_c/∂x, the shape of the inputs. Source: Simonyan et al. 2013."""
    leaf, of = checked(model, inputs, target)
    return torch.autograd.grad(Score(model)(leaf, of).sum(), leaf)[0]


def gradient_x_input(model: nn.Module, inputs: Tensor, target: Target) -> Tensor:
    """Input times gradient, x ⊙ ∂f_c/∂x, the shape of the inputs. Source: Shrikumar et al. 2016."""
    return gradient(model, inputs, target) * inputs


def integrated_gradients(
    model: nn.Module, inputs: Tensor, target: Target, *, baseline: Tensor | float = 0.0, steps: int = 32
) -> Tensor:
    """(x - x') ⊙ ∫ ∂f_c/∂x (x' + t(x - x')) dt by Gauss-Legendre quadrature, the shape of the inputs.

    Parameters
    ----------
    baseline : x', a value or a tensor of the inputs' shape; 0 is the mean colour of normalised pictures.
    steps : nodes of the quadrature.

    Source: Sundararajan et al. 2017, as in Captum.
    """
    from captum.attr import IntegratedGradients

    leaf, of = checked(model, inputs, target)
    return (
        IntegratedGradients(Score(model))
        .attribute(
            leaf, baseline, additional_forward_args=(of,), n_steps=steps, internal_batch_size=max(BATCH, len(leaf))
        )
        .detach()
    )


def smoothgrad(
    model: nn.Module, inputs: Tensor, target: Target, *, noise: float = 0.1, samples: int = 16, seed: int = 0
) -> Tensor:
    """Mean gradient under Gaussian noise, the shape of the inputs.

    Parameters
    ----------
    noise : standard deviation as a share of each input's range (max - min).
    seed : of its own generator: Captum's noise tunnel draws from the global one, which other threads share.

    Source: Smilkov et al. 2017.
    """
    leaf, of = checked(model, inputs, target)
    generator = torch.Generator().manual_seed(seed)
    flat = leaf.detach().flatten(1)
    deviation = noise * (flat.amax(1) - flat.amin(1)).view(-1, *[1] * (leaf.ndim - 1))
    total = torch.zeros_like(flat).view_as(leaf)
    for _ in range(samples):
        step = torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype).to(leaf.device)
        total += gradient(model, leaf.detach() + deviation * step, of)
    return total / samples


def occlusion(
    model: nn.Module, inputs: Tensor, target: Target, *, cells: int = 8, baseline: Tensor | float = 0.0
) -> Tensor:
    """f_c(x) - f_c(x with a window replaced), for windows that tile the picture. [B, C, H, W] -> [B, H, W].

    Captum's has the same values, in single precision whatever the model's and once for each channel.

    Parameters
    ----------
    cells : windows along the shorter side.
    baseline : what the window is replaced with.

    Source: Zeiler and Fergus 2014.
    """
    leaf, of = checked(model, inputs, target)
    leaf = leaf.detach()
    height, width = leaf.shape[-2:]
    side = max(1, -(-min(height, width) // cells))
    row, column = torch.arange(height) // side, torch.arange(width) // side
    window = (row.unsqueeze(1) * (int(column[-1]) + 1) + column).to(leaf.device)  # [H, W]
    replaced = torch.as_tensor(baseline, dtype=leaf.dtype, device=leaf.device).expand_as(leaf)
    count, score = int(window.max()) + 1, Score(model)
    at_once = max(1, BATCH // len(leaf))
    drops = []
    with torch.no_grad():
        plain = score(leaf, of)
        for numbers in torch.arange(count, device=leaf.device).split(at_once):
            hidden = torch.cat([torch.where(window == number, replaced, leaf) for number in numbers])
            drops.append(plain - score(hidden, of.repeat(len(numbers))).view(len(numbers), -1))
    return torch.cat(drops).T[:, window]
