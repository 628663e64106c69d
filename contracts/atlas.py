"""Sparse autoencoders, concept atlases and alignments: what may be asked, and what is refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Protocol, Self

from pydantic import Field, model_validator

from contracts.atlas_reading import (
    Agreement,
    DirectionQuery,
    SteeringDirection,
    TextQuery,
    TierName,
    TokenReading,
    UsedLatent,
)
from contracts.atlas_transfer import LayerTransfer
from contracts.base import (
    Binary,
    Caller,
    Contract,
    Cursor,
    FiniteFloat,
    Limit,
    Name,
    Page,
    Right,
    Sha256,
    operation,
)
from contracts.captures import Capture, CaptureId, NotOfText, TextPool, UnknownCapture
from contracts.errors import (
    CorruptArtifact,
    InsufficientEvidence,
    NoTextSide,
    NotFound,
    UnknownLayer,
    UnknownModel,
    XsysError,
)
from contracts.language import NoTokens, PromptTooLong
from contracts.model import LayerName
from contracts.sae import Latent, Sae, SaeId, SaeLatent, UnknownLatent, UnknownSae
from contracts.steering import DegenerateDirection

AtlasId = Annotated[str, Field(min_length=1, max_length=80, description="id (`atlas_...`) or name of an atlas")]
AlignmentId = Annotated[str, Field(min_length=1, max_length=80, description="id (`align_...`) or name")]


# --- refusals -----------------------------------------------------------------------------------
class UnknownAtlas(NotFound):
    """There is no such atlas in this workspace."""


class UnknownAlignment(NotFound):
    """There is no such alignment in this workspace."""


class WindowMismatch(XsysError):
    """Both models must see the same characters; row i of one side is row i of the other."""

    status = 409
    remedy = "Capture both sides from one corpus with one window length, and pass them in one order."


class TooFewPositives(XsysError):
    status = 422
    remedy = "Use more windows, or take a latent that fires more often."


class NoMatchingConcept(XsysError):
    status = 404
    remedy = "Ask in other words; `nearest` lists the closest labels, trusted or not."


class JudgeLeak(XsysError):
    """The judge was trained on words that chose the latents, so it would reward the choice and not the text."""

    status = 409
    remedy = "Give the judge texts without the words in `overlap`."


class AtlasMismatch(XsysError):
    """Another encoder, autoencoder or corpus than the one that the atlas was made with."""

    status = 409
    remedy = "Use the artifact named by the atlas, or build a new atlas."


class LabellerUnavailable(XsysError):
    """No label was phrased: a language model was asked for, and none is set up, or it did not answer."""

    status = 503
    remedy = "Set XSYS_LABELLER_URL and XSYS_LABELLER_MODEL and see that the server answers, or build without it."


class UnknownTranslator(XsysError):
    status = 404
    remedy = "Take one of `known`."


class NoSecondMoment(XsysError):
    """The primal write map needs the codes' second moment, which is only kept up to 8,192 latents."""

    status = 422
    remedy = "Collect the statistics with `second_moment=True`, or use the dual write map."


# --- atlases and alignments -----------------------------------------------------------------------
class AtlasRequest(Contract):
    """Name the latents of an autoencoder, and judge each name on other samples.

    Pictures: the nearest names of a list. Text: rules on tokens, contrast terms, output terms and the nearest names,
    of which the best on validation documents is kept; `words` are the corpus's own words. Default: imagenet-1k, words.
    """

    sae: SaeId
    name: Name | None = None
    vocabulary: Literal["imagenet-1k", "imagenet-22k", "classes", "captions", "words", "list"] | None = None
    names: Annotated[list[str], Field(max_length=200_000)] | None = None
    labeller: bool = Field(default=False, description="text: the settings' language model phrases a fifth label")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Atlas(Contract):
    """Labelled latents of one layer; immutable. `tiers` counts latents; `shuffled` must stay near .5.

    `verified` and `weak` have a lower bound of the detection AUROC of at least .85 and .7. `unlabelled` latents have
    too few active samples to be named or judged.
    """

    id: str
    name: str
    sae: str
    snapshot: str | None
    capture: str | None = None
    model: str
    layer: LayerName
    dataset: str
    encoder: str
    latents: int
    vocabulary_sha256: Sha256
    methods: dict[str, int] = Field(default={}, description="labels by how they were made; of text only")
    tiers: dict[str, int]
    auroc: FiniteFloat | None = Field(description="median over judged labels")
    shuffled: FiniteFloat | None = Field(description="mean of the same labels given to other latents")
    request: AtlasRequest
    lineage: str
    created_at: datetime


class AtlasLabel(Contract):
    """A latent's label and how well it tells active samples from near inactive ones."""

    latent: int
    text: str
    margin: FiniteFloat
    auroc: FiniteFloat | None
    low: FiniteFloat | None
    high: FiniteFloat | None
    precision: FiniteFloat | None
    tier: TierName
    method: str | None = None
    density: FiniteFloat | None = None


class AlignmentRequest(Contract):
    """Carry an atlas over to another model that saw the same samples: a snapshot, or a capture of a language model.

    `pools` of a capture: the pool of the subject's tokens is chosen together with the translator, on validation.
    """

    atlas: Annotated[str, Field(min_length=1, max_length=80, description="id or name of an atlas")]
    snapshot: Annotated[str, Field(min_length=1, max_length=80, description="id or name of the subject's snapshot")] | (
        None
    ) = None
    capture: CaptureId | None = None
    pools: Annotated[list[TextPool], Field(min_length=1, max_length=5)] | None = None
    layers: Annotated[list[LayerName], Field(min_length=1, max_length=64)] | None = None
    translators: Annotated[
        list[Literal["cov", "corr", "ridge", "ridge_z", "op", "op_ctr", "op_z", "lens"]],
        Field(min_length=1, max_length=8),
    ] = ["cov", "ridge_z", "op", "lens"]
    name: Name | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @model_validator(mode="after")
    def one_subject(self) -> Self:
        """Refuse both and neither."""
        if (self.snapshot is None) == (self.capture is None):
            raise ValueError("give either snapshot or capture")
        return self


class AtlasAlignment(Contract):
    """An atlas carried over to a subject's layers, with its trust figures."""

    id: str
    name: str
    atlas: str
    snapshot: str | None
    capture: str | None = None
    model: str
    layers: list[LayerTransfer]
    request: AlignmentRequest
    lineage: str
    created_at: datetime


class CarriedLabel(Contract):
    """An atlas label on a subject unit. `z` is in spreads of maps fitted on permuted pairs."""

    latent: int
    text: str
    z: FiniteFloat
    percentile: FiniteFloat
    label_tier: TierName
    transfer_auroc: FiniteFloat
    transfer_tier: TierName


class UnitLabels(Contract):
    """The atlas labels of one unit of the subject; only those that are trusted on both sides."""

    alignment: str
    layer: LayerName
    unit: int
    translator: str
    labels: list[CarriedLabel]


class UnitSearch(Contract):
    """Find subject units by a text, through the atlas."""

    text: Annotated[str, Field(min_length=1, max_length=200)]
    layer: LayerName
    k: Annotated[int, Field(ge=1, le=200)] = 10
    latents: Annotated[int, Field(ge=1, le=64)] = 8


class FoundUnit(Contract):
    """A unit with its score."""

    unit: int
    score: FiniteFloat


class UnitHits(Contract):
    """Subject units best first, and the latents through which they were found."""

    alignment: str
    layer: LayerName
    latents: list[UsedLatent]
    units: list[FoundUnit]


# --- what may be asked --------------------------------------------------------------------------
READING_REFUSALS: tuple[type[XsysError], ...] = (
    NotOfText, UnknownModel, UnknownLayer, UnknownLatent, PromptTooLong, NoTokens, CorruptArtifact,
)  # fmt: skip
DIRECTION_REFUSALS: tuple[type[XsysError], ...] = (
    UnknownLayer, UnknownLatent, NoMatchingConcept, DegenerateDirection, NoTextSide, CorruptArtifact,
)  # fmt: skip


class AtlasService(Protocol):
    """What may be asked about sparse autoencoders, atlases and alignments. Router and client come from this class."""

    @operation("GET", "/captures", right=Right.LOOK)
    def captures(self, caller: Caller, limit: Limit = 50, cursor: Cursor | None = None) -> Page[Capture]:
        """List the captures of language models, newest first."""
        ...

    @operation("GET", "/captures/{capture}", right=Right.LOOK, refuses=(UnknownCapture,))
    def capture(self, caller: Caller, capture: CaptureId) -> Capture:
        """Show one capture with its layers."""
        ...

    @operation("GET", "/saes", right=Right.LOOK)
    def saes(self, caller: Caller, limit: Limit = 50, cursor: Cursor | None = None) -> Page[Sae]:
        """List the sparse autoencoders of the workspace, newest first."""
        ...

    @operation("GET", "/saes/{sae}", right=Right.LOOK, refuses=(UnknownSae,))
    def sae(self, caller: Caller, sae: SaeId) -> Sae:
        """Show one sparse autoencoder with its figures on held-out rows."""
        ...

    @operation(
        "GET", "/saes/{sae}/latents/{latent}", right=Right.LOOK, refuses=(UnknownSae, UnknownLatent, CorruptArtifact)
    )
    def sae_latent(self, caller: Caller, sae: SaeId, latent: Latent) -> SaeLatent:
        """Show one latent: how often it fires, and on which samples most."""
        ...

    @operation("GET", "/saes/{sae}/export", right=Right.LOOK, refuses=(UnknownSae, CorruptArtifact))
    def export_sae(self, caller: Caller, sae: SaeId) -> Binary:
        """Export as a zip of the folder that SAELens reads: `cfg.json` and `sae_weights.safetensors`."""
        ...

    @operation("GET", "/atlases", right=Right.LOOK)
    def atlases(self, caller: Caller, limit: Limit = 50, cursor: Cursor | None = None) -> Page[Atlas]:
        """List the atlases of the workspace, newest first."""
        ...

    @operation("GET", "/atlases/{atlas}", right=Right.LOOK, refuses=(UnknownAtlas,))
    def atlas(self, caller: Caller, atlas: AtlasId) -> Atlas:
        """Show one atlas with the tiers of its labels and their control."""
        ...

    @operation("GET", "/atlases/{atlas}/labels", right=Right.LOOK, refuses=(UnknownAtlas, CorruptArtifact))
    def atlas_labels(self, caller: Caller, atlas: AtlasId) -> Page[AtlasLabel]:
        """List all named latents of an atlas, best first."""
        ...

    @operation("GET", "/alignments", right=Right.LOOK)
    def alignments(self, caller: Caller, limit: Limit = 50, cursor: Cursor | None = None) -> Page[AtlasAlignment]:
        """List the alignments of the workspace, newest first."""
        ...

    @operation("GET", "/alignments/{alignment}", right=Right.LOOK, refuses=(UnknownAlignment,))
    def alignment(self, caller: Caller, alignment: AlignmentId) -> AtlasAlignment:
        """Show one alignment: translators, chosen map, controls and tiers of each layer."""
        ...

    @operation(
        "GET",
        "/alignments/{alignment}/units/{layer}/{unit}",
        right=Right.LOOK,
        refuses=(UnknownAlignment, UnknownLayer, UnknownLatent, InsufficientEvidence, CorruptArtifact),
    )
    def unit_labels(self, caller: Caller, alignment: AlignmentId, layer: LayerName, unit: Latent) -> UnitLabels:
        """Show the atlas labels of one unit of the subject, those trusted on both sides only."""
        ...

    @operation(
        "POST",
        "/alignments/{alignment}/search",
        right=Right.LOOK,
        refuses=(UnknownAlignment, UnknownLayer, NoMatchingConcept, InsufficientEvidence, NoTextSide, CorruptArtifact),
        idempotent=True,
    )
    def search_units(self, caller: Caller, alignment: AlignmentId, query: UnitSearch) -> UnitHits:
        """Find units of the subject by a text, through the trusted labels of the atlas."""
        ...

    @operation(
        "POST", "/atlases/{atlas}/read", right=Right.SEARCH, refuses=(UnknownAtlas, *READING_REFUSALS), idempotent=True
    )
    def read_text(self, caller: Caller, atlas: AtlasId, query: TextQuery) -> TokenReading:
        """Read a text token by token: which labelled latents of the atlas's own model are active where."""
        ...

    @operation(
        "POST", "/atlases/{atlas}/direction", right=Right.SEARCH, refuses=(UnknownAtlas, *DIRECTION_REFUSALS),
        idempotent=True,
    )  # fmt: skip
    def atlas_direction(self, caller: Caller, atlas: AtlasId, query: DirectionQuery) -> SteeringDirection:
        """Make a steering direction in the atlas's own model from decoder rows."""
        ...

    @operation(
        "POST", "/alignments/{alignment}/localise", right=Right.SEARCH,
        refuses=(UnknownAlignment, InsufficientEvidence, *READING_REFUSALS), idempotent=True,
    )  # fmt: skip
    def localise(self, caller: Caller, alignment: AlignmentId, query: TextQuery) -> TokenReading:
        """Read a text token by token in the subject: which carried labels its activations have where."""
        ...

    @operation(
        "POST", "/alignments/{alignment}/direction", right=Right.SEARCH,
        refuses=(UnknownAlignment, InsufficientEvidence, *DIRECTION_REFUSALS), idempotent=True,
    )  # fmt: skip
    def alignment_direction(self, caller: Caller, alignment: AlignmentId, query: DirectionQuery) -> SteeringDirection:
        """Make a steering direction in the subject from latents of the atlas."""
        ...

    @operation(
        "GET", "/alignments/{alignment}/agreement/{other}", right=Right.LOOK,
        refuses=(UnknownAlignment, UnknownLayer, AtlasMismatch, InsufficientEvidence, CorruptArtifact),
    )  # fmt: skip
    def agreement(
        self, caller: Caller, alignment: AlignmentId, other: AlignmentId, layer: LayerName | None = None
    ) -> Agreement:
        """Compare what two atlases say about the units of one subject."""
        ...
