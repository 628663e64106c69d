"""How good an autoencoder is on rows that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contracts.errors import InsufficientEvidence
from services.model.sae.autoencoder import BLOCK, SparseAutoencoder

EDGES = np.array([-np.inf, -6, -5, -4, -3, -2, -1, 0.0])


@dataclass(frozen=True)
class SaeFigures:
    """Figures on held-out rows.

    Attributes
    ----------
    explained : EV = 1 - Σ‖x - x̂‖² / Σ‖x - μ‖², at most 1. active : mean number of active latents a row (L0).
    dead_share : latents that never fired. cosine : mean cosine of x - μ and x̂ - μ.
    density : [m] share of rows in which a latent fires. histogram : latents by log10 density, edges -∞, -6 … 0.
    rows : how many were looked at.
    """

    explained: float
    active: float
    dead_share: float
    cosine: float
    density: NDArray[np.float64]
    histogram: list[int]
    rows: int


@torch.no_grad()
def measure(sae: SparseAutoencoder, held_out: Tensor) -> SaeFigures:
    """Judge on held-out rows.

    Parameters
    ----------
    held_out : [N, d] activations, none of them trained on; N >= 2.

    Raises
    ------
    InsufficientEvidence : fewer than two rows, or rows that do not vary. WidthMismatch.
    """
    if len(held_out) < 2:
        raise InsufficientEvidence(f"{len(held_out)} held-out rows", field="rows")
    mean = held_out.double().mean(dim=0)
    fired = torch.zeros(sae.latents, dtype=torch.int64)
    left = total = cosine = 0.0
    for block in held_out.split(BLOCK):
        codes = sae.encode(block)
        fired += (codes > 0).sum(dim=0)
        made, centred = sae.decode(codes).double(), block.double() - mean
        left += float((block.double() - made).pow(2).sum())
        total += float(centred.pow(2).sum())
        cosine += float(torch.nn.functional.cosine_similarity(centred, made - mean, dim=1).sum())
    if total <= 0:
        raise InsufficientEvidence("the held-out rows do not vary", field="rows")
    density = fired.double().numpy() / len(held_out)
    with np.errstate(divide="ignore"):
        histogram, _ = np.histogram(np.clip(np.log10(density), -100, 0), bins=np.maximum(EDGES, -101))
    return SaeFigures(
        explained=1 - left / total, active=float(fired.sum()) / len(held_out),
        dead_share=float((fired == 0).double().mean()),
        cosine=cosine / len(held_out), density=density, histogram=[int(n) for n in histogram], rows=len(held_out),
    )  # fmt: skip


def loss_recovered(original: float, reconstructed: float, ablated: float) -> float:
    """(CE_zero - CE_rec) / (CE_zero - CE_orig): 1 where splicing the reconstruction in costs nothing.

    Raises
    ------
    InsufficientEvidence : zeroing the layer does not raise the loss, so nothing can be recovered.
    """
    if not ablated > original:
        raise InsufficientEvidence("zeroing the layer does not raise the loss", field="layer")
    return (ablated - reconstructed) / (ablated - original)
