"""The trained object: encode and decode in the activations' own units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from contracts.sae import TooManyActive
from contracts.steering import WidthMismatch
from services.kit.saelens import Architecture

BLOCK = 4096


@dataclass(frozen=True)
class SparseAutoencoder:
    """f = A(W_enc (x - b_dec) + b_enc), x̂ = W_decᵀ f + b_dec.

    Attributes
    ----------
    architecture : `topk` keeps the k largest of ReLU; `jumprelu` keeps what is above its threshold; `standard` is ReLU.
    encoder, decoder : [m, d] float32, one row a latent. encoder_bias : [m]; decoder_bias : [d].
    k : active latents a row (topk only). threshold : [m] (jumprelu only).
    centred : whether b_dec is subtracted from the input (SAELens: `apply_b_dec_to_input`).
    """

    architecture: Architecture
    encoder: Tensor
    decoder: Tensor
    encoder_bias: Tensor
    decoder_bias: Tensor
    k: int | None = None
    threshold: Tensor | None = None
    centred: bool = True

    def __post_init__(self) -> None:
        if self.architecture == "topk" and not 0 < (self.k or 0) <= self.latents:
            raise TooManyActive(f"k is {self.k} of {self.latents} latents", field="k", latents=self.latents)

    @property
    def width(self) -> int:
        """How many columns the activations have."""
        return self.encoder.shape[1]

    @property
    def latents(self) -> int:
        """How many latents there are."""
        return self.encoder.shape[0]

    @property
    def _threshold(self) -> Tensor:
        return torch.zeros_like(self.encoder_bias) if self.threshold is None else self.threshold

    def pre_activations(self, x: Tensor) -> Tensor:
        """W_enc (x - b_dec) + b_enc: [N, d] -> [N, m].

        Raises
        ------
        WidthMismatch : x has another width.
        """
        if x.ndim != 2 or x.shape[1] != self.width:
            raise WidthMismatch(
                f"this autoencoder reads {self.width} columns", field="x", expected=self.width, given=x.shape[-1]
            )
        shifted = x.float() - self.decoder_bias if self.centred else x.float()
        return torch.addmm(self.encoder_bias, shifted, self.encoder.T)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Codes of activations: [N, d] -> [N, m] float32, >= 0."""
        z = self.pre_activations(x)
        if self.architecture == "standard":
            return z.relu_()
        if self.architecture == "jumprelu":
            return torch.where(z > self._threshold, z.relu(), 0)
        values, places = torch.topk(z, int(self.k or 0), dim=1, sorted=False)
        return torch.zeros_like(z).scatter_(1, places, values.relu())

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Activations of codes: [N, m] -> [N, d] float32."""
        return torch.addmm(self.decoder_bias, codes.float(), self.decoder)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Decode the codes, a block of rows at a time."""
        return torch.cat([self.decode(self.encode(block)) for block in x.split(BLOCK)])

    def tensors(self) -> dict[str, Tensor]:
        """All parameters by name."""
        found = {
            "encoder": self.encoder, "decoder": self.decoder,
            "encoder_bias": self.encoder_bias, "decoder_bias": self.decoder_bias,
        }  # fmt: skip
        return found if self.threshold is None else found | {"threshold": self.threshold}
