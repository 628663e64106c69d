"""Sparse autoencoders, concept atlases and alignments: what may be asked, and what is refused."""

from __future__ import annotations

from contracts.errors import XsysError


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
