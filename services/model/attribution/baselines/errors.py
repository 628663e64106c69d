"""What a baseline refuses beside what every attribution does."""

from __future__ import annotations

from contracts.errors import XsysError


class NoAttention(XsysError):
    """The forward pass showed no square attention matrix over patches."""

    status = 422
    remedy = "Take a method that needs no attention, such as integrated_gradients or gradcam."


class NoSpatialMap(XsysError):
    """No layer puts out a map with more than one place."""

    status = 422
    remedy = "Name a layer whose output is [B, C, H, W], or take a method that needs none."
