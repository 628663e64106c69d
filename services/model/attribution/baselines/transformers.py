"""Attribution of vision transformers from their attention: rollout, and Chefer's gradient-weighted rollout.

Both are batched and give one value a patch, [B, rows, columns].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from services.model.attribution.baselines.attention import attended
from services.model.attribution.baselines.scoring import Target


def rollout(model: nn.Module, inputs: Tensor, target: Target) -> Tensor:
    """Attention rollout: Π_b rownorm(mean_h A_b + I), read at the head's token.

    The map does not depend on the target; the baseline is in wide use nevertheless.

    Source: Abnar and Zuidema 2020.
    """
    seen = attended(model, inputs, target)
    joint = _identity(seen.matrices[0])
    for matrix in seen.matrices:
        step = matrix.detach().mean(1) + _identity(matrix)
        joint = step / step.sum(-1, keepdim=True) @ joint
    return seen.read(joint)


def chefer(model: nn.Module, inputs: Tensor, target: Target, *, signed: bool = False) -> Tensor:
    """Gradient-weighted rollout: R ← R + mean_h((∂f_c/∂A_b ⊙ A_b)⁺) R, from R = I.

    Parameters
    ----------
    signed : keep evidence against the class instead of cutting it off in each block.

    Source: Chefer, Gur, Wolf: Generic Attention-model Explainability, 2021, eqs. 5 and 6 (self-attention); the
    reference code takes one sample at a time.
    """
    seen = attended(model, inputs, target)
    slopes = torch.autograd.grad(seen.score.sum(), seen.matrices)
    joint = _identity(seen.matrices[0])
    for matrix, slope in zip(seen.matrices, slopes, strict=True):
        weighted = slope * matrix.detach()
        joint = joint + (weighted if signed else weighted.clamp(min=0)).mean(1) @ joint
    return seen.read(joint - _identity(seen.matrices[0]))


def attention_gradcam(model: nn.Module, inputs: Tensor, target: Target) -> Tensor:
    """Grad-CAM over the last block's attention: heads weighted by the mean gradient of the head token's row, then ⁺.

    Source: the transformer variant among the baselines of Chefer et al. 2021.
    """
    seen = attended(model, inputs, target)
    last = seen.matrices[-1]
    slope = seen.read(torch.autograd.grad(seen.score.sum(), last)[0])
    return (seen.read(last.detach()) * slope.mean((-2, -1), keepdim=True)).mean(1).clamp(min=0)


def _identity(matrix: Tensor) -> Tensor:
    return torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
