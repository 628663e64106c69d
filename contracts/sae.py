"""Sparse autoencoders: what may be asked, what is known of a trained one, and what is refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.base import Contract, FiniteFloat, Name
from contracts.captures import CaptureId
from contracts.errors import NotFound, XsysError
from contracts.model import LayerName

SaeId = Annotated[str, Field(min_length=1, max_length=80, description="id (`sae_...`) or name of a sparse autoencoder")]
Latent = Annotated[int, Field(ge=0, lt=1_000_000)]


# --- refusals -----------------------------------------------------------------------------------
class UnknownSae(NotFound):
    """There is no such autoencoder in this workspace."""


class UnknownLatent(NotFound):
    remedy = "Take a number below `latents`."


class UnsupportedSae(XsysError):
    """A folder of another layout, or of an architecture that is not one matrix in and one matrix out."""

    status = 422
    remedy = "Give a folder with `cfg.json` and `sae_weights.safetensors` of architecture topk, jumprelu or standard."


class TooFewRows(XsysError):
    status = 422
    remedy = "Train on more rows, or with a smaller batch."


class CheckpointMismatch(XsysError):
    """The checkpoint belongs to another configuration; going on from it would be neither of both."""

    status = 409
    remedy = "Start again without the checkpoint, or train with the configuration that it names."


class TooManyActive(XsysError):
    status = 422
    remedy = "Lower `k`, or raise `latents`: no more of them than there are can be active."


# --- training -----------------------------------------------------------------------------------
class SaeRequest(Contract):
    """Train a sparse autoencoder on one layer of a snapshot (a row a picture) or of a capture (a row a token).

    With `folder` one that SAELens wrote is read instead, and nothing is said of training. A fifth of the samples, whole
    groups at a time, is kept out of training and gives every figure; of a capture it is the corpus's own test
    documents. `dead_rows` is how many rows a latent may stay silent before it counts as dead; the default is 5 % of
    the run.
    """

    snapshot: Annotated[str, Field(min_length=1, max_length=80, description="id (`s_...`) or name of a snapshot")] | (
        None
    ) = None
    capture: CaptureId | None = None
    layer: LayerName
    folder: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="folder on the server with `cfg.json` and `sae_weights.safetensors`"
    )
    name: Name | None = None
    latents: Annotated[int, Field(ge=2, le=65_536)] = 512
    k: Annotated[int, Field(ge=1, le=1024, description="latents active in a row")] = 16
    kind: Literal["topk", "batchtopk"] = "topk"
    steps: Annotated[int, Field(ge=10, le=1_000_000)] = 2000
    batch: Annotated[int, Field(ge=2, le=8192)] = 64
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    dead_rows: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @model_validator(mode="after")
    def one_source(self) -> Self:
        """Refuse both and neither."""
        if (self.snapshot is None) == (self.capture is None):
            raise ValueError("give either snapshot or capture")
        return self


class SaeQuality(Contract):
    """Figures on held-out rows. `explained` is 1 - FVU; it is negative where the mean would have been better.

    `histogram` counts latents by log10 of their density, with edges -inf, -6, -5 ... 0. `recovered`, of language models
    only: share of the cross-entropy lost by zeroing the layer that its reconstruction keeps.
    """

    explained: FiniteFloat
    explained_training: FiniteFloat
    active: FiniteFloat
    dead_share: FiniteFloat
    cosine: FiniteFloat
    histogram: list[int]
    held_out: int
    trained_on: int
    recovered: FiniteFloat | None = None


class Sae(Contract):
    """A trained sparse autoencoder; immutable."""

    id: str
    name: str
    snapshot: str | None
    capture: str | None = None
    model: str
    dataset: str
    layer: LayerName
    architecture: Literal["topk", "jumprelu", "standard"]
    width: int
    latents: int
    quality: SaeQuality
    warnings: list[str]
    request: SaeRequest
    lineage: str
    created_at: datetime


class LatentExample(Contract):
    """A sample on which a latent fires. Of text: a window of the corpus, and the characters where it fires most."""

    sample: int
    label: str | None
    value: FiniteFloat
    held_out: bool
    text: str | None = None
    span: tuple[int, int] | None = None


class TokenMass(Contract):
    """A token and its share of a latent's activation."""

    token: str
    share: FiniteFloat


class SaeLatent(Contract):
    """One latent: how often it fires over all samples, and where most. `label` is the samples' commonest label."""

    sae: str
    index: int
    density: FiniteFloat
    maximum: FiniteFloat
    state: Literal["ok", "dead", "insufficient_evidence"]
    label: str | None
    label_share: FiniteFloat | None
    examples: list[LatentExample]
    tokens: list[TokenMass] = []
    raises: list[str] = Field(default=[], description="tokens that its decoder row makes likelier, by the logit lens")
    lowers: list[str] = []
