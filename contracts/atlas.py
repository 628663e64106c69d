"""Sparse autoencoders, concept atlases and alignments: what may be asked, and what is refused."""

from __future__ import annotations

from typing import Protocol

from contracts.base import Binary, Caller, Cursor, Limit, Page, Right, operation
from contracts.errors import CorruptArtifact, XsysError
from contracts.sae import Latent, Sae, SaeId, SaeLatent, UnknownLatent, UnknownSae


# --- refusals -----------------------------------------------------------------------------------
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


class UnknownTranslator(XsysError):
    status = 404
    remedy = "Take one of `known`."


class NoSecondMoment(XsysError):
    """The primal write map needs the codes' second moment, which is only kept up to 8,192 latents."""

    status = 422
    remedy = "Collect the statistics with `second_moment=True`, or use the dual write map."


# --- what may be asked --------------------------------------------------------------------------
class AtlasService(Protocol):
    """What may be asked about sparse autoencoders, atlases and alignments. Router and client come from this class."""

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
