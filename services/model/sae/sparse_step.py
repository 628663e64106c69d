"""Loss and gradients of one batch. Only the encoder's product is dense; the rest follows the active latents."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import embedding_bag

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


@dataclass(frozen=True)
class Active:
    """The active latents of a batch, row by row. starts : [B + 1]; latents, values : [n]."""

    starts: Tensor
    latents: Tensor
    values: Tensor
    shape: tuple[int, int]

    def times(self, rows: Tensor) -> Tensor:
        """F @ rows: [B, m] sparse by [m, d] -> [B, d]."""
        return embedding_bag(
            self.latents, rows, self.starts, mode="sum", per_sample_weights=self.values, include_last_offset=True
        )


@dataclass(frozen=True)
class Transposed:
    """The same entries, latent by latent. starts : [m + 1]; rows : [n] batch rows; order : [n] place in `Active`."""

    starts: Tensor
    rows: Tensor
    order: Tensor

    @classmethod
    def of(cls, active: Active) -> Transposed:
        """Sort by latent in linear time."""
        entries = np.arange(1, len(active.latents) + 1)  # a place of 0 would be dropped as a zero
        sparse = csr_matrix((entries, active.latents.numpy(), active.starts.numpy()), shape=active.shape).tocsc()
        return cls(
            torch.from_numpy(sparse.indptr.astype(np.int64)),
            torch.from_numpy(sparse.indices.astype(np.int64)),
            torch.from_numpy(sparse.data.astype(np.int64) - 1),
        )

    def times(self, values: Tensor, dense: Tensor) -> Tensor:
        """Vᵀ @ dense for entries `values` [n] in the order of `Active`: -> [m, d]."""
        weights = values[self.order]
        return embedding_bag(
            self.rows, dense, self.starts, mode="sum", per_sample_weights=weights, include_last_offset=True
        )

    def sums(self, values: Tensor) -> Tensor:
        """Sum of the entries of each latent: [m]."""
        total = torch.cat([torch.zeros(1, dtype=torch.float64), values[self.order].double().cumsum(0)])
        return (total[self.starts[1:]] - total[self.starts[:-1]]).to(values.dtype)


def top_of_rows(z: Tensor, k: int) -> Active:
    """TopK: the k largest of each row, through ReLU; entries at or below 0 stay out. z : [B, m]."""
    values, places = torch.topk(z, k, dim=1, sorted=False)
    kept = values > 0
    starts = torch.zeros(len(z) + 1, dtype=torch.int64)
    starts[1:] = kept.sum(dim=1).cumsum(0)
    return Active(starts, places[kept], values[kept], (z.shape[0], z.shape[1]))


def top_of_batch(z: Tensor, k: int, *, guess: float = 0.0) -> Active:
    """BatchTopK: the k·B largest positive entries of the batch. `guess` : a value surely below the smallest kept.

    A wrong guess costs time and changes nothing. Ties at the boundary are all kept.
    """
    wanted = k * len(z)
    positive = z[z > max(guess, 0.0)]
    if len(positive) < wanted and guess > 0:
        positive = z[z > 0]
    cut = 0.0
    if len(positive) > wanted:
        cut = float(torch.topk(positive, wanted, sorted=False).values.min())
    kept = z >= cut if cut > 0 else z > 0
    starts = torch.zeros(len(z) + 1, dtype=torch.int64)
    starts[1:] = kept.sum(dim=1).cumsum(0)
    return Active(starts, kept.nonzero()[:, 1], z[kept], (z.shape[0], z.shape[1]))


@dataclass(frozen=True)
class Gradients:
    """Gradients of the loss, in the parameters' shapes, and what was measured on the way."""

    encoder: Tensor
    decoder: Tensor
    encoder_bias: Tensor
    decoder_bias: Tensor
    loss: float
    auxiliary: float
    residual: Tensor


def gradients(
    x: Tensor, z: Tensor, active: Active, parameters: dict[str, Tensor], *, dead: Tensor | None = None,
    strongest: int = 0, share: float = 1 / 32,
) -> Gradients:  # fmt: skip
    """Gradients of ‖x - x̂‖² / ‖x - x̄‖² + share · aux.

    Parameters
    ----------
    x : [B, d] batch. z : [B, m] pre-activations. active : what of z is kept.
    parameters : encoder [m, d], decoder [m, d], encoder_bias [m], decoder_bias [d].
    dead : [n] latents that take part in the auxiliary loss; None or empty: no auxiliary loss.
    strongest : how many dead latents a row reconstruct the residual with.

    Returns
    -------
    The auxiliary loss is ‖e - ê‖² / ‖e - ē‖² with the residual e = x - x̂ detached and ê = W_decᵀ a *without* b_dec.

    Source: Gao et al. (arXiv 2406.04093), whose residual is reconstructed without the bias; written by hand because
    automatic differentiation would make four more dense products.
    """
    encoder, decoder = parameters["encoder"], parameters["decoder"]
    shifted = x - parameters["decoder_bias"]
    residual = x - active.times(decoder) - parameters["decoder_bias"]
    variance = (x - x.mean(dim=0)).pow(2).sum().clamp_min(1e-12)
    loss = float(residual.pow(2).sum() / variance)
    slope = residual * (-2 / variance)
    transposed = Transposed.of(active)
    inner = _sampled(slope, decoder, active)
    found = {
        "decoder": transposed.times(active.values, slope),
        "encoder": transposed.times(inner, shifted),
        "encoder_bias": transposed.sums(inner),
    }
    auxiliary = 0.0
    if dead is not None and len(dead) and strongest:
        auxiliary = _auxiliary(found, shifted, z, residual, parameters, dead, min(strongest, len(dead)), share)
    through = slope.sum(dim=0) - found["encoder_bias"] @ encoder
    return Gradients(**found, decoder_bias=through, loss=loss, auxiliary=auxiliary, residual=residual)


def _sampled(slope: Tensor, decoder: Tensor, active: Active) -> Tensor:
    """<slope_b, decoder_j> for the active entries only: [n]."""
    pattern = torch.sparse_csr_tensor(
        active.starts, active.latents, torch.zeros_like(active.values), active.shape, check_invariants=False
    )
    return torch.sparse.sampled_addmm(pattern, slope, decoder.T, beta=0.0).values()


def _auxiliary(
    found: dict[str, Tensor], shifted: Tensor, z: Tensor, residual: Tensor, parameters: dict[str, Tensor],
    dead: Tensor, strongest: int, share: float,
) -> float:  # fmt: skip
    """Add the dead latents' gradients to `found`; return the auxiliary loss. Three small dense products."""
    values, places = torch.topk(z[:, dead], strongest, dim=1, sorted=False)
    codes = torch.zeros(len(z), len(dead), dtype=z.dtype).scatter_(1, places, values.relu())
    variance = (residual - residual.mean(dim=0)).pow(2).sum().clamp_min(1e-12)
    left = residual - codes @ parameters["decoder"][dead]
    slope = left * (-2 * share / variance)
    inner = torch.where(codes > 0, slope @ parameters["decoder"][dead].T, 0)
    found["decoder"].index_add_(0, dead, codes.T @ slope)
    found["encoder"].index_add_(0, dead, inner.T @ shifted)
    found["encoder_bias"].index_add_(0, dead, inner.sum(dim=0))
    return float(left.pow(2).sum() / variance)
