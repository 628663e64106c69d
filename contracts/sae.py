"""Sparse autoencoders: what may be asked, what is known of a trained one, and what is refused."""

from __future__ import annotations

from contracts.errors import XsysError


# --- refusals -----------------------------------------------------------------------------------
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
    remedy = "Lower `k`, or raise `width`: no more latents than there are can be active."
